"""Lesions found by the most suspicious clusters, from one ranking of them."""

from __future__ import annotations

from normfed_common.metrics.base import Metric

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
    ),
    Metric(
        "cluster_rank",
        "rank of first hit",
        lambda scan: scan.detection.cluster_rank,
        higher_is_better=False,
        highest=MOST_CLUSTERS,
        unit=CLUSTERS,
        place=110,
        cited=("alaverdyan2020",),
        shown=frozenset(),
    ),
    Metric(
        "false_clusters",
        "false clusters",
        lambda scan: scan.detection.false_clusters,
        higher_is_better=False,
        highest=MOST_CLUSTERS,
        unit=CLUSTERS,
        place=120,
        cited=("alaverdyan2020",),
        shown=frozenset(),
    ),
    Metric("froc", "FROC", lambda scan: scan.detection.froc, place=130, cited=("bunch1977",), shown=frozenset()),
)
