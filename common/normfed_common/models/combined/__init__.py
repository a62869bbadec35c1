"""Several learners as one: transforms before a model, models side by side."""
