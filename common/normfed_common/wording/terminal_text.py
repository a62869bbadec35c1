"""Text of somebody else, a site's or a file's, as it may stand on a terminal and in a log.

An escape sequence in it would move the cursor, hide or overwrite what stands there, or name the window.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """The same, with control characters and marks that nobody sees as their escapes; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def plain(text: str) -> str:
    """The same for rich: what looks like its markup is none."""
    from rich.markup import escape  # not with every module that only keeps a log

    return escape(printable(text))
