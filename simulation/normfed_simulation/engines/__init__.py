"""Who carries the messages between the two apps."""
