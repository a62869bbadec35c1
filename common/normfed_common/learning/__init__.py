"""What a model learns from: people, their scans, and the grid that these lie on."""
