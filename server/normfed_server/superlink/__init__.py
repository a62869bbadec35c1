"""Flower's SuperLink and the processes beside it, behind a door of our own."""
