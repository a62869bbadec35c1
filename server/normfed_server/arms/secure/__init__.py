"""Rounds and sums of which the server learns the total only."""
