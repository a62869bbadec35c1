"""What stands between a request and the work, and between the work and the server: one guard per question."""
