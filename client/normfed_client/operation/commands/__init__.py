"""Commands of `normfed site`, one module per subject."""
