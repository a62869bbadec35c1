"""Deployment as a whole: a rehearsal on one machine with everything that is real, and the faults that it survives."""
