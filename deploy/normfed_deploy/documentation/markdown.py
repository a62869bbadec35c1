"""Tables and words of generated pages, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

CODE = re.compile(r"(``?[^`]+``?)")
MARKS = str.maketrans({"<": "&lt;", ">": "&gt;", "*": r"\*", "[": r"\[", "]": r"\]"})


def prose(text: str) -> str:
    """Plain text of a description or a docstring: what is within backticks stays code, nothing else is markup."""
    parts = CODE.split(" ".join(text.split()))
    return "".join(f"`{part.strip('`')}`" if number % 2 else part.translate(MARKS) for number, part in enumerate(parts))


def code(text: str) -> str:
    """As it is typed; nothing where there is nothing."""
    return f"`{text}`" if text else ""


def anchored(name: str, anchor: str | None = None) -> str:
    """A name as code, to which links lead: ``#name``, or another anchor."""
    return f'<code id="{anchor or name}">{name.translate(MARKS)}</code>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", "<br>")
