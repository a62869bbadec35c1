"""Processes that we start: supervised, asked whether they are well, kept warm to answer calls."""
