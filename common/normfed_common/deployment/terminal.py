"""Text for people at a terminal of any width: words wrap, and what they may want to copy is never cut."""

from __future__ import annotations

import textwrap

from rich.console import Console

from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain


def print_wrapped(console: Console, text: str, margin: str, first: str | None = None) -> None:
    """Print a text behind a margin; a path or a hash that is longer than a line stays whole.

    Parameters
    ----------
    margin
        In front of every line; in front of the first one ``first``, if given, which may have rich's markup.
    """
    width = max(console.width - len(margin), 20)
    for number, line in enumerate(textwrap.wrap(as_typed(text), width, break_long_words=False, break_on_hyphens=False)):
        before = first if first is not None and number == 0 else margin
        console.print(before + plain(line), soft_wrap=True, highlight=False)
