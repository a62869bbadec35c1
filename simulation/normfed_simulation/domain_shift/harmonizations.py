"""Which ways of making scanners alike are compared, and the study of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normfed_common.algorithms.sharing import can_serve
from normfed_common.foundation import plain_yaml
from normfed_common.foundation.errors import StudyError, UserError
from normfed_common.learning.setting import Setting
from normfed_common.models.combined.pipeline import assemble
from normfed_common.studies import validate_learner, validate_strategy
from normfed_common.study.config import StudyConfig
from normfed_common.study.domain_shift import NONE, NOTHING
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_server.report.words import listed

Entries = tuple[dict[str, Any], ...]
USUAL = ("z-score", "white-stripe", "nyul", "histogram-template", "combat")  # of a study that names none
PERSONALISED = ("fedbn", "ditto", "fine-tuning")  # one of each kind: part of the model, a model beside it, the model


@dataclass(frozen=True)
class Shift:
    """A study of domain shift.

    Parameters
    ----------
    study
        As resolved, with the harmonizations and what stands beside the federated model.
    studies
        By harmonization, ``none`` first, the study that is run.
    remarks
        What was left out, and why.
    """

    study: StudyConfig
    studies: Mapping[str, StudyConfig]
    remarks: tuple[str, ...]


def changes(harmonizations: str | None, repeats: int | None) -> dict[str, Any]:
    """Values for `load_study`.

    Parameters
    ----------
    harmonizations
        Names, entries with parameters and lists of both, with commas, as in a YAML list; None: those of the study.
    repeats
        Trainings of every model; None: as many as the study says.

    Raises
    ------
    StudyError
        If the list is not one.
    """
    found: dict[str, Any] = {}
    if harmonizations is not None:
        found["domain_shift.harmonizations"] = _listed(harmonizations)
    if repeats is not None:
        found["comparisons.repeats"] = repeats
    return found


def planned(study: StudyConfig) -> Shift:
    """The study of every harmonization, each with all that the comparison needs beside the federated model.

    Raises
    ------
    StudyError
        If a harmonization is not known, wrong, or listed twice.
    """
    compared, remarks = _beside(study)
    asked = study.domain_shift.harmonizations or tuple(({"name": name},) for name in USUAL if name in TRANSFORMS)
    chosen = [_resolved(entries, number) for number, entries in enumerate(asked)]
    chosen = [(), *(entries for entries in chosen if entries)]
    for entries in chosen:
        if chosen.count(entries) > 1:
            raise StudyError(f"domain_shift.harmonizations: {_name(entries)} is listed twice with the same parameters.")
    base = study.model_copy(update={"comparisons": compared})
    studies = {
        name: base.model_copy(update={"transforms": (*entries, *study.transforms), "domain_shift": NOTHING})
        for name, entries in _numbered(chosen).items()
    }
    shift = study.domain_shift.model_copy(update={"harmonizations": tuple(chosen)})
    return Shift(base.model_copy(update={"domain_shift": shift}), studies, (*remarks, *_stays(chosen)))


def _stays(chosen: Sequence[Entries]) -> list[str]:
    """Which transforms know the unseen site's own healthy people: more than the word says."""
    names = sorted(
        {entry["name"] for entries in chosen for entry in entries if TRANSFORMS[entry["name"]].keeps_to_site}
    )
    if not names:
        return []
    combats = [entry for entries in chosen for entry in entries if entry["name"] == "combat"]
    references = sorted({str(entry["reference"]) for entry in combats if entry["reference"] is not None})
    without = [
        f"Where a model is learnt without the site of ComBat's reference ({one}), an average scanner of the others "
        "stands for it."
        for one in references
    ]
    return [
        *without,
        f"What {listed(names)} learns of a scanner stays at its site, and is learnt there from the site's own healthy "
        "people, also where the federation never saw the site: of all else that site is unseen.",
    ]


def _listed(text: str) -> list[Any]:
    option = f"--harmonizations {text}"
    try:
        found = plain_yaml.parse(f"[{text}]", f"{option}: not a list of names")
    except UserError as error:
        raise StudyError(str(error)) from error
    return list(found)


def _resolved(entries: Sequence[dict[str, Any]], number: int) -> Entries:
    place = f"domain_shift.harmonizations[{number}]"
    return tuple(validate_learner(TRANSFORMS, entry, place) for entry in entries)


def _name(entries: Entries) -> str:
    return "+".join(str(entry["name"]) for entry in entries) or NONE


def _numbered(chosen: Sequence[Entries]) -> dict[str, Entries]:
    """By name; one that comes again, with other parameters, is numbered."""
    times: Counter[str] = Counter()
    found = {}
    for entries in chosen:
        name = _name(entries)
        times[name] += 1
        found[name if times[name] == 1 else f"{name}#{times[name]}"] = entries
    return found


def _beside(study: StudyConfig) -> tuple[Any, tuple[str, ...]]:
    """The study's comparisons, with every site's own model, federations without a site and personalised models."""
    known = {entry["name"] for entry in (study.strategy, *study.comparisons.strategies)}
    personalised = [name for name in PERSONALISED if name not in known and can_serve(study, name)]
    entries = (validate_strategy({"name": name}, name) for name in personalised)
    compared = study.comparisons.model_copy(
        update={
            "local": True,
            "leave_one_site_out": True,
            "strategies": (*study.comparisons.strategies, *entries),
        }
    )
    left_out = [name for name in PERSONALISED if name not in known and name not in personalised]
    if not left_out:
        return compared, ()
    names, model = ", ".join(left_out), study.model["name"]
    if assemble(study.transforms, study.model, Setting.of(study)).network is None:
        return compared, (f"{names} are left out: {model} learns from sums, which are the same under every strategy.",)
    return compared, (f"{names} left out: the model {model} cannot be trained by it.",)
