"""Links out of the guides: what they lead to in the repository has a place of its own on the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

GUIDES = PurePosixPath("deploy/guides")  # the pages of the site
BESIDE = PurePosixPath("repository")  # where on the site whatever else is linked lies
LINK = re.compile(r"(\]\()(?![\w+.-]+:|#|/)([^)#\s]+)((?:#[^)\s]*)?(?:\s+\"[^\"]*\")?\))")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def place(path: PurePosixPath) -> PurePosixPath:
    """Where a file of the repository is on the site."""
    return path.relative_to(GUIDES) if path.is_relative_to(GUIDES) else BESIDE / path


def origin(place: PurePosixPath) -> PurePosixPath:
    """Which file of the repository is there."""
    return place.relative_to(BESIDE) if place.is_relative_to(BESIDE) else GUIDES / place


def linked(markdown: str, page: PurePosixPath) -> set[PurePosixPath]:
    """The files of the repository to which a page of it links."""
    return {_target(page, link[2]) for link in LINK.finditer(FENCE.sub("", markdown))}


def rewritten(markdown: str, page: PurePosixPath) -> str:
    """The same page with links as they are on the site."""
    here = place(page).parent

    def moved(link: re.Match[str]) -> str:
        target = place(_target(page, link[2]))
        return f"{link[1]}{posixpath.relpath(target, here)}{link[3]}"

    return LINK.sub(moved, markdown)


def outside(root: Path, pages: dict[PurePosixPath, str]) -> dict[PurePosixPath, Path]:
    """Every file beside the guides that the pages link to, and those that these link to: place on the site to file.

    Parameters
    ----------
    root
        The repository.
    pages
        The pages of the site, by their path in the repository, with their Markdown.
    """
    found: dict[PurePosixPath, Path] = {}
    left = [target for page, text in pages.items() for target in linked(text, page)]
    while left:
        target = left.pop()
        file = root / target
        if target.is_relative_to(GUIDES) or place(target) in found or not file.is_file():
            continue
        found[place(target)] = file
        if file.suffix == ".md":
            left += linked(file.read_text(), target)
    return found


def _target(page: PurePosixPath, link: str) -> PurePosixPath:
    return PurePosixPath(posixpath.normpath(page.parent / link))
