"""Pieces of the model of planted anomalies: what is planted, how scans vary beside it, what the network sees."""
