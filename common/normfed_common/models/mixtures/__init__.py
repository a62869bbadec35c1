"""What mixtures are made of: classes of two distributions, their start, online averages, the choice of how many."""
