"""What people read: the name that was probably meant, text that a terminal can take, an exception in one line,
how much longer something takes."""
