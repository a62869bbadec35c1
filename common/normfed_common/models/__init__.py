"""Normative models: what is trained on normal brains and gives every voxel an anomaly score."""
