"""report.html: one self-contained page per run."""
