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
        cited=("hanley1982",),
        shown=frozenset({"table", "differences", "patients", "terminal", "league"}),
        about="chance that a voxel of a lesion scores higher than a normal one; says little where lesions are "
        "small, as nearly all voxels are normal",
    ),
    Metric(
        "auroc30",
        "AUROC30 (plain)",
        lambda scan: _roc(scan.curve, FPR_LIMIT),
        needs="scores",
        chance=FPR_LIMIT / 2,
        merged=lambda counts: counts.area(counts.tpr, FPR_LIMIT),
        place=20,
        cited=("mcclish1989",),
        shown=frozenset({"table"}),
        about="area under the ROC curve up to a false positive rate of 0.3, over 0.3",
    ),
    Metric(
        "auroc30_mcclish",
        "AUROC30 (McClish)",
        lambda scan: mcclish(_roc(scan.curve, FPR_LIMIT)),
        needs="scores",
        chance=0.5,
        merged=_merged_mcclish,
        place=30,
        cited=("mcclish1989",),
        shown=frozenset(),
        about="the same rescaled, so that chance is 0.5 and perfection 1",
    ),
    Metric(
        "auprc",
        "average precision",
        lambda scan: average_precision(scan.curve),
        needs="scores",
        merged=histograms.average_precision,
        place=40,
        cited=("davis2006",),
        shown=frozenset({"table", "differences", "patients", "terminal", "league"}),
        about="mean precision over all recalls; chance is the share of lesion voxels, so figures of other "
        "patients do not compare",
    ),
    Metric(
        "aupro",
        "AUPRO",
        lambda scan: _pro(scan.curve),
        needs="scores",
        chance=0.5,
        merged=lambda counts: counts.area(counts.overlap),
        place=50,
        cited=("bergmann2021",),
        shown=frozenset({"table", "differences"}),
        about="area under the mean share of each lesion that is found, over the false positive rate: small "
        "lesions count as large ones",
    ),
    Metric(
        "aupro30",
        "AUPRO30",
        lambda scan: _pro(scan.curve, FPR_LIMIT),
        needs="scores",
        chance=FPR_LIMIT / 2,
        merged=lambda counts: counts.area(counts.overlap, FPR_LIMIT),
        place=60,
        cited=("bergmann2021",),
        shown=frozenset({"table"}),
        about="the same up to a false positive rate of 0.3, over 0.3",
    ),
    Metric(
        "best_dice",
        "best Dice",
        lambda scan: best_dice(scan.curve),
        needs="scores",
        merged=histograms.best_dice,
        place=70,
        cited=("dice1945",),
        shown=frozenset({"table", "differences", "patients", "terminal"}),
        about="Dice at the threshold that is best for this very scan: a ceiling that nobody reaches without "
        "knowing the lesion",
    ),
)
