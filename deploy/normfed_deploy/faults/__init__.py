"""Faults that a federation must survive, each on a real one: what was done, what was expected, what was seen."""
