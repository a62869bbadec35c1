"""A robust normative atlas, an auto-encoder of voxels, standardised scans, and a metric for a reader's first look."""
