"""The datasets by name; a new one of ours is a module and one line here."""

from __future__ import annotations

from pathlib import Path

from normfed_common.foundation.registry import Registry
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import validate
from normfed_simulation.datasets.base import Dataset
from normfed_simulation.datasets.downloaded import Downloaded

FOLDER = "datasets"  # of the cache; below it a folder per name, and in that one per content

DATASETS: Registry[type[Dataset]] = Registry("dataset", "normfed.datasets", subclass_of=Dataset)

DATASETS.add("abide", "normfed_simulation.datasets.abide:ABIDE")
DATASETS.add("adni", "normfed_simulation.datasets.adni:ADNI")
DATASETS.add("atlas", "normfed_simulation.datasets.atlas:ATLAS")
DATASETS.add("bids", "normfed_simulation.datasets.bids:Bids")
DATASETS.add("brats", "normfed_simulation.datasets.brats:BraTS")
DATASETS.add("camcan", "normfed_simulation.datasets.camcan:CamCAN")
DATASETS.add("cc359", "normfed_simulation.datasets.cc359:CC359")
DATASETS.add("fets", "normfed_simulation.datasets.fets:FeTS")
DATASETS.add("ixi", "normfed_simulation.datasets.ixi:IXI")
DATASETS.add("mslub", "normfed_simulation.datasets.mslub:MSLUB")
DATASETS.add("oasis1", "normfed_simulation.datasets.oasis1:OASIS1")
DATASETS.add("oasis3", "normfed_simulation.datasets.oasis3:OASIS3")
DATASETS.add("phantom", "normfed_simulation.datasets.phantom:Phantom")
DATASETS.add("ppmi", "normfed_simulation.datasets.ppmi:PPMI")
DATASETS.add("wmh", "normfed_simulation.datasets.wmh:WMH")


def place_of(study: StudyConfig, source: Path | None = None) -> tuple[Dataset, Path] | None:
    """The dataset that a study names, and where it lies below the cache; None where it names none.

    Parameters
    ----------
    source
        Where a dataset lies that is read as it came.

    Raises
    ------
    StudyError, PluginError
        If there is none of that name, or a parameter of it is wrong.
    DatasetError
        If it cannot be read at ``source``.
    """
    entry = study.data.made
    if entry is None:
        return None
    kind, values = DATASETS.chosen(entry, "data.dataset")
    name = entry["name"]
    config = validate(kind.Config, values, f"data.dataset {name}", f"a parameter of {name}")
    if issubclass(kind, Downloaded):
        dataset: Dataset = kind(config, study.seed, source)
    else:
        dataset = kind(config, study.seed)
    return dataset, Path(FOLDER, name, dataset.digest())


def downloaded() -> dict[str, type[Downloaded]]:
    """The datasets that are read as they came, by name."""
    kinds = {name: DATASETS[name] for name in DATASETS}
    return {name: kind for name, kind in kinds.items() if issubclass(kind, Downloaded)}
