"""A public dataset that lies on this machine as it came; a new one is a subclass and a line in the catalogue."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from normfed_common.citations.bibliography import references
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.base import Frozen
from normfed_simulation.datasets import view
from normfed_simulation.datasets.base import Dataset
from normfed_simulation.datasets.contents import Contents


class Nothing(Frozen):
    """No parameters."""


class Downloaded(Dataset):
    """A dataset as it came; `write` makes a BIDS view of it by links.

    Parameters
    ----------
    config, seed
        See `Dataset`.
    source
        The folder as it came; None where nobody has said yet.
    """

    Config: ClassVar[type[Frozen]] = Nothing
    what: ClassVar[str] = "Links"
    title: ClassVar[str]
    licence: ClassVar[str]
    access: ClassVar[str]  # where to ask for it
    modalities: ClassVar[tuple[str, ...]]  # BIDS suffixes
    layout: ClassVar[str]  # what lies in the folder, a line per kind of file
    one_site: ClassVar[bool] = False  # whether all of it comes from one institution: to be tested on, or to be split

    @classmethod
    def citation(cls) -> str:
        """Whom to cite for it, in a few words."""
        return references(cls.cited) or "the dataset's own"

    def __init__(self, config: Any, seed: int, source: Path | None = None) -> None:
        super().__init__(config, seed)
        self.source = source

    @classmethod
    @abstractmethod
    def recognises(cls, root: Path) -> bool:
        """Whether the folder looks like this dataset, by a few names."""

    @abstractmethod
    def read(self, root: Path) -> Contents:
        """Who and what is there; no scan is opened.

        Raises
        ------
        DatasetError
            If the layout is another, or a table or a column of it is missing.
        """

    @cached_property
    def found(self) -> Contents:
        """What `read` found.

        Raises
        ------
        DatasetError
            As `read`; and if nobody said where the dataset is, or nobody is there.
        """
        if self.source is None:
            raise DatasetError(f"The study reads {self.title} as it came: add --data DIR, the folder where it lies.")
        found = self.read(self.source)
        if not found.people:
            raise self.not_as_expected(self.source)
        return found

    @cached_property
    def contents(self) -> Contents:
        """What was found, as a federation of its own.

        Raises
        ------
        DatasetError
            As `found`; and if all people are of one site.
        """
        found = self.found
        sites = found.sites()
        if len(sites) == 1 and not self.one_site:
            raise DatasetError(
                f"{self.source}: all {len(found.people)} people are of one site, {next(iter(sites))}, and one site is "
                "no federation. Get the other sites' scans, or name another column of sites."
            )
        return found

    @classmethod
    def not_as_expected(cls, root: Path) -> DatasetError:
        """The error of a folder that holds nothing of this dataset: what was expected, and what there is."""
        expected = "; ".join(line.strip() for line in cls.layout.strip().splitlines())
        return DatasetError(f"{root}: not {cls.title} as it comes. Expected: {expected}. Found: {listed(root)}.")

    def digest(self) -> str:
        """See `Dataset`: of what is there, so that a source that changed gets another view."""
        return view.digest(self.contents)

    def parts(self) -> int:
        """One: links are made in a moment."""
        return 1

    def write(self, root: Path, workers: int, told: Callable[[str], None]) -> None:
        """See `Dataset`."""
        view.write(root, self.contents, self.title)
        told(self.title)


def listed(root: Path, most: int = 5) -> str:
    """The first names in a folder, for an error."""
    names = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if not path.name.startswith("."))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
