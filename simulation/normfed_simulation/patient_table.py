"""Every patient of a simulation with their figures, for the report's table; and chance by kind of lesion, from them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from normfed_client.hospital.site import Site
from normfed_common.algorithms.arms import FEDERATED
from normfed_server.report.people import PatientRow
from normfed_server.report.verdicts import best_baseline
from normfed_server.results.figures import PRECISION
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import Run
from normfed_simulation.people import by_patient, number_of, rows
from normfed_simulation.pictured import detected


def patient_rows(run: Run, results: RunResults, sites: Mapping[str, Site]) -> list[PatientRow]:
    """Of every patient's visit that was tested, the one of the highest average precision first."""
    name = best_baseline(results)
    theirs = {(row["site"], row["name"]): row.get(PRECISION) for row in rows(run, name)} if name else {}
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
                detected=_detected(row),
                lesions=_lesions(row),
            )
        )
    return sorted(found, key=lambda row: -row.figures.get(PRECISION, -1.0))


def chance_by_kind(found: Sequence[PatientRow]) -> dict[str, float]:
    """Kind of lesion to the mean of its patients' shares, over those who have a lesion, as over all patients."""
    shares: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        if row.share:
            shares.setdefault(row.kind, []).append({"site": row.site, "name": row.name, "share": row.share})
    return {kind: statistics.fmean(by_patient(of, "share").values()) for kind, of in shares.items()}


def touched(found: Sequence[PatientRow]) -> tuple[int, int] | None:
    """Of all patients' lesions, those that a cluster touches, and how many there are; None where that is not known."""
    known = [row.lesions for row in found if row.lesions is not None]
    return (sum(hit for hit, _ in known), sum(of for _, of in known)) if known else None


def _lesions(row: Mapping[str, Any]) -> tuple[int, int] | None:
    return (sum(one["found"] for one in row["lesions"]), len(row["lesions"])) if "lesions" in row else None


def _detected(row: Mapping[str, Any]) -> str:
    lesions = _lesions(row)
    if lesions is None or lesions[0] in (0, lesions[1]):
        return detected(number_of(row.get("lesion_sensitivity")))
    return f"{lesions[0]} of {lesions[1]}"


def _is_figure(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)
