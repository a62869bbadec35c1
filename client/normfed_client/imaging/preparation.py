"""Preprocess many visits at once, and say what came of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from normfed_client.imaging.bids import Mask, Problem, Visit
from normfed_client.imaging.cache import Cache
from normfed_client.imaging.participants import Participant
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_common.foundation.errors import DatasetError, NormfedError, ScanError
from normfed_common.processes.workers import WorkerDied, WorkerPool
from normfed_common.study.preprocessing import PreprocessingConfig
from normfed_common.study.validation import validate

Told = Callable[[Visit, str | None], None]


@dataclass(frozen=True)
class Prepared:
    """Outcome of a preparation."""

    done: int
    problems: tuple[Problem, ...]


def prepare_all(
    visits: Sequence[Visit], recipe: Recipe, cache: Path, workers: int, told: Told = lambda _visit, _failure: None
) -> Prepared:
    """Preprocess visits in ``workers`` processes; what is cached costs nothing.

    Parameters
    ----------
    told
        Called after each visit, with the failure's text or None.
    """
    store = Cache(cache)
    problems: list[Problem] = []
    waiting: list[Visit] = []
    for visit in visits:
        try:
            if store.get(recipe.key(visit)):
                _note(visit, _attempt(visit, recipe, store), problems, told)
            else:
                waiting.append(visit)
        except ScanError as error:
            _note(visit, str(error), problems, told)
    if workers <= 1 or len(waiting) <= 1:
        for visit in waiting:
            _note(visit, _attempt(visit, recipe, store), problems, told)
    else:
        _in_workers(waiting, recipe, cache, min(workers, len(waiting)), problems, told)
    return Prepared(len(visits) - len(problems), tuple(sorted(problems, key=lambda p: p.what)))


def _note(visit: Visit, failure: str | None, problems: list[Problem], told: Told) -> None:
    if failure is not None:
        problems.append(Problem(visit.name, failure))
    told(visit, failure)


def _attempt(visit: Visit, recipe: Recipe, store: Cache) -> str | None:
    try:
        prepare(visit, recipe, store)
    except ScanError as error:
        return str(error)
    return None


def _in_workers(
    visits: list[Visit], recipe: Recipe, cache: Path, workers: int, problems: list[Problem], told: Told
) -> None:
    with WorkerPool("normfed_client.imaging.preparation:serve_visit", workers) as pool:
        jobs = {pool.submit(partial(_encode, visit, recipe, cache)): visit for visit in visits}
        for job in as_completed(jobs):
            try:
                outcome = json.loads(job.result())
            except WorkerDied as error:
                raise NormfedError(
                    f"{jobs[job].name}: {error}. Out of memory, perhaps: try again with --workers 1; "
                    "what is done is kept."
                ) from error
            if "stop" in outcome:
                raise DatasetError(outcome["stop"])
            _note(jobs[job], outcome["failure"], problems, told)


def serve_visit(payload: bytes) -> bytes:
    """A worker's function: preprocess the visit described in JSON."""
    visit, recipe, cache = _decode(payload)
    try:
        outcome = {"failure": _attempt(visit, recipe, Cache(cache))}
    except NormfedError as error:
        outcome = {"stop": str(error)}  # not this visit's fault, a full disk say: the others would fail as well
    return json.dumps(outcome).encode()


def _encode(visit: Visit, recipe: Recipe, cache: Path) -> bytes:
    return json.dumps(
        {
            "subject": visit.participant.subject,
            "session": visit.session,
            "images": {modality: str(path) for modality, path in visit.images.items()},
            "brain": visit.brain and _said(visit.brain),
            "lesions": [_said(mask) for mask in visit.lesions],
            "ignored": [_said(mask) for mask in visit.ignored],
            "in_template_space": visit.in_template_space,
            "config": recipe.config.model_dump(mode="json"),
            "modalities": recipe.modalities,
            "lesion_labels": recipe.lesion_labels,
            "whole_slices": recipe.whole_slices,
            "cache": str(cache),
        }
    ).encode()


def _decode(payload: bytes) -> tuple[Visit, Recipe, Path]:
    raw = json.loads(payload)
    lesions, ignored = (tuple(_meant(said) for said in raw[kind]) for kind in ("lesions", "ignored"))
    brain = _meant(raw["brain"]) if raw["brain"] else None
    images = {modality: Path(path) for modality, path in raw["images"].items()}
    person = Participant(raw["subject"], "", "")
    visit = Visit(person, raw["session"], images, brain, lesions, raw["in_template_space"], ignored=ignored)
    labels = None if raw["lesion_labels"] is None else tuple(raw["lesion_labels"])
    config = validate(PreprocessingConfig, raw["config"], "worker")
    recipe = Recipe(config, tuple(raw["modalities"]), labels, raw["whole_slices"])
    return visit, recipe, Path(raw["cache"])


def _said(mask: Mask) -> list[object]:
    return [str(mask.path), mask.modality, mask.label, mask.values]


def _meant(said: list[Any]) -> Mask:
    path, modality, label, values = said
    return Mask(Path(path), modality, label, None if values is None else tuple(values))
