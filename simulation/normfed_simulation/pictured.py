"""Single people of a simulation in pictures: the best, the median and the worst patient, and somebody healthy.

Below the scan stand the federated model's map and that of the best trivial baseline, of the same slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normfed_client.evaluating.levels import at_thresholds, thresholds_of
from normfed_client.hospital.site import Case, Site
from normfed_client.imaging.mapping import place_on
from normfed_client.imaging.mosaic import map_strip, projections, scan_strip, shown_slices
from normfed_client.imaging.template import anatomy
from normfed_common.algorithms.arms import FEDERATED
from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.catalogue import chosen
from normfed_common.metrics.cluster_list import Cluster, list_clusters
from normfed_common.metrics.tissue import tissue_classes
from normfed_server.report.people import PicturedCase, PicturedMap
from normfed_server.report.verdicts import TITLES, best_baseline, title
from normfed_server.report.words import number, percent
from normfed_server.results.figures import PRECISION
from normfed_server.results.layout import RunResults
from normfed_server.runs.folder import Run
from normfed_simulation.people import rows
from normfed_simulation.remade import served

HEALTHY, BY = "Somebody healthy", f"by {TITLES[PRECISION]}"


def cases(run: Run, results: RunResults, sites: Mapping[str, Site]) -> list[PicturedCase]:
    """Patients by the federated model's average precision, and a held-out healthy person, picked by name alone."""
    tested = {(name, case.visit.name): (site, case) for name, site in sites.items() for case in site.test}
    known = [row for row in rows(run, FEDERATED) if (row["site"], row["name"]) in tested]
    ordered = sorted((row for row in known if row.get(PRECISION) is not None), key=lambda row: -row[PRECISION])
    found = []
    for which, row in extremes(ordered).items():
        site, case = tested[row["site"], row["name"]]
        found.append(_pictured(run, results, which, site, case, site.test, row))
    not_served = results.not_served.get(FEDERATED, {})
    for site in sorted(sites.values(), key=lambda site: -len(site.held_out)):
        if site.config.name in not_served:
            continue
        healthy = next((case for case in site.held_out if not case.entry.lesion().any()), None)
        if healthy is not None:
            return [*found, _pictured(run, results, HEALTHY, site, healthy, site.held_out, {})]
    return found


def extremes(ordered: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The best, the median and the worst of rows in the order of average precision, each of another person; fewer where
    there are not three. A person stands for themselves with their best visit."""
    of_people: dict[tuple[str, str], dict[str, Any]] = {}
    for row in ordered:
        of_people.setdefault((row["site"], row["name"].partition("_ses-")[0]), row)
    people = list(of_people.values())
    if len(people) < 2:
        return dict(zip(("The only patient",), people, strict=False))
    median = {f"Median {BY}": people[len(people) // 2]} if len(people) > 2 else {}
    return {f"Best {BY}": people[0], **median, f"Worst {BY}": people[-1]}


def _pictured(
    run: Run,
    results: RunResults,
    which: str,
    site: Site,
    case: Case,
    group: list[Case],
    row: dict[str, Any],
) -> PicturedCase:
    scan, lesion = case.scan(), case.entry.lesion()
    slices = shown_slices(lesion, scan.mask)
    present = [at for at in range(len(run.study.data.modalities)) if scan.present[at]]
    images = {run.study.data.modalities[at]: np.asarray(scan.images[at]) for at in present}
    base = [*images.values()][-1]
    ours = served(run, site).score(case, group)
    found = [PicturedMap(title(results), map_strip(base, ours.anomaly, lesion, scan.mask, slices), _precision(row))]
    name = best_baseline(results)
    if name is not None:
        theirs = served(run, site, name).score(case, group)
        strip = map_strip(base, theirs.anomaly, lesion, scan.mask, slices)
        found.append(PicturedMap(f"the best trivial baseline, {results.title(name)}", strip, _theirs(run, name, row)))
    shown = [metric.name for metric in chosen(run.study.evaluation.metrics) if "patients" in metric.shown]
    said, threshold, clusters = _detection(run, site, case, ours.anomaly)
    return PicturedCase(
        title=which,
        name=case.visit.name,
        site=site.config.name,
        about=about(case, row.get("kind", "no lesion")),
        detected=said,
        figures={name: row[name] for name in shown if row.get(name) is not None},
        share=float(lesion[case.entry.evaluated()].mean()) if row else None,
        scans=[(modality, scan_strip(image, lesion, scan.mask, slices)) for modality, image in images.items()],
        maps=found,
        projections=projections(ours.anomaly, lesion, scan.mask),
        threshold=threshold,
        clusters=clusters,
        remarks=ours.remarks,
        ill=bool(row),
    )


def _theirs(run: Run, name: str, row: dict[str, Any]) -> str:
    """A baseline's figure of the same patient."""
    same = (other for other in rows(run, name) if (other["site"], other["name"]) == (row.get("site"), row.get("name")))
    return _precision(next(same, {}))


def _precision(row: Mapping[str, Any]) -> str:
    return f"average precision {number(row[PRECISION])}" if row.get(PRECISION) is not None else ""


def about(case: Case, kind: str) -> str:
    """``WMH, 64 years, M``."""
    person = case.visit.participant
    return ", ".join(
        [kind, *([f"{person.age:.0f} years"] if person.age is not None else []), *filter(None, [person.sex])]
    )


def _detection(
    run: Run, site: Site, case: Case, anomaly_map: np.ndarray
) -> tuple[str, float | None, list[Cluster] | None]:
    """Of the lesions, at which threshold, and by which clusters, as a `PicturedCase` has it."""
    thresholds = thresholds_of(run.folder)
    if thresholds is None:
        return "", None, None
    size, mask = run.study.preprocessing.voxel_size_mm, case.entry.evaluated()
    classes = tissue_classes(anatomy(size).tissues(), mask, size)
    scan = at_thresholds(anomaly_map, mask, case.entry.lesion(), classes, thresholds, run.study)
    affine = place_on(case.visit, case.entry, site.recipe).affine
    return _said(scan, mask), float(thresholds[-1]), list_clusters(scan, classes, affine)


def _said(scan: ScoredScan, mask: np.ndarray) -> str:
    if scan.lesion.any():
        return detected(scan.detection.lesion_sensitivity)
    return f"{percent(float(scan.abnormal[mask].mean()))} % of the brain is called abnormal"


def detected(share: float) -> str:
    """``missed``, ``found``, or the share of a patient's lesions that a cluster touches; empty where there is none."""
    if np.isnan(share):
        return ""
    return {0.0: "missed", 1.0: "found"}.get(share, f"{percent(share)} % of the lesions found")
