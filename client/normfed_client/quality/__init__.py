"""A look at a cohort before a study learns from it: what a person at the hospital should see, and what was decided."""
