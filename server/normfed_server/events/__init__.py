"""What happens in a run, line by line, for files, screens and the monitor."""
