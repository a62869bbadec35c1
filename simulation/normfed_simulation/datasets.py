"""Datasets that are made on this machine by the name that a study uses. A new one is a class and one line here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from normfed_client.imaging.bids import Dataset as Bids
from normfed_common.foundation import digests
from normfed_common.foundation.registry import Registry
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import PhantomConfig
from normfed_common.study.validation import validate
from normfed_simulation.phantom import hospitals

FOLDER = "datasets"  # of the cache; below it a folder per name, and in that one per content


class Dataset(ABC):
    """People of several sites as one BIDS dataset, whose participants.tsv has the column `site`.

    Parameters
    ----------
    config
        What the study says of it, a ``Config``.
    seed
        The study's.
    """

    Config: ClassVar[type[Frozen]]
    what: ClassVar[str] = "Dataset"  # what the progress display calls it
    version: ClassVar[int] = 1  # raise it when the same configuration gives other scans

    def __init__(self, config: Any, seed: int) -> None:
        self.config, self.seed = config, seed

    def digest(self) -> str:
        """Identifies what `write` makes."""
        content = {"version": self.version, "seed": self.seed, "config": self.config.model_dump(mode="json")}
        return digests.of_json(content)

    def written(self, root: Path) -> bool:
        """Whether ``root`` holds all of it: `write` writes dataset_description.json last."""
        return (root / "dataset_description.json").exists()

    def planned(self, root: Path) -> Bids | None:
        """What will be read of ``root`` once it is written; None where that shows no sooner."""
        return None

    @abstractmethod
    def parts(self) -> int:
        """How many parts `write` says are done."""

    @abstractmethod
    def write(self, root: Path, workers: int, told: Callable[[str], None]) -> None:
        """Make it in ``root``, or complete what was broken off; ``told`` is called with every part's name.

        Raises
        ------
        DatasetError
            If it cannot be made.
        """


class Phantom(Dataset):
    """Synthetic hospitals; `data.phantom` of a study is short for it."""

    Config = PhantomConfig
    what = "Synthetic people"
    version = hospitals.VERSION

    def written(self, root: Path) -> bool:
        """Whether ``root`` holds it; raises `DatasetError` if it holds another."""
        return hospitals.written(self.config, self.seed, root)

    def planned(self, root: Path) -> Bids:
        """See `Dataset`."""
        return Bids(root, hospitals.visits(self.config, self.seed, root), ())

    def parts(self) -> int:
        """People."""
        return len(hospitals.people(self.config))

    def write(self, root: Path, workers: int, told: Callable[[str], None]) -> None:
        """See `Dataset`."""
        hospitals.write(self.config, self.seed, root, workers, told)


DATASETS: Registry[type[Dataset]] = Registry("dataset", "normfed.datasets", subclass_of=Dataset)

DATASETS.add("phantom", Phantom)


def place_of(study: StudyConfig) -> tuple[Dataset, Path] | None:
    """The dataset that a study has made, and where it lies below the cache; None for one that is read.

    Raises
    ------
    StudyError, PluginError
        If there is none of that name, or a parameter of it is wrong.
    """
    entry = study.data.made
    if entry is None:
        return None
    kind, values = DATASETS.chosen(entry, "data.dataset")
    name = entry["name"]
    dataset = kind(validate(kind.Config, values, f"data.dataset {name}", f"a parameter of {name}"), study.seed)
    return dataset, Path(FOLDER, name, dataset.digest())
