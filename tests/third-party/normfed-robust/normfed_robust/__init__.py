"""A robust normative atlas, and a metric for a reader's first look."""
