"""Text of somebody else, a site's or a file's, as it may stand on a terminal and in a log.

An escape sequence in it would move the cursor, hide or overwrite what stands there, or name the window.
"""

from __future__ import annotations

from collections.abc import Iterable

MOST_NAMES, LONGEST_NAME = 20, 60


def printable(text: str) -> str:
    """The same, with control characters and marks that nobody sees as their escapes; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def some(names: Iterable[str]) -> str:
    """Names with commas, so many as a sentence can hold, such as the columns of a table."""
    found = [name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "..." for name in names]
    more = f" and {len(found) - MOST_NAMES:,} more" if len(found) > MOST_NAMES else ""
    return ", ".join(found[:MOST_NAMES]) + more


def plain(text: str) -> str:
    """The same for rich: what looks like its markup is none."""
    from rich.markup import escape  # not with every module that only keeps a log

    return escape(printable(text))
