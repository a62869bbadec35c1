"""What a metric is: how it is computed from one scan, and what everybody else needs to know about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.masks import box_of
from normfed_common.metrics import segmentation
from normfed_common.metrics.curves import Curve, curve
from normfed_common.metrics.histograms import Bracketed, MergedCounts

SHARE = "share"  # the unit of what lies from 0 to 1 by its very definition
METRIC_ROUNDING = 1e-6  # by which a figure may lie beyond its metric's bounds
# What stands beside figures under a name of its own, in people's files and in rows of metrics.json.
RESERVED = frozenset(
    {
        *("name", "kind", "subject_score", "image_auroc", "lesion_ml", "lesion_share", "found_ml", "lesions"),
        *("title", "strategy", "sites", "not_served", "gain_over_local", "megabytes_per_round", "seconds_per_round"),
    }
)
Needs = Literal["scores", "threshold"]
Place = Literal["table", "differences", "patients", "terminal", "league"]


@dataclass(frozen=True)
class NormalPeople:
    """What a person's score is compared with: counts (len(edges) + 1,) of all sites' normal people."""

    edges: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class ScoredScan:
    """One scan of a patient, as metrics see it; costly parts are made once, when the first metric asks for them.

    Parameters
    ----------
    scores, lesion, mask
        (X, Y, Z): the anomaly map, ground truth, evaluated voxels.
    voxel_size_mm
        Edge of the isotropic voxels.
    threshold
        A voxel at or above it is abnormal; NaN where a model is only ranked.
    minimum_cluster_voxels
        Smaller clusters are not counted.
    surface_tolerance_mm
        How far apart two surfaces still agree.
    told_score
        The person's score as it may be told; NaN where it may not.
    calibration
        None where a model is only ranked.
    thresholds
        float32 (X, Y, Z): where classes of place have thresholds of their own, that of each voxel; None where all have
        ``threshold``.
    """

    scores: np.ndarray
    lesion: np.ndarray
    mask: np.ndarray
    voxel_size_mm: float
    threshold: float = float("nan")
    minimum_cluster_voxels: int = 1
    surface_tolerance_mm: float = 1.0
    told_score: float = float("nan")
    calibration: NormalPeople | None = None
    thresholds: np.ndarray | None = None

    @cached_property
    def curve(self) -> Curve:
        """Counts at every threshold."""
        return curve(self.scores, self.lesion, self.mask)

    @cached_property
    def abnormal(self) -> np.ndarray:
        """Voxels (X, Y, Z) at or above their threshold, bool."""
        return self.mask & (self.scores >= (self.threshold if self.thresholds is None else self.thresholds))

    @cached_property
    def levelled(self) -> np.ndarray:
        """Scores (X, Y, Z) less what their own threshold is above ``threshold``: abnormal at or above that one.

        In float64, where differences of float32 are exact: a score at its threshold stays at it.
        """
        if self.thresholds is None:
            return self.scores
        found: np.ndarray = self.scores - (self.thresholds.astype(np.float64) - self.threshold)
        return found

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """Where the brain and the lesion lie; outside nothing is found."""
        return box_of(self.mask | self.lesion)

    @cached_property
    def clusters(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the most suspicious clusters in the `box`, and their numbers, the first to look at first."""
        return segmentation.ranked_clusters(
            self.levelled[self.box], self.mask[self.box], self.threshold, self.minimum_cluster_voxels
        )

    @cached_property
    def detection(self) -> segmentation.Detection:
        """What the most suspicious clusters find."""
        return segmentation.detection(*self.clusters, self.lesion[self.box])


@dataclass(frozen=True)
class Metric:
    """A figure of one scan; its sums over people leave a site, as all metrics' do, and nothing else.

    Parameters
    ----------
    name
        In a study, in metrics.json and in code.
    title
        In tables and figures.
    compute
        NaN where the figure is not defined for a scan.
    needs
        ``scores``: no threshold and no normal people, so that it is also computed where models are only ranked.
    lowest, highest
        No scan can have less or more: a site whose sums say otherwise is not believed.
    most
        Of the ones that come with normfed, what a scan can have at most where sites are believed more; None elsewhere.
    unit
        ``SHARE``, or what is counted or measured.
    chance
        What a map of noise gets, where that does not depend on the lesion.
    merged
        The same over all sites' voxels in one ranking, where it can be had from counts between common edges.
    place
        Order of the built-in metrics, in tables and on the wire; equals come by name. Others follow as the study names
        them.
    shown
        Where it stands beside the plot of every metric at every site: the first table, differences between models,
        single patients, the terminal, the league of strategies.
    about
        What it says of a scan, in a sentence: `normfed metrics`.
    cited
        What a paper cites for it, see `NormativeModel`.
    """

    name: str
    title: str
    compute: Callable[[ScoredScan], float]
    needs: Needs = "threshold"
    higher_is_better: bool = True
    lowest: float = 0.0
    highest: float = 1.0
    unit: str = SHARE
    chance: float | None = None
    merged: Callable[[MergedCounts], Bracketed] | None = None
    place: int = 1000
    shown: frozenset[Place] = frozenset({"differences"})
    about: str = ""
    cited: tuple[str, ...] = ()
    most: float | None = None

    @property
    def range(self) -> str:
        """What a scan can have, ``0 to 1``."""
        return f"{self.lowest:g} to {self.highest if self.most is None else self.most:g}"

    def __post_init__(self) -> None:
        if not (np.isfinite([self.lowest, self.highest]).all() and self.lowest < self.highest):
            raise ValueError(f"the metric {self.name!r} needs finite bounds, the lowest below the highest")

    def __call__(self, scan: ScoredScan) -> float:
        """The figure of a scan; NaN where it is not defined.

        Raises
        ------
        SiteError
            If it is beyond the metric's own bounds: such a sum would not be believed anywhere.
        """
        value = float(self.compute(scan))
        if not np.isnan(value) and not self.lowest - METRIC_ROUNDING <= value <= self.highest + METRIC_ROUNDING:
            raise SiteError(
                SiteCode.METRIC_UNUSABLE,
                f"The metric {self.name!r} is {value:g} for a scan, but claims to lie between "
                f"{self.lowest:g} and {self.highest:g}. Leave it out of evaluation.metrics, or correct its plug-in.",
            )
        return value


def figures(metrics: Iterable[Metric], scan: ScoredScan) -> dict[str, float]:
    """Metric to the figure of a scan."""
    return {metric.name: metric(scan) for metric in metrics}


def merged_figures(metrics: Iterable[Metric], counts: MergedCounts) -> dict[str, Bracketed]:
    """Metric to the figure of all scans together, of those that can be had from counts."""
    return {metric.name: metric.merged(counts) for metric in metrics if metric.merged is not None}
