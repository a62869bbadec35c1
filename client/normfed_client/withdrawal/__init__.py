"""What is erased at a hospital: of a person or a study that is withdrawn, and what is kept no longer."""
