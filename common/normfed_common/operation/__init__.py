"""What an operator's and a hospital's long-running machines have in common: processes, enrolment, the app bundle."""
