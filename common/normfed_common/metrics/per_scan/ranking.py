"""Metrics that need no threshold, all from one sort of a scan's scores; over all scans from merged histograms."""

from __future__ import annotations

from normfed_common.metrics import histograms
from normfed_common.metrics.base import Metric
from normfed_common.metrics.curves import FPR_LIMIT, Curve, area, average_precision, best_dice, mcclish
from normfed_common.metrics.histograms import Bracketed, MergedCounts


def _roc(curve: Curve, limit: float = 1.0) -> float:
    return area(curve.fpr, curve.tpr, limit)


def _pro(curve: Curve, limit: float = 1.0) -> float:
    """Area under the mean overlap with lesions (per-region overlap)."""
    return area(curve.fpr, curve.overlap, limit) if curve.positives[-1] else float("nan")


def _merged_mcclish(counts: MergedCounts) -> Bracketed:
    plain = counts.area(counts.tpr, FPR_LIMIT)
    return Bracketed(*(mcclish(value) for value in (plain.value, plain.low, plain.high)))


METRICS = (
    Metric(
        "auroc",
        "AUROC",
        lambda scan: _roc(scan.curve),
        needs="scores",
        chance=0.5,
        merged=lambda counts: counts.area(counts.tpr),
        place=10,
        shown=frozenset({"table", "differences", "patients", "terminal", "league"}),
        source="Hanley & McNeil 1982",
    ),
    Metric(
        "auroc30",
        "AUROC30 (plain)",
        lambda scan: _roc(scan.curve, FPR_LIMIT),
        needs="scores",
        chance=FPR_LIMIT / 2,
        merged=lambda counts: counts.area(counts.tpr, FPR_LIMIT),
        place=20,
        shown=frozenset({"table"}),
        source="partial area, of AUROC (Hanley & McNeil 1982)",
    ),
    Metric(
        "auroc30_mcclish",
        "AUROC30 (McClish)",
        lambda scan: mcclish(_roc(scan.curve, FPR_LIMIT)),
        needs="scores",
        chance=0.5,
        merged=_merged_mcclish,
        place=30,
        shown=frozenset(),
        source="McClish 1989",
    ),
    Metric(
        "auprc",
        "average precision",
        lambda scan: average_precision(scan.curve),
        needs="scores",
        merged=histograms.average_precision,
        place=40,
        shown=frozenset({"table", "differences", "patients", "terminal", "league"}),
        source="Davis & Goadrich 2006",
    ),
    Metric(
        "aupro",
        "AUPRO",
        lambda scan: _pro(scan.curve),
        needs="scores",
        chance=0.5,
        merged=lambda counts: counts.area(counts.overlap),
        place=50,
        shown=frozenset({"table", "differences"}),
        source="per-region overlap of Bergmann 2020, arXiv 1911.02357, over all false positive rates",
    ),
    Metric(
        "aupro30",
        "AUPRO30",
        lambda scan: _pro(scan.curve, FPR_LIMIT),
        needs="scores",
        chance=FPR_LIMIT / 2,
        merged=lambda counts: counts.area(counts.overlap, FPR_LIMIT),
        place=60,
        shown=frozenset({"table"}),
        source="Bergmann 2020, arXiv 1911.02357",
    ),
    Metric(
        "best_dice",
        "best Dice",
        lambda scan: best_dice(scan.curve),
        needs="scores",
        merged=histograms.best_dice,
        place=70,
        shown=frozenset({"table", "differences", "patients", "terminal"}),
        source="Dice 1945",
    ),
)
