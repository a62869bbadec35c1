"""What of a run goes into a paper: tables, figures, and whom to cite."""
