"""report.html and privacy.html: self-contained pages, written once per run."""
