"""The report of a simulation, with single patients: it reads the sites' own folders, as no server could."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from normfed_client.evaluating.levels import at_thresholds, thresholds_of
from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Case, Site
from normfed_client.imaging.mapping import place_on
from normfed_client.imaging.mosaic import mosaic, projections
from normfed_client.imaging.template import anatomy
from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation.errors import RunError
from normfed_common.foundation.files import write_json
from normfed_common.metrics.catalogue import chosen
from normfed_common.metrics.cluster_list import Cluster, list_clusters
from normfed_common.metrics.tissue import tissue_classes
from normfed_server.report.page import Patients, write_report
from normfed_server.report.words import percent
from normfed_server.runs.folder import Run
from normfed_simulation.people import models_of, rows, significance
from normfed_simulation.remade import served
from normfed_simulation.run_folder import CONDITIONS


@dataclass(frozen=True)
class PicturedCase:
    """One patient's pictures and figures.

    Parameters
    ----------
    detected
        Of the lesions, see `detected`; empty where the run has no threshold on the scale of its maps.
    clusters
        None where it has none.
    remarks
        Of the model on the scan, see `Score`.
    """

    title: str
    name: str
    site: str
    kind: str
    detected: str
    figures: dict[str, float]
    pictures: list[tuple[str, str]]
    projections: str
    clusters: list[Cluster] | None
    remarks: tuple[str, ...] = ()


def report(run: Run, left_out: list[tuple[str, str]] | None) -> Path:
    """Write report.html.

    Parameters
    ----------
    left_out
        Who was left out and why; None to take what the run remembers.

    Raises
    ------
    RunError
        If the run is not finished.
    """
    if not run.finished:
        raise RunError(f"{run.folder}: not finished. normfed simulate --resume {run.folder}")
    remembered = run.folder / "left_out.json"
    if left_out is not None:
        write_json(remembered, left_out)
    elif remembered.exists():
        left_out = json.loads(remembered.read_text())
    others = [model for model in models_of(run) if model != FEDERATED]
    conditions = run.folder / CONDITIONS
    patients = Patients(
        cases=cases(run),
        significance=significance(run, others, "auprc"),
        left_out=left_out or (),
        attacks=json.loads(conditions.read_text())["attacks"] if conditions.exists() else {},
    )
    return write_report(run, patients)


def cases(run: Run, metric: str = "auprc") -> list[PicturedCase]:
    """The best, the median and the worst patient of the federated model."""
    ordered = sorted((r for r in rows(run, "federated") if r.get(metric) is not None), key=lambda row: -row[metric])
    if not ordered:
        return []
    chosen = {"Best": ordered[0], "Median": ordered[len(ordered) // 2], "Worst": ordered[-1]}
    sites = {config.name: config for config in read_sites(run.sites_file)}
    return [_case(run, title, row, Site(sites[row["site"]], run.study)) for title, row in chosen.items()]


def _case(run: Run, title: str, row: dict[str, Any], site: Site) -> PicturedCase:
    case = next(case for case in site.test if case.visit.name == row["name"])
    scan, found = case.scan(), served(run, site).score(case, site.test)
    anomaly_map = found.anomaly
    lesion = case.entry.lesion()
    pictures = [
        (modality, mosaic(np.asarray(scan.images[channel]), anomaly_map, lesion, scan.mask))
        for channel, modality in enumerate(run.study.data.modalities)
        if scan.present[channel]
    ]
    shown = [metric.name for metric in chosen(run.study.evaluation.metrics) if "patients" in metric.shown]
    figures = {name: row[name] for name in shown if row.get(name) is not None}
    said, clusters = _detection(run, case, site, anomaly_map, case.entry.evaluated(), lesion)
    return PicturedCase(
        title,
        row["name"],
        row["site"],
        row["kind"],
        said,
        figures,
        pictures,
        projections(anomaly_map, lesion, scan.mask),
        clusters,
        found.remarks,
    )


def _detection(
    run: Run, case: Case, site: Site, anomaly_map: np.ndarray, mask: np.ndarray, lesion: np.ndarray
) -> tuple[str, list[Cluster] | None]:
    """Of the lesions and by which clusters, as a `PicturedCase` has it."""
    thresholds = thresholds_of(run.folder)
    if thresholds is None:
        return "", None
    size = run.study.preprocessing.voxel_size_mm
    classes = tissue_classes(anatomy(size).tissues(), mask, size)
    scan = at_thresholds(anomaly_map, mask, lesion, classes, thresholds, run.study)
    affine = place_on(case.visit, case.entry, site.recipe).affine
    return detected(scan.detection.lesion_sensitivity), list_clusters(scan, classes, affine)


def detected(share: float) -> str:
    """``missed``, ``found``, or the share of a patient's lesions that a cluster touches; empty where there is none."""
    if np.isnan(share):
        return ""
    return {0.0: "missed", 1.0: "found"}.get(share, f"{percent(share)} % of the lesions found")
