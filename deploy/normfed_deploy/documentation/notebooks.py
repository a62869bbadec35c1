"""A notebook as a page: its Markdown as it is, its code as code, and what that printed, drew or tabulated."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STYLE = re.compile(r"<style.*?</style>", re.DOTALL)  # of pandas, for notebooks alone
HEADING = re.compile(r"^# (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """Markdown, and the pictures that it shows by their names beside it."""

    markdown: str
    pictures: dict[str, bytes] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its first heading."""
        found = HEADING.search(self.markdown)
        return found[1] if found else "Notebook"


def read(path: Path) -> Page:
    """The page of a notebook; pictures are called after it, ``NAME-1.png`` and so on."""
    pictures: dict[str, bytes] = {}
    parts = [part for cell in json.loads(path.read_text())["cells"] for part in _cell(cell, path.stem, pictures)]
    return Page("\n\n".join(parts) + "\n", pictures)


def _cell(cell: dict[str, Any], name: str, pictures: dict[str, bytes]) -> Iterator[str]:
    source = _text(cell["source"]).strip()
    if cell["cell_type"] == "markdown":
        yield source
    elif cell["cell_type"] == "code" and source:
        yield f"```python\n{source}\n```"
        for output in cell["outputs"]:
            yield from _output(output, name, pictures)


def _output(output: dict[str, Any], name: str, pictures: dict[str, bytes]) -> Iterator[str]:
    """A table before a picture before text: what a notebook would show of one output."""
    data = output.get("data", {})
    if "image/png" in data:
        picture = f"{name}-{len(pictures) + 1}.png"
        pictures[picture] = base64.b64decode(_text(data["image/png"]))
        yield f"![What the cell above draws]({picture})"
    elif "text/html" in data and "<table" in (found := _text(data["text/html"])):
        yield f'<div class="output">{STYLE.sub("", found).strip()}</div>'
    elif output["output_type"] == "stream" or "text/plain" in data:
        said = ANSI.sub("", _text(data.get("text/plain", output.get("text", "")))).rstrip()
        if said:
            yield f"```text\n{said}\n```"


def _text(source: str | list[str]) -> str:
    """nbformat keeps long text as a list of lines."""
    return source if isinstance(source, str) else "".join(source)
