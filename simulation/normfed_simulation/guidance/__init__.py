"""What helps a person to write a study: its JSON schema, a commented file, lists of what there is."""
