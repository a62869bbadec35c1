"""Every patient of a simulation with their figures, for the report's table; and chance by kind of lesion, from them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normfed_client.hospital.site import Site
from normfed_common.algorithms.arms import FEDERATED
from normfed_server.report.verdicts import best_baseline
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import Run
from normfed_simulation.people import rows
from normfed_simulation.pictured import RANKED_BY, detected


@dataclass(frozen=True)
class PatientRow:
    """A patient's visit.

    Parameters
    ----------
    lesion_ml
        On the common grid.
    share
        Of the voxels that are ranked, those of the lesion: what average precision is by chance.
    figures
        Of the federated model, by metric; what is not defined is not there.
    baseline
        Average precision of the best trivial baseline.
    detected
        See `detected`.
    """

    site: str
    name: str
    kind: str
    age: float | None
    sex: str | None
    lesion_ml: float
    share: float
    figures: dict[str, float]
    baseline: float | None
    detected: str


def patient_rows(run: Run, results: RunResults, sites: Mapping[str, Site]) -> list[PatientRow]:
    """Of every patient's visit that was tested, the one of the highest average precision first."""
    name = best_baseline(results)
    theirs = {(row["site"], row["name"]): row.get(RANKED_BY) for row in rows(run, name)} if name else {}
    cases = {(name, case.visit.name): case for name, site in sites.items() for case in site.test}
    found = []
    for row in rows(run, FEDERATED):
        key = row["site"], row["name"]
        if key not in cases:
            continue
        case = cases[key]
        lesion, mask = case.entry.lesion(), case.entry.evaluated()
        found.append(
            PatientRow(
                site=row["site"],
                name=row["name"],
                kind=row["kind"],
                age=case.visit.participant.age,
                sex=case.visit.participant.sex,
                lesion_ml=int(lesion.sum()) * run.study.preprocessing.voxel_size_mm**3 / 1000,
                share=float(lesion[mask].mean()),
                figures={metric: value for metric, value in row.items() if _is_figure(value)},
                baseline=theirs.get(key),
                detected=detected(_number(row.get("lesion_sensitivity"))),
            )
        )
    return sorted(found, key=lambda row: -row.figures.get(RANKED_BY, -1.0))


def chance_by_kind(found: Sequence[PatientRow]) -> dict[str, float]:
    """Kind of lesion to the mean of its patients' shares, over those who have a lesion."""
    shares: dict[str, list[float]] = {}
    for row in found:
        if row.share:
            shares.setdefault(row.kind, []).append(row.share)
    return {kind: statistics.fmean(of) for kind, of in shares.items()}


def _is_figure(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
