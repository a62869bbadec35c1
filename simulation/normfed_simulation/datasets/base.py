"""What a dataset is that a study names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from normfed_client.imaging.bids import Dataset as BidsDataset
from normfed_common.foundation import digests
from normfed_common.study.base import Frozen


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
    cited: ClassVar[tuple[str, ...]] = ()  # by whoever uses it, see `NormativeModel`
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

    def planned(self, root: Path) -> BidsDataset | None:
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
