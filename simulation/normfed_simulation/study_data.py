"""The dataset that a study reads here: foreseen, made, divided by its split, preprocessed, and found again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from normfed_client.hospital.simulated import read_sites
from normfed_client.imaging.bids import Dataset, Problem, Visit, read_dataset
from normfed_client.imaging.cache import default_root
from normfed_client.imaging.preparation import prepare_all
from normfed_client.imaging.preprocessing import Recipe
from normfed_common.foundation.errors import DatasetError
from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import Run
from normfed_simulation.datasets import view
from normfed_simulation.datasets.base import Dataset as NamedDataset
from normfed_simulation.datasets.catalogue import place_of
from normfed_simulation.splits import dividing
from normfed_simulation.watcher import Watcher


def foreseen(study: StudyConfig, data: Path | None) -> Dataset | None:
    """What the study will read, under its split; None where that shows only once it is made.

    Raises
    ------
    UserError
        If there is none, or it cannot be read or divided.
    """
    if data is not None:
        dataset: Dataset | None = read_dataset(data)
    else:
        made, place = _made_dataset(study)
        dataset = made.planned(default_root() / place)
    return None if dataset is None else dividing.foreseen(dataset, study)


def ready(study: StudyConfig, data: Path | None, cache: Path, workers: int, watcher: Watcher) -> Path:
    """The dataset that a study reads: the one given or the one it has made, under its split.

    Raises
    ------
    UserError
        If there is none, or it cannot be made or divided.
    """
    root = data if data is not None else make_dataset(study, cache, workers, watcher)
    return dividing.view(root, study, cache)


def make_dataset(study: StudyConfig, cache: Path, workers: int, watcher: Watcher) -> Path:
    """The dataset that the study has made, in the cache; made only where it is not there yet.

    Raises
    ------
    UserError
        If the study names none, or it cannot be made.
    """
    dataset, place = _made_dataset(study)
    root = cache / place
    if not dataset.written(root):
        watcher.begin(dataset.what, dataset.parts())
        dataset.write(root, workers, lambda name: watcher.advance(dataset.what, name))
    return root


def prepare(
    study: StudyConfig, people: Mapping[str, list[Visit]], cache: Path, workers: int, watcher: Watcher
) -> tuple[Problem, ...]:
    """Preprocess whoever has a role; returns what cannot be."""
    visits = [visit for of_site in people.values() for visit in of_site]
    watcher.begin("Preprocessing", len(visits))
    recipe = Recipe.of(study)

    def told(visit: Visit, failure: str | None) -> None:
        watcher.advance("Preprocessing", visit.name)
        if failure:
            watcher.warn(f"Left out: {failure}")

    return tuple(prepare_all(visits, recipe, cache / "scans", workers, told).problems)


def data_of(run: Run) -> Path | None:
    """The dataset that the run began with; None where the study had it made, and it is found by its content."""
    if not run.sites_file.exists():
        return None
    data = scans_of(run)
    if view.sources_of(data):
        return data
    found = place_of(run.study)
    return None if found is not None and dividing.source_of(data).parts[-3:] == found[1].parts else data


def scans_of(run: Run) -> Path:
    """The dataset of a run that has begun, wherever it came from."""
    return read_sites(run.sites_file)[0].data


def _made_dataset(study: StudyConfig) -> tuple[NamedDataset, Path]:
    found = place_of(study)
    if found is None:
        raise DatasetError(
            "The study names no phantom, so it needs a dataset: add --data DIR (a BIDS dataset, or a "
            "public one as it came)."
        )
    return found
