"""What comes out: all figures of a run, and the league of sites."""
