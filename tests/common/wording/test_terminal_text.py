"""What somebody else wrote, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from normfed_common.wording.terminal_text import plain, printable


@given(st.text())
def test_nothing_but_line_breaks_steers_a_terminal(text: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in printable(text))


def test_what_people_read_stays_as_it_is() -> None:
    assert printable("Hôpital Saint-Éloi, Ω 3 T\n東京") == "Hôpital Saint-Éloi, Ω 3 T\n東京"
    assert printable("\x1b[2J\r\u202egni\0") == r"\x1b[2J\r\u202egni\x00"


@pytest.mark.parametrize("text", ["[/x]", r"\[/x]", "[red]", "[link=http://a]", "a[b]"])
def test_what_looks_like_markup_is_none(text: str) -> None:
    """Once a backslash before a bracket was enough to end a command with a traceback in the place of its error."""
    out = io.StringIO()
    Console(file=out, width=200).print(f"[bold]Error:[/] {plain(text)}", soft_wrap=True)
    assert out.getvalue() == f"Error: {text}\n"
