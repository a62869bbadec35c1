"""Preprocess many visits at once, and say what came of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from normfed_client.imaging.bids import Mask, Participant, Problem, Visit
from normfed_client.imaging.cache import Cache
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
    masks = [[str(m.path), m.modality, m.label] for m in visit.lesions]
    brain = [str(visit.brain.path), visit.brain.modality, visit.brain.label] if visit.brain else None
    return json.dumps(
        {
            "subject": visit.participant.subject,
            "session": visit.session,
            "images": {modality: str(path) for modality, path in visit.images.items()},
            "brain": brain,
            "lesions": masks,
            "in_template_space": visit.in_template_space,
            "config": recipe.config.model_dump(mode="json"),
            "modalities": recipe.modalities,
            "lesion_labels": recipe.lesion_labels,
            "cache": str(cache),
        }
    ).encode()


def _decode(payload: bytes) -> tuple[Visit, Recipe, Path]:
    raw = json.loads(payload)
    masks = [Mask(Path(path), modality, label) for path, modality, label in raw["lesions"]]
    brain = Mask(Path(raw["brain"][0]), *raw["brain"][1:]) if raw["brain"] else None
    images = {modality: Path(path) for modality, path in raw["images"].items()}
    person = Participant(raw["subject"], "", "")
    visit = Visit(person, raw["session"], images, brain, tuple(masks), raw["in_template_space"])
    labels = None if raw["lesion_labels"] is None else tuple(raw["lesion_labels"])
    recipe = Recipe(validate(PreprocessingConfig, raw["config"], "worker"), tuple(raw["modalities"]), labels)
    return visit, recipe, Path(raw["cache"])
