"""Which arrays of a model leave a site under an algorithm, and whether the two fit each other at all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import dropwhile
from typing import Any

from normfed_common.algorithms.private_training import check_training
from normfed_common.algorithms.secure import check_secure_sums
from normfed_common.algorithms.table import Algorithm, configure
from normfed_common.foundation.errors import NormfedError, StudyError
from normfed_common.learning.learner import NORMALISATION_GROUP, Learner
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import assemble
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import PLAIN
from normfed_common.transforms.catalogue import TRANSFORMS


def personal_arrays(model: Learner, strategy: dict[str, Any]) -> frozenset[str]:
    """Names of the model's arrays that stay at the site: the strategy's choice, and the model's own.

    Raises
    ------
    StudyError
        If the strategy keeps parts that the model does not have.
    """
    row, parameters = configure(strategy)
    groups = model.groups()
    own = frozenset(array for part in model.personal for array in groups[part])
    if row.sharing == "all":
        return own
    if row.sharing == "all but normalisation":
        wanted: tuple[str, ...] = (NORMALISATION_GROUP,)
        if not groups[NORMALISATION_GROUP]:
            raise StudyError(
                f"strategy {strategy['name']}: the model's network has no normalisation layers, so nothing would stay "
                "at the sites. Take another architecture, or another strategy."
            )
    else:
        wanted = parameters.personal
    unknown = [name for name in wanted if name not in groups]
    if unknown:
        raise StudyError(
            f"strategy {strategy['name']}: the model has no part called {', '.join(unknown)}. "
            f"Its parts are {', '.join(groups)}.{_how_to_keep(strategy['name'], row, model, own)}"
        )
    kept = own | frozenset(array for name in wanted for array in groups[name])
    if kept >= {name for names in groups.values() for name in names}:
        raise StudyError(f"strategy {strategy['name']}: every part would stay at the sites; nothing is left to share.")
    return kept


def _how_to_keep(strategy: str, row: Algorithm, model: Learner, own: frozenset[str]) -> str:
    """An entry that keeps the last part without which every phase has something left to share."""
    if "personal" not in row.parameters.model_fields:
        return ""
    groups = model.groups()
    trained = [model.arrays_of(phase) - own for phase in model.phases() if phase.kind == "averaged"]
    parts = [part for part in model.parts if all(arrays - set(groups[part]) for arrays in trained)]
    return f" Write {{name: {strategy}, personal: [{parts[-1]}]}}." if parts else ""


def needs_every_part(model: NormativeModel, strategy: dict[str, Any]) -> bool:
    """Whether a site that never trained the model has no whole one: part of it never leaves the others."""
    row, _ = configure(strategy)
    return row.needs_every_part or bool(model.personal)


def check_study(study: StudyConfig) -> None:
    """Refuse what the study's strategies cannot serve.

    Raises
    ------
    StudyError
        If its model and one of its strategies do not fit each other.
    """
    check_secure_sums(study)
    model = assemble(study.transforms, study.model, Setting.of(study))
    if model.personal and study.comparisons.pooled:
        raise StudyError(
            f"comparisons.pooled: the model {study.model['name']} keeps parts of itself at the sites, and one "
            "that is trained in one place has none of theirs. Set pooled: false."
        )
    for strategy in (study.strategy, *study.comparisons.strategies):
        _check(model, study.model["name"], strategy)
        if study.initial_model is not None and configure(strategy)[0].starts_differ:
            raise StudyError(
                f"strategy {strategy['name']}: its models must start differently, and initial_model would make them "
                "equal. Leave one of the two out."
            )
    if study.privacy.epsilon is not None:
        _check_privacy(study, model)


def _check_privacy(study: StudyConfig, model: NormativeModel) -> None:
    """Whether people are protected in every training of the study, and in all sums."""
    compared, name = study.comparisons, study.model["name"]
    strategies = [study.strategy, *compared.strategies]
    if compared.local or compared.pooled or compared.leave_one_site_out:
        strategies.append(PLAIN)
    for strategy in strategies if model.network is not None else ():
        check_training(model, name, personal_arrays(model, strategy), study.privacy, strategy)
    for entry in compared.baselines:
        baseline = assemble(study.transforms, entry, Setting.of(study))
        check_training(baseline, entry["name"], personal_arrays(baseline, PLAIN), study.privacy, PLAIN)
    for entry in (study.model, *compared.baselines):
        _check_bounded(study, entry)


def _check_bounded(study: StudyConfig, entry: dict[str, Any]) -> None:
    """Refuse a model with sums in which nobody's part is bounded: no noise hides it."""
    kept = sorted({one["name"] for one in study.transforms if TRANSFORMS[one["name"]].keeps_to_site})
    if kept:
        raise StudyError(
            f"privacy.epsilon: the transform {kept[0]} changes every scan by what a site has learnt of all of its "
            "people, so that nothing bounds how much one person is in what the model learns. Leave the transform out, "
            "or epsilon."
        )
    unbounded = _unbounded(study, entry)
    if unbounded:
        others = [name for name in MODELS if name != entry["name"] and _can_be_private(study, name)]
        cure = "Leave"
        if others:
            cure = (
                f"Of models with sums, these can be had with privacy: {', '.join(others)}. Take one of them, or leave"
            )
        raise StudyError(
            f"privacy.epsilon: the model {entry['name']} adds up {' and '.join(unbounded)} over people, and nothing "
            "bounds how much one person is in it, as it stands in this study, so that no noise hides anybody. "
            f"{cure} epsilon out."
        )


def _unbounded(study: StudyConfig, entry: dict[str, Any]) -> list[str]:
    model = assemble(study.transforms, entry, Setting.of(study))
    return [phase.name for phase in model.phases() if phase.kind == "summed" and model.bounded(phase.name) is None]


def _can_be_private(study: StudyConfig, name: str) -> bool:
    """Whether a model with its defaults has sums in the study that are all bounded."""
    try:
        entry = {"name": name}
        model = assemble(study.transforms, entry, Setting.of(study))
        return any(phase.kind == "summed" for phase in model.phases()) and not _unbounded(study, entry)
    except NormfedError:
        return False


def can_serve(study: StudyConfig, strategy: str) -> bool:
    """Whether the study's model and a strategy with its default parameters fit each other."""
    try:
        _check(assemble(study.transforms, study.model, Setting.of(study)), study.model["name"], {"name": strategy})
    except StudyError:
        return False
    return True


def _check(model: NormativeModel, name: str, strategy: dict[str, Any]) -> None:
    if strategy == PLAIN:
        _check_phases(model, strategy)
        return
    row, _ = configure(strategy)
    if model.network is None:
        raise StudyError(
            f"strategy {strategy['name']}: the model {name} learns from sums over sites, which are the same under "
            "every strategy. Leave the strategy out."
        )
    after = _sums_after_training(model.phases())
    if after and (row.personal or row.clustered or model.personal):
        raise StudyError(
            f"strategy {strategy['name']}: after it, sites do not have the same network, but the model {name} adds up "
            f"{', '.join(after)} of all sites, which needs one. Take a score that each site or person fits for "
            "itself (one_class.fit_on: patient), or a strategy with one global model."
        )
    _check_phases(model, strategy)


def _check_phases(model: NormativeModel, strategy: dict[str, Any]) -> None:
    personal = personal_arrays(model, strategy)
    for phase in model.phases():
        if phase.kind == "averaged" and not model.arrays_of(phase) - personal:
            raise StudyError(
                f"strategy {strategy['name']}: all that the model's phase {phase.name} trains stays at the sites, so "
                "that nothing is left to share in its rounds. Keep fewer parts at the sites, or take another strategy."
            )


def _sums_after_training(phases: Sequence[Phase]) -> list[str]:
    """Names of the summed phases that come after an averaged one: they need everybody's network to be the same."""
    following = dropwhile(lambda phase: phase.kind != "averaged", phases)
    return [phase.name for phase in following if phase.kind == "summed"]
