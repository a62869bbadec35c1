"""Metrics of one scan: every module here lists its own under ``METRICS``, and `..catalogue` finds them all."""
