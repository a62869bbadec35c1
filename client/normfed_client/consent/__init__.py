"""What a hospital agrees to, one study at a time: what was asked, what would leave for it, what its people decided."""
