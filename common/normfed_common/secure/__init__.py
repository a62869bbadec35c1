"""Secure aggregation: the server learns sums over sites, of a single site nothing. No Flower, no file, no clock."""
