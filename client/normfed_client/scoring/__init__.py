"""New scans scored with the model of a finished run: whom, with what, and the dataset that comes of it."""
