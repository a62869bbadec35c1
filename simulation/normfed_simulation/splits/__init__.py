"""Divide a dataset's people among other sites than their own, for controlled experiments; one file per split."""
