"""What learning across sites is: learners and their phases, people and their scans, batches, scores, precision."""
