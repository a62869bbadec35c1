"""Synthetic hospitals made from the MNI152 template."""
