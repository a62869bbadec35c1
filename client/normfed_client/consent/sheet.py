"""A manifest for people: lines of a table, few enough to be read, and the officer's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal

from jinja2 import Environment

from normfed_client.consent.html import environment
from normfed_client.consent.manifest import AtMost, Leaving, Manifest, Row
from normfed_client.consent.policy import parts_of
from normfed_client.consent.words import BESIDE, is_weight
from normfed_client.hospital.folder import Hospital
from normfed_client.hospital.withdrawn import dataset_of
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.units import MEGABYTE
from normfed_common.study.config import StudyConfig
from normfed_common.wire.tasks import Task

MOST_ROWS = 6  # of one kind of answer that are shown by themselves
WHEN: dict[Task, str] = {
    "query.describe": "before all",
    "query.keys": "before a secure sum",
    "query.shares": "before a secure sum",
    "query.survivors": "after a secure sum",
    "query.unmask": "after a secure sum",
    "train.canary": "before training",
    "train.sums": "sums",
    "train.round": "training",
    "train.personal": "after training",
    "evaluate.score": "test, 1st step",
    "evaluate.count": "test, 2nd step",
    "evaluate.measure": "test, 3rd step",
}


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Parameters
    ----------
    what
        Which answers it is about; empty where the line above says so.
    bytes
        Of one answer, at most.
    times
        How often, at most.
    """

    when: str
    what: str
    arrays: str
    shape: str
    bytes: str
    times: str
    about: str


Detail = Literal["answers", "arrays", "every array"]


def lines_of(manifest: Manifest, detail: Detail = "arrays") -> list[Line]:
    """The table; an answer about several models is there once.

    Parameters
    ----------
    detail
        One line per answer; or per array, but for dozens of a kind, such as the weights of a network; or for each.
    """
    found: list[Line] = []
    for alike in _alike(manifest.leaving):
        first = alike[0]
        when = WHEN[first.task] if first.part != "ranking" else "test, ranking"
        what, times = _titles(alike), _times(alike)
        for rows in _groups([row for row in first.rows if row.bytes], detail) or [()]:
            found.append(_line(when, what, times, rows))
            when = what = times = ""
    return found


def _line(when: str, what: str, times: str, rows: Sequence[Row]) -> Line:
    if not rows:
        return Line(when, what, "no arrays", "–", "–", times, "–")
    about = ", ".join(dict.fromkeys(part for row in rows for part in row.about.split(", ")))
    return Line(when, what, _arrays(rows), _shape(rows), size(sum(row.bytes for row in rows)), times, about)


def beside_of(manifest: Manifest) -> list[str]:
    """What is said beside arrays, each field once."""
    named = dict.fromkeys(field for leaving in manifest.leaving for field in leaving.header)
    return [BESIDE[field] for field in named if field in BESIDE]


def page(manifest: Manifest, study: StudyConfig, people: str) -> str:
    """The officer's sheet as HTML that prints on A4.

    Parameters
    ----------
    people
        How many there are to be learnt from and tested, as far as that is known, in words.
    """
    total = size(manifest.total_bytes)
    text: str = (
        _environment()
        .get_template("sheet.html.jinja")
        .render(
            manifest=manifest,
            study=study,
            people=people,
            lines=lines_of(manifest, "answers"),
            beside=beside_of(manifest),
            total=total,
            per_other=size(sum(one.bytes * one.times_per_other_site for one in manifest.leaving)),
        )
    )
    return text


def people_of(hospital: Hospital) -> str:
    """How many people the dataset names, in words; no scan is opened."""
    config = hospital.site_config("")
    try:
        by_site = dataset_of(hospital).sites()
    except UserError:
        return "The dataset could not be read just now, so that their number is not known."
    names = config.owns or tuple(by_site)
    people = {visit.participant.subject for name in names for visit in by_site.get(name, [])}
    return (
        f"The dataset names {len(people):,} people. Those who fit the study are learnt from, held out to set "
        "thresholds, or tested: each is one of the three."
    )


def facts_of(study: StudyConfig) -> list[tuple[str, str]]:
    """What a study is, in rows."""
    parts, privacy = parts_of(study), study.privacy
    noise = f"epsilon {privacy.epsilon:g}, delta {privacy.delta:g}, per {privacy.unit}" if privacy.epsilon else "none"
    return [
        ("study", study.name),
        ("digest", study.digest),
        ("description", study.description or "–"),
        ("models", ", ".join(sorted(parts.models))),
        ("strategies", ", ".join(sorted(parts.strategies))),
        ("transforms", ", ".join(sorted(parts.transforms)) or "none"),
        ("modalities", ", ".join(study.data.modalities)),
        ("rounds", _rounds(study.federation.rounds, study.federation.local_epochs)),
        ("people", f"at least {study.federation.minimum_cohort} in every sum"),
        ("noise", noise),
        ("secure aggregation", "yes" if privacy.secure_aggregation else "no"),
    ]


def _rounds(rounds: int, passes: int) -> str:
    return f"{rounds:,}, with {passes:,} {'pass' if passes == 1 else 'passes'} over the people in each"


def size(count: int) -> str:
    """Bytes as people read them."""
    if count < 1000:
        return f"{count} B"
    if count < MEGABYTE:
        return f"{count / 1000:.1f} kB"
    return f"{count / MEGABYTE:,.1f} MB"


def _alike(leaving: Iterable[Leaving]) -> list[list[Leaving]]:
    """Answers that look the same, about whichever models, in the order in which the first is asked for."""
    found: dict[object, list[Leaving]] = {}
    for one in leaving:
        key = (one.task, one.rows, one.masked, one.compression, one.part == "ranking")
        found.setdefault(key, []).append(one)
    return list(found.values())


def _titles(alike: Sequence[Leaving]) -> str:
    """``training of siamese by fedavg, fedprox``: what answers have in common is said once."""
    titles = list(dict.fromkeys(one.what for one in alike))
    first, *others = titles
    stem = first.partition(" of ")[0] + " of "
    return "; ".join([first, *(title.removeprefix(stem) for title in others)])


def _times(alike: Sequence[Leaving]) -> str:
    once, others = sum(one.times for one in alike), sum(one.times_per_other_site for one in alike)
    return f"{once:,}" + (f" + {others:,} per other site" if others else "")


def _groups(rows: Sequence[Row], detail: Detail) -> list[Sequence[Row]]:
    """Rows that are shown as one line."""
    if detail == "answers":
        return [rows] if rows else []
    if detail == "every array":
        return [[row] for row in rows]
    found = [list(group) for _, group in groupby(rows, key=lambda row: (is_weight(row.array), row.about))]
    return [part for group in found for part in ([group] if _are_many(group) else [[row] for row in group])]


def _are_many(group: Sequence[Row]) -> bool:
    return len(group) > MOST_ROWS or (len(group) > 1 and is_weight(group[0].array))


def _arrays(rows: Sequence[Row]) -> str:
    if len(rows) == 1:
        return f"{rows[0].array}: {rows[0].what}"
    if all(is_weight(row.array) for row in rows):
        return f"{len(rows)} arrays: the weights of the network"
    if len(rows) > 2 * MOST_ROWS:
        return f"{len(rows)} arrays, {rows[0].array} to {rows[-1].array}: {rows[0].what}, and so on"
    return f"{len(rows)} arrays: {'; '.join(dict.fromkeys(row.what for row in rows))}"


def _shape(rows: Sequence[Row]) -> str:
    if not rows:
        return "–"
    types = "/".join(dict.fromkeys(row.dtype for row in rows))
    if len(rows) > 1:
        return types
    lengths = [f"≤ {axis.most:,}" if isinstance(axis, AtMost) else f"{axis:,}" for axis in rows[0].shape]
    return f"{types} {' × '.join(lengths) or 'one number'}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return environment("normfed_client.consent")
