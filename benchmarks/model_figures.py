"""Figures of people whose maps `transfer` has made, and of a model over people.

A threshold is a quantile, the study's specificity, of normal voxels of people of other groups, each scored by a model
that has not seen them: healthy people where there are some, else lesion-free tissue of other sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy import ndimage
from transfer import Scored

from normfed_common.foundation import seeds
from normfed_common.metrics.base import ScoredScan
from normfed_common.metrics.catalogue import METRICS
from normfed_common.metrics.curves import TOUCHING
from normfed_common.metrics.summary import percentile_interval

Row = dict[str, Any]
RANKED = ("auroc", "auprc", "aupro", "best_dice")
MAIN = "auprc"
PEOPLE_ML = {"< 5 ml": (0, 5), "5-25 ml": (5, 25), "> 25 ml": (25, np.inf)}  # of all of a person's lesions
LESIONS_ML = {"< 0.1 ml": (0, 0.1), "0.1-1 ml": (0.1, 1), "> 1 ml": (1, np.inf)}  # of one, 26-connected
RESAMPLINGS = 5000


def rows(people: Sequence[Scored], voxel_size_mm: float, specificity: float) -> list[Row]:
    """Everybody's figures; NaN where one is not defined, as rankings are without a lesion."""
    normal = [person.anomaly[person.case.entry.normal()] for person in people]
    healthy = any(person.healthy for person in people)

    @cache
    def threshold(group: str) -> float:
        others = [
            scores
            for person, scores in zip(people, normal, strict=True)
            if person.group != group and person.healthy == healthy
        ]
        return float(np.quantile(np.concatenate(others), specificity)) if others else float("nan")

    return [
        _row(person, scores, threshold(person.group), voxel_size_mm)
        for person, scores in zip(people, normal, strict=True)
    ]


def _row(person: Scored, normal: np.ndarray, threshold: float, voxel_size_mm: float) -> Row:
    entry = person.case.entry
    mask = entry.mask()
    lesion = entry.lesion() & mask
    scan = ScoredScan(person.anomaly, lesion, mask, voxel_size_mm, threshold)
    voxel_ml = voxel_size_mm**3 / 1000
    return {
        "site": person.site,
        "name": person.case.visit.name,
        "kind": person.case.kind,
        "healthy": person.healthy,
        "lesion_ml": float(lesion.sum()) * voxel_ml,
        **{name: METRICS[name](scan) if lesion.any() else float("nan") for name in RANKED},
        "dice": METRICS["dice"](scan) if lesion.any() and np.isfinite(threshold) else float("nan"),
        "threshold": threshold,
        "fpr": float((normal >= threshold).mean()) if np.isfinite(threshold) and len(normal) else float("nan"),
        "lesions": _lesions(scan, voxel_ml),
        "seconds": person.seconds,
    }


def _lesions(scan: ScoredScan, voxel_ml: float) -> dict[str, list[float]]:
    """Of each size how many lesions there are, and how many have an abnormal voxel: NaN without a threshold."""
    labels, count = ndimage.label(scan.lesion, TOUCHING)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:] * voxel_ml
    found = np.isin(np.arange(1, count + 1), labels[scan.abnormal])
    inside = {name: (low <= sizes) & (sizes < high) for name, (low, high) in LESIONS_ML.items()}
    known = np.isfinite(scan.threshold)
    return {
        name: [float(these.sum()), float((these & found).sum()) if known else float("nan")]
        for name, these in inside.items()
    }


def averaged(repeats: Sequence[Sequence[Row]]) -> list[Row]:
    """Everybody's mean over trainings."""
    return [_mean(same) for same in zip(*repeats, strict=True)]


def _mean(same: Sequence[Row]) -> Row:
    first = same[0]
    found: Row = {}
    for key, value in first.items():
        if key == "lesions":
            found[key] = {size: np.mean([row[key][size] for row in same], 0).tolist() for size in value}
        else:
            number = isinstance(value, float)
            found[key] = float(np.mean([row[key] for row in same])) if number else value
    return found


def mean(people: Sequence[Row], key: str = MAIN) -> float:
    """Over the people who have the figure; NaN of nobody."""
    values = [row[key] for row in people if np.isfinite(row[key])]
    return float(np.mean(values)) if values else float("nan")


def by_site(people: Sequence[Row], key: str = MAIN) -> dict[str, float]:
    """Mean at each site that has the figure."""
    sites = dict.fromkeys(row["site"] for row in people if np.isfinite(row[key]))
    return {site: mean([row for row in people if row["site"] == site], key) for site in sites}


def of_size(people: Sequence[Row], name: str) -> tuple[float, int]:
    """Mean of the main figure over people with so many ml of lesion, and how many these are."""
    low, high = PEOPLE_ML[name]
    those = [row for row in people if low <= row["lesion_ml"] < high and np.isfinite(row[MAIN])]
    return mean(those), len(those)


def found_of_size(people: Sequence[Row], name: str) -> tuple[float, int]:
    """Share of the lesions of a size that have an abnormal voxel, over all people, and how many there are."""
    total, found = np.sum([row["lesions"][name] for row in people], 0)
    return (float(found / total) if total else float("nan")), int(total)


def false_alarms(people: Sequence[Row]) -> float:
    """Mean share of abnormal voxels: of healthy people where there are some, else of normal tissue."""
    healthy = any(row["healthy"] for row in people)
    return mean([row for row in people if row["healthy"] == healthy], "fpr")


def difference(ours: Sequence[Row], theirs: Sequence[Row], key: str = MAIN) -> tuple[float, float, float]:
    """Of a figure, paired by person, and its 95 % interval by resampling people."""
    other = {row["name"]: row[key] for row in theirs}
    values = np.array([row[key] - other[row["name"]] for row in ours if np.isfinite(row[key])])
    if not len(values):
        return (float("nan"),) * 3
    drawn = seeds.generator(0, "bootstrap").integers(len(values), size=(RESAMPLINGS, len(values)))
    return float(values.mean()), *percentile_interval(values[drawn].mean(1))


def best(baselines: Mapping[str, Sequence[Row]]) -> str | None:
    """The baseline with the highest mean; None of none."""
    return max(baselines, key=lambda label: mean(baselines[label]), default=None)
