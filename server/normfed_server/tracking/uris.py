"""Where a tracker is, as people may read it."""

from __future__ import annotations

import re

CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")  # to the last @: a password may hold one


def without_password(text: str) -> str:
    """A URI, or a text with some, without ``user:password@``."""
    return CREDENTIALS.sub("", text)
