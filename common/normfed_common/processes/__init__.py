"""Processes that we start: supervised, asked whether they are well, warm ones that answer calls."""
