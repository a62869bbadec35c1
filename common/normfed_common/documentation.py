"""`normfed docs`: what a name of the reference means, and where the documentation is on this machine: as a site where
it was built, else as Markdown."""

from __future__ import annotations

import re
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from normfed_common.cures import LINK
from normfed_common.foundation.errors import UserError
from normfed_common.glossary import Term, term
from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import JsonOption, say
from normfed_common.wording.spelling import meant, nearest, sentences

README = "readme"
ROOT = Path(__file__).parents[2]  # of a source tree
NOT_HERE = "This installation has no pages: they are in the source tree, under deploy/guides."

FENCED = re.compile(r"^(```+).*?^\1\s*?$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (.+?)\s*$", re.MULTILINE)
NO_PROSE = ("#", "|", "<", "!", "-", "*", ">", "[!")  # headings, tables, marks, pictures, lists
MOST_PAGES = 4  # that an error names
WORDS = "A key, a code:  normfed docs federation.quorum, normfed docs OUT_OF_SPACE, normfed docs dice"


def docs(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A key or section of a study, a site's code, a model, strategy, transform or metric: print what it "
            "means. Or a page: print where it is."
        ),
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Open it in a browser, once the site is built.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a key, a code or a metric means; or where the documentation is: as a site once built, else Markdown."""
    found = pages()
    if name is not None:
        page = _of_last_part(name, found)
        if not opened and _told(name, as_json, page, found):
            return
        name = page
    if name is not None and name not in found:
        guess = meant(name, found)
        raise UserError(sentences(f"No page is called {name}.", guess, "Pages: normfed docs." if found else NOT_HERE))
    if opened:
        _open(name or "index")
    elif as_json:
        chosen = found if name is None else {name: found[name]}
        listed = [(each, path, built(each)) for each, path in chosen.items()]
        say(
            "pages",
            [
                {"name": each, "title": title_of(path), "path": str(path), "site": str(page) if page else None}
                for each, path, page in listed
            ],
        )
    elif name is not None:
        _show(name, found[name])
    else:
        _list(found)


def _told(name: str, as_json: bool, page: str, found: Mapping[str, Path]) -> bool:
    """Whether the name is one of the reference, and was explained; a page of the same name is named below."""
    from normfed_common.reference import CLOSE, like, sections, tell

    if tell(name, as_json):
        if page in found and not as_json:
            typer.echo(f"A page:  {built(page) or found[page]}")
        return True
    if (word := term(name)) is not None:
        _explain(word, "" if as_json else _where(name, found), as_json)
        return True
    if page not in found:
        near = list(dict.fromkeys(filter(None, [nearest(name, found, CLOSE), *like(name)])))
        guess = f"Did you mean {' or '.join(near)}?" if near else f"Sections of a study: {', '.join(sections())}."
        where = _where(name, found) or "Pages: normfed docs."
        raise UserError(f"No page, word or anything of the reference is called {name}. {guess} {where}")
    return False


def _explain(word: Term, where: str, as_json: bool) -> None:
    if as_json:
        say("terms", [{"name": word.name, "words": word.words, "text": word.text}])
        return
    from normfed_common.wording.parameters import show_title

    console = Console(highlight=False)
    show_title(console, word.words, word.text, "")
    if where:
        console.print(where, soft_wrap=True)


def _of_last_part(name: str, found: Mapping[str, Path]) -> str:
    """The page that is called so in its folder, where there is one; else the name."""
    ends = [page for page in found if page.endswith(f"/{name}")]
    return ends[0] if name not in found and len(ends) == 1 else name


def _where(word: str, found: Mapping[str, Path]) -> str:
    """A few pages that say a word, those first that say it most often; empty where none does."""
    said = re.compile(rf"\b{'[- ]'.join(map(re.escape, re.split('[- ]', word)))}", re.IGNORECASE)
    times = {page: len(said.findall(path.read_text(encoding="utf-8"))) for page, path in found.items()}
    most = sorted(filter(times.__getitem__, times), key=lambda page: -times[page])[:MOST_PAGES]
    return f"Pages that say it: {', '.join(most)}." if most else ""


def _show(name: str, path: Path) -> None:
    """Where a page is, how it begins, and what is on it."""
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    first = next((part for part in text.split("\n\n") if part.strip() and not part.lstrip().startswith(NO_PROSE)), "")
    typer.echo(built(name) or path)
    typer.echo(f"\n{title_of(path)}\n\n{_prose(first)}".rstrip())
    if headings := HEADING.findall(text):
        typer.echo("\nOn it: " + "; ".join(_prose(heading) for heading in headings) + ".")


def _prose(markdown: str) -> str:
    """On one line, with links as their words."""
    return LINK.sub(r"\1", " ".join(markdown.split()))


def _open(name: str) -> None:
    page = built(name)
    if page is None:
        raise UserError(f"--open: the site is not built. Run `make docs` in {ROOT}." if pages() else NOT_HERE)
    webbrowser.open(page.as_uri())
    typer.echo(page)


def _list(found: dict[str, Path]) -> None:
    from normfed_common.wording.parameters import show

    console = Console(highlight=False)
    if not found:
        console.print(NOT_HERE)
        console.print(as_typed(WORDS))
        return
    show(console, [(each, title_of(path)) for each, path in found.items()], max(map(len, found)))
    site = built("index")
    console.print(f"\nThe site:    {site}" if site else f"\nAs a site:   make docs, in {ROOT}", soft_wrap=True)
    console.print(f"Its pages:   {guides_folder()}", soft_wrap=True)
    console.print(f"The README:  {found[README]}", soft_wrap=True)
    console.print(as_typed(WORDS), soft_wrap=True)


def pages() -> dict[str, Path]:
    """Pages by name, the README first; none where normfed is installed without its source tree."""
    folder = guides_folder()
    if not folder.is_dir() or not (ROOT / "README.md").is_file():
        return {}
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.md"))}
    return {README: ROOT / "README.md"} | found


def guides_folder() -> Path:
    """Where the pages lie in a source tree."""
    return ROOT / "deploy" / "guides"


def built(name: str) -> Path | None:
    """A page of the site, where it was built; the README is on none."""
    page = ROOT / "deploy" / "site" / f"{name}.html"
    return page if page.is_file() else None


def title_of(path: Path) -> str:
    """The first heading of a page."""
    with open(path, encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
