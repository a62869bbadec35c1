"""A hospital's machine: its folder, joining a federation, and the processes that answer the server."""
