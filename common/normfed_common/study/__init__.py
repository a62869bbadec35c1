"""A study: one YAML file that says everything about an experiment; one file a section."""
