"""A federation of hospitals on one machine: engines, synthetic hospitals, reports."""
