"""What server and site of a real federation agree on: the bundle, enrolment files, settings, the terminal."""
