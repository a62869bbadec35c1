"""What a hospital agrees to: what would leave it, as a person reads it before, and as the client holds itself to."""
