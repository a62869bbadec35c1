"""Lesions found by the most suspicious clusters, from one ranking of them."""

from __future__ import annotations

from normfed_common.metrics.base import Metric
from normfed_common.metrics.segmentation import MAXIMUM_CLUSTERS

CLUSTERS = "clusters"
# A bound on what a site may claim of one scan, far from the ten clusters that are looked at.
MOST_CLUSTERS = 100.0

METRICS = (
    Metric(
        "lesion_sensitivity",
        "lesions found",
        lambda scan: scan.detection.lesion_sensitivity,
        place=100,
        cited=("alaverdyan2020",),
        shown=frozenset(),
        about="share of the lesions that one of the ten most suspicious clusters touches",
    ),
    Metric(
        "cluster_rank",
        "rank of first hit",
        lambda scan: scan.detection.cluster_rank,
        higher_is_better=False,
        highest=MOST_CLUSTERS,
        most=MAXIMUM_CLUSTERS,
        unit=CLUSTERS,
        place=110,
        cited=("alaverdyan2020",),
        shown=frozenset(),
        about="place of the first cluster that touches a lesion, the most suspicious first",
    ),
    Metric(
        "false_clusters",
        "false clusters",
        lambda scan: scan.detection.false_clusters,
        higher_is_better=False,
        highest=MOST_CLUSTERS,
        most=MAXIMUM_CLUSTERS,
        unit=CLUSTERS,
        place=120,
        cited=("alaverdyan2020",),
        shown=frozenset(),
        about="clusters of the ten most suspicious ones that touch no lesion",
    ),
    Metric(
        "froc",
        "FROC",
        lambda scan: scan.detection.froc,
        place=130,
        cited=("bunch1977",),
        shown=frozenset(),
        about="mean share of the lesions found before 1, 2, 4 and 8 false clusters, the most suspicious first",
    ),
)
