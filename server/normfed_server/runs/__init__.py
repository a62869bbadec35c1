"""A run's folder: how it begins, is steered, followed, and put into words."""
