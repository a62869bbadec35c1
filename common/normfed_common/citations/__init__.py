"""Whom a paper cites for what it did with normfed."""
