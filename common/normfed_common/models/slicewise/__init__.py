"""Whole axial slices: fitted to a square, encoded, restored."""
