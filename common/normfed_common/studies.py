"""Read a study file; every fault is one sentence that names the key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from normfed_common.algorithms.privacy import check_strategy
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import RunError, StudyError, UserError
from normfed_common.foundation.registry import Registry
from normfed_common.learning.entries import config_of
from normfed_common.models.catalogue import MODELS
from normfed_common.shipped import study_file
from normfed_common.study.changes import changed, parsed
from normfed_common.study.config import StudyConfig
from normfed_common.study.data import DataConfig
from normfed_common.study.postprocessing import KEY, PostprocessingConfig, shows_fluid
from normfed_common.study.validation import validate
from normfed_common.transforms.catalogue import TRANSFORMS

MAXIMUM_BYTES = 1_000_000
# Sections may be empty: all that a person left of one may be comments.
SECTIONS = frozenset(
    key for key, field in StudyConfig.model_fields.items() if isinstance(field.get_default(), BaseModel)
)
RESOLVED = frozenset(key for key, field in StudyConfig.model_fields.items() if field.exclude_if is None)
DIGEST = "sha256:"  # what stands in the place of a path once a run begins: no path leaves the researcher's machine


def load_study(path: Path, **changes: Any) -> StudyConfig:
    """Read and resolve a study: all defaults filled in, model and algorithm known.

    Parameters
    ----------
    path
        The YAML file, or the name of a study that comes with normfed.
    changes
        Values given on the command line, by key, see `changed`: ``**{"federation.rounds": 3}``.

    Raises
    ------
    StudyError
        If the file cannot be read, or asks for something unknown or impossible.
    """
    path = study_file(path)
    raw = _read(path)
    raw = changed({key: value for key, value in raw.items() if value is not None or key not in SECTIONS}, changes)
    initial = raw.get("initial_model")
    if isinstance(initial, str) and not initial.startswith(DIGEST) and "initial_model" not in changes:
        raw["initial_model"] = str(path.parent / initial)
    return resolve(raw, f"{path} with {', '.join(changes)} changed" if changes else str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        return plain_yaml.read(path, "a study file", MAXIMUM_BYTES)
    except UserError as error:
        raise StudyError(str(error)) from error


def study_if_any(path: Path | None, said: Sequence[str] | None) -> StudyConfig | None:
    """The study at ``path``, changed as `--set` says; None without one.

    Raises
    ------
    StudyError
        See `load_study`; also if there is something to set and no study.
    """
    if path is None and said:
        raise StudyError(f"--set {said[0]}: changes a study, and none is given.")
    return None if path is None else load_study(path, **parsed(said or ()))


def resolve(raw: dict[str, Any], origin: str) -> StudyConfig:
    """Check a parsed study and fill in every default, those of its models too."""
    study = validate(StudyConfig, raw, origin)
    strategy = validate_strategy(study.strategy, f"{origin}: strategy")
    strategies = tuple(
        validate_strategy(entry, f"{origin}: comparisons.strategies[{i}]")
        for i, entry in enumerate(study.comparisons.strategies)
    )
    for entry in (strategy, *strategies):
        check_strategy(entry, study.federation, study.privacy, origin)
    transforms = tuple(
        validate_learner(TRANSFORMS, entry, f"{origin}: transforms[{i}]") for i, entry in enumerate(study.transforms)
    )
    model = validate_learner(MODELS, study.model, f"{origin}: model")
    baselines = tuple(
        validate_learner(MODELS, entry, f"{origin}: comparisons.baselines[{i}]")
        for i, entry in enumerate(study.comparisons.baselines)
    )
    if study.evaluation.metrics:
        _check_metrics(study.evaluation.metrics, origin)
    if study.data.may_lack:
        _check_absent(study.data, transforms, {"model": model, **_numbered("comparisons.baselines", baselines)}, origin)
    if shows_fluid(study.data.modalities) is None:
        _check_fluid(study, {"model": model, **_numbered("comparisons.baselines", baselines)}, origin)
    comparisons = study.comparisons.model_copy(update={"baselines": baselines, "strategies": strategies})
    return study.model_copy(
        update={"transforms": transforms, "model": model, "strategy": strategy, "comparisons": comparisons}
    )


def _numbered(key: str, entries: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Entries of a list by where they stand in the study."""
    return {f"{key}[{number}]": entry for number, entry in enumerate(entries)}


def _check_absent(
    data: DataConfig, transforms: Sequence[dict[str, Any]], models: dict[str, dict[str, Any]], origin: str
) -> None:
    """Refuse a study whose scans may lack what a transform needs, or a model behind the transforms."""
    absent = set(data.may_lack)
    for place, entry in _numbered("transforms", transforms).items():
        kind, config = TRANSFORMS[entry["name"]], config_of(TRANSFORMS, entry)
        _check_needs(place, entry, kind.needs(config, data.modalities), absent, origin)
        absent -= set(kind.fills(config, data.modalities))
    for place, entry in models.items():
        needed = MODELS[entry["name"]].needs(config_of(MODELS, entry), data.modalities)
        _check_needs(place, entry, needed, absent, origin)


def _check_needs(place: str, entry: dict[str, Any], needed: Sequence[str], absent: set[str], origin: str) -> None:
    lacking = [modality for modality in needed if modality in absent]
    if lacking:
        raise StudyError(
            f"{origin}: data.may_lack: scans may have no {' and no '.join(lacking)}, which {entry['name']} ({place}) "
            "needs. Take it out of may_lack, or take another that does without, or a transform before it that fills "
            "it in."
        )


def _check_fluid(study: StudyConfig, models: dict[str, dict[str, Any]], origin: str) -> None:
    """Refuse to suppress a person's fluid where no modality shows it."""
    said: dict[str, Any] = {KEY: study.postprocessing.model_dump()}
    for place, entry in models.items():
        members = _numbered(f"{place}.members", entry.get("members", ()))
        said |= {f"{at}.{KEY}": one[KEY] for at, one in {place: entry, **members}.items() if KEY in one}
    for place, chosen in said.items():
        if chosen["fluid"] == "patient":
            raise StudyError(
                f"{origin}: {place}.fluid: `patient` tells fluid by T1w, FLAIR or T2w, and the study has only "
                f"{', '.join(study.data.modalities)}. Write `template`, or `keep`."
            )


def study_of_run(folder: Path) -> StudyConfig:
    """The study of a run folder, as resolved when the run began.

    Raises
    ------
    RunError
        If the folder is not that of a run.
    """
    path = folder / "study.yaml"
    if path.is_file():
        if RESOLVED - _read(path).keys():  # a run's has every key
            raise RunError(
                f"{folder}: no run folder, but one that holds a study to run. `normfed simulate {path}` makes a run "
                "folder, such as runs/demo-20260101-120000."
            )
        return load_study(path)
    found = "no such folder"
    if folder.exists():
        found = "a folder without study.yaml" if folder.is_dir() else "a file"
    study = folder if folder.is_file() and folder.suffix in (".yaml", ".yml") else "STUDY.yaml"
    raise RunError(
        f"{folder}: {found}, where a run folder is needed, such as runs/demo-20260101-120000. "
        f"`normfed simulate {study}` makes one."
    )


def _check_metrics(extra: tuple[str, ...], origin: str) -> None:
    from normfed_common.metrics.catalogue import chosen

    try:
        chosen(extra)
    except StudyError as error:
        raise StudyError(f"{origin}: evaluation.metrics: {error}") from error


def validate_learner(registry: Registry[Any], entry: dict[str, Any], origin: str) -> dict[str, Any]:
    """The same entry with the defaults of its model or transform filled in; a model's may say what is done to maps."""
    learner, values = registry.chosen(entry, origin)
    beside = {}
    if registry is MODELS and KEY in values:
        beside = {KEY: _postprocessing(values.pop(KEY), f"{origin}.{KEY}")}
    return {"name": entry["name"], **_parameters(learner.Config, values, entry["name"], origin), **beside}


def _postprocessing(said: Any, origin: str) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise StudyError(f"{origin}: keys with values are expected, such as {{smoothing_mm: 1.4}} (got {said!r}).")
    return validate(PostprocessingConfig, said, origin, "a key of post-processing").model_dump(mode="json")


def validate_strategy(entry: dict[str, Any], origin: str) -> dict[str, Any]:
    """The same entry with the defaults of its algorithm filled in."""
    row, values = ALGORITHMS.chosen(entry, origin)
    return {"name": entry["name"], **_parameters(row.parameters, values, entry["name"], origin)}


def _parameters(kind: type[BaseModel], values: dict[str, Any], name: str, origin: str) -> dict[str, Any]:
    return validate(kind, values, origin, f"a parameter of {name}").model_dump(mode="json")
