"""A run's folder: how it begins, is steered, followed, exported."""
