"""The study of Zakazov 2021: train a segmentation on every scanner, test it on all, and federate it.

Beside the diagonal, a network learns from one scanner, less a few people, and is tested on everybody of another. On it,
people are divided into folds, and each fold is tested by a network that learnt from the others. Federated, a scanner is
tested `unseen`, by a federation of the others, and `seen`, in folds in which all take part. Whatever is trained or
tested is kept in the output folder, and a run that was stopped goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from normfed_common.foundation import seeds
from normfed_common.foundation.errors import DatasetError, RunError
from normfed_common.foundation.files import atomic, write_json, write_text
from normfed_common.metrics.segmentation import surface_dice
from normfed_simulation.segmentation.config import Federated, SegmentationConfig
from normfed_simulation.segmentation.published import table
from normfed_simulation.segmentation.slices import SPACING_MM, Subject, Volume, opened
from normfed_simulation.segmentation.training import Trained, predicted, train

TOLERANCE_MM = 1.0


@dataclass(frozen=True)
class Experiment:
    """One training, and whom it is tested on.

    Parameters
    ----------
    name
        Of its files, and of what is drawn for it.
    row
        Of the table.
    train, test
        People by scanner; nobody is in both.
    """

    name: str
    row: str
    train: Mapping[str, Sequence[Subject]]
    test: Mapping[str, Sequence[Subject]]
    federated: Federated | None = None


def domain_shift(
    subjects: Iterable[Subject],
    output: Path,
    config: SegmentationConfig,
    device: torch.device,
    federated: Federated | None = None,
) -> dict[tuple[str, str], float]:
    """Run the study, or what is left of it, and write ``table.md`` and ``surface_dice.json``.

    Parameters
    ----------
    federated
        Beside the scanners alone, a federation of them.

    Returns
    -------
    Mean surface Dice at 1 mm over people, by training and scanner tested on.

    Raises
    ------
    DatasetError
        If there are not two scanners, or a scanner has too few people, or a file cannot be used.
    RunError
        If the folder holds a study with other parameters.
    """
    experiments = planned(subjects, output, config, federated)
    scores = measured(experiments, output, config, device)
    return {pair: float(np.mean(found)) for pair, found in scores.items()}


def planned(
    subjects: Iterable[Subject], output: Path, config: SegmentationConfig, federated: Federated | None = None
) -> list[Experiment]:
    """The trainings of the study; the folder remembers whose it is. Parameters and errors as of `domain_shift`."""
    people = _by_scanner(subjects, config)
    _check_same(
        output / "study.json",
        {**config.model_dump(), "people": {site: [s.image.name for s in found] for site, found in people.items()}},
    )
    return [*alone(people, config), *(together(people, config, federated) if federated else ())]


def measured(
    experiments: Sequence[Experiment],
    output: Path,
    config: SegmentationConfig,
    device: torch.device,
    told: Callable[[str], None] = lambda _name: None,
) -> dict[tuple[str, str], list[float]]:
    """Surface Dice of every person, by training and scanner tested on; writes the means as `domain_shift` does.

    Parameters
    ----------
    told
        Is called with the name of every training that is done.
    """
    scores: dict[tuple[str, str], list[float]] = {}
    for experiment in experiments:
        for site, found in _scored(experiment, output, config, device).items():
            scores.setdefault((experiment.row, site), []).extend(found.values())
        told(experiment.name)
    figures = {pair: float(np.mean(found)) for pair, found in scores.items()}
    write_json(output / "surface_dice.json", {f"{row} / {site}": figure for (row, site), figure in figures.items()})
    write_text(output / "table.md", table(figures))
    return scores


def alone(people: Mapping[str, Sequence[Subject]], config: SegmentationConfig) -> Iterator[Experiment]:
    """Every scanner's own training, tested on all others; and the folds of each."""
    for site in people:
        others = {other: subjects for other, subjects in people.items() if other != site}
        yield Experiment(f"{site}-to-all", site, {site: _less(people[site], config.held_back, config)}, others)
        for number, (rest, fold) in enumerate(_folds(people[site], config)):
            mine = _less(rest, config.held_back_in_folds, config)
            yield Experiment(f"{site}-fold-{number + 1}", site, {site: mine}, {site: fold})


def together(
    people: Mapping[str, Sequence[Subject]], config: SegmentationConfig, federated: Federated
) -> Iterator[Experiment]:
    """Every scanner tested by a federation of the others, and in folds by one in which it takes part."""
    for site in people:
        others = {
            other: _less(subjects, config.held_back, config) for other, subjects in people.items() if other != site
        }
        yield Experiment(f"{federated}-without-{site}", f"{federated}, unseen", others, {site: people[site]}, federated)
    folds = {site: _folds(subjects, config) for site, subjects in people.items()}
    for number in range(config.folds):
        rest = {site: _less(found[number][0], config.held_back_in_folds, config) for site, found in folds.items()}
        test = {site: found[number][1] for site, found in folds.items()}
        yield Experiment(f"{federated}-fold-{number + 1}", f"{federated}, seen", rest, test, federated)


def _by_scanner(subjects: Iterable[Subject], config: SegmentationConfig) -> dict[str, list[Subject]]:
    people: dict[str, list[Subject]] = {}
    for subject in sorted(subjects, key=lambda subject: (subject.site, subject.image.name)):
        people.setdefault(subject.site, []).append(subject)
    if len(people) < 2:
        raise DatasetError(
            f"The people are of {len(people)} scanner(s), and a shift between scanners takes two. Give the whole "
            "dataset."
        )
    needed = max(config.held_back + 1, -(-(config.held_back_in_folds + 1) * config.folds // (config.folds - 1)))
    for site, found in people.items():
        if len(found) < needed:
            raise DatasetError(
                f"{site} has {len(found)} people, and the study takes {needed} of each scanner. Get the rest of the "
                "dataset, or leave that scanner out."
            )
    return people


def _check_same(path: Path, study: Mapping[str, Any]) -> None:
    """Refuse to mix two studies in one folder."""
    if not path.is_file():
        write_json(path, study)
    elif json.loads(path.read_text()) != study:
        raise RunError(f"{path.parent}: holds a study of other people or parameters. Give another output folder.")


def _less(subjects: Sequence[Subject], count: int, config: SegmentationConfig) -> list[Subject]:
    """All but so many."""
    rng = seeds.generator(config.seed, "segmentation", "held back", subjects[0].site)
    kept = sorted(rng.permutation(len(subjects))[count:])
    return [subjects[place] for place in kept]


def _folds(subjects: Sequence[Subject], config: SegmentationConfig) -> list[tuple[list[Subject], list[Subject]]]:
    """The rest, and the fold, for each fold."""
    order = seeds.generator(config.seed, "segmentation", "folds", subjects[0].site).permutation(len(subjects))
    number = {int(person): place % config.folds for place, person in enumerate(order)}
    return [
        (
            [subject for person, subject in enumerate(subjects) if number[person] != fold],
            [subject for person, subject in enumerate(subjects) if number[person] == fold],
        )
        for fold in range(config.folds)
    ]


def _scored(
    experiment: Experiment, output: Path, config: SegmentationConfig, device: torch.device
) -> dict[str, dict[str, float]]:
    """Surface Dice by scanner and person, from the folder where it is there."""
    path = output / "scores" / f"{experiment.name}.json"
    if path.is_file():
        kept: dict[str, dict[str, float]] = json.loads(path.read_text())
        return kept
    cache = output / "prepared"
    volumes = {site: [_kept(subject, cache) for subject in subjects] for site, subjects in experiment.train.items()}
    checkpoint = output / "models" / f"{experiment.name}.safetensors"
    trained = train(experiment.name, volumes, config, device, checkpoint, experiment.federated)
    found = {site: _tested(trained, site, subjects, cache) for site, subjects in experiment.test.items()}
    write_json(path, found)
    return found


def _tested(trained: Trained, site: str, subjects: Sequence[Subject], cache: Path) -> dict[str, float]:
    network = trained.network(site)
    found = {}
    for subject in subjects:
        volume = _kept(subject, cache)
        brain = predicted(network, np.asarray(volume.image), trained.config)
        found[subject.image.name] = surface_dice(brain, np.array(volume.mask), SPACING_MM, TOLERANCE_MM)
    return found


def _kept(subject: Subject, cache: Path) -> Volume:
    """A prepared scan, mapped from the cache, where each slice lies together."""
    name = subject.image.name.removesuffix(".gz").removesuffix(".nii")
    image, mask = (cache / subject.site / f"{name}.{kind}.npy" for kind in ("image", "mask"))
    if not (image.is_file() and mask.is_file()):
        volume = opened(subject)
        for path, array in ((image, volume.image), (mask, volume.mask)):
            with atomic(path) as part:
                np.save(part, np.moveaxis(array, -1, 0))
    return Volume(*(np.moveaxis(np.load(path, mmap_mode="r"), 0, -1) for path in (image, mask)))
