"""Synthetic hospitals as a dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from normfed_client.imaging.bids import Dataset as BidsDataset
from normfed_common.citations.bibliography import OURS
from normfed_common.study.data import PhantomConfig
from normfed_simulation.datasets.base import Dataset
from normfed_simulation.phantom import hospitals


class Phantom(Dataset):
    """Synthetic hospitals; `data.phantom` of a study is short for it."""

    cited = (OURS,)
    Config = PhantomConfig
    what = "Synthetic people"
    version = hospitals.VERSION

    def written(self, root: Path) -> bool:
        """Whether ``root`` holds it; raises `DatasetError` if it holds another."""
        return hospitals.written(self.config, self.seed, root)

    def planned(self, root: Path) -> BidsDataset:
        """See `Dataset`."""
        return BidsDataset(root, hospitals.visits(self.config, self.seed, root), ())

    def parts(self) -> int:
        """People."""
        return len(hospitals.people(self.config))

    def write(self, root: Path, workers: int, told: Callable[[str], None]) -> None:
        """See `Dataset`."""
        hospitals.write(self.config, self.seed, root, workers, told)
