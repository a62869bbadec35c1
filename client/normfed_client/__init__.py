"""One hospital: its scans, its training, its gate. Nothing leaves but model updates, sums and codes."""
