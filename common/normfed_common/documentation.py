"""`normfed docs`: where the guides and the README are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from normfed_common.foundation.errors import UserError
from normfed_common.wording.machine import JsonOption, say
from normfed_common.wording.spelling import meant, sentences

README = "readme"


def docs(
    name: Annotated[str | None, typer.Argument(help="Print only where this guide is.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say where the documentation is on this machine: the README and the guides."""
    found = guides()
    if name is not None and name not in found:
        known = f"Known: {', '.join(found)}." if found else "This installation has none: they are in the source tree."
        raise UserError(sentences(f"No guide is called {name}.", meant(name, found), known))
    chosen = found if name is None else {name: found[name]}
    if as_json:
        say("guides", [{"name": each, "title": title_of(path), "path": str(path)} for each, path in chosen.items()])
        return
    if name is not None:
        typer.echo(found[name])
        return
    from normfed_common.wording.parameters import show

    console = Console(highlight=False)
    if not found:
        console.print("This installation has no guides: they are in the source tree, under deploy/guides.")
        return
    show(console, [(each, title_of(path)) for each, path in found.items()], max(map(len, found)))
    console.print(f"\nThe guides: {guides_folder()}", soft_wrap=True)
    console.print(f"The README: {found[README]}", soft_wrap=True)


def guides() -> dict[str, Path]:
    """Guides by name, the README first; none where normfed is installed without its source tree."""
    root = Path(__file__).parents[2]
    if not guides_folder().is_dir() or not (root / "README.md").is_file():
        return {}
    return {README: root / "README.md"} | {path.stem: path for path in sorted(guides_folder().glob("*.md"))}


def guides_folder() -> Path:
    """Where the guides lie in a source tree."""
    return Path(__file__).parents[2] / "deploy" / "guides"


def title_of(path: Path) -> str:
    """The first heading of a guide."""
    with open(path, encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
