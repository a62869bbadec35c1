"""What a hospital's people allow, one study at a time: what was asked, what they decided, and what their rules say."""
