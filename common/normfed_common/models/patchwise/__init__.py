"""Patches of a slice: drawn, summed, encoded."""
