"""A hospital's cohorts in figures: what every person is in each table, and what of the tables may be told."""
