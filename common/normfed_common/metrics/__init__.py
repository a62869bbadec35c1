"""How well anomaly maps find lesions: per scan, and merged over sites from histograms."""
