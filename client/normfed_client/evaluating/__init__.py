"""Anomaly maps and figures that stay at the site, and the sums over people that leave it."""
