"""What would leave of testing a model: figures over people, and counts of voxels by score."""

from __future__ import annotations

from collections.abc import Mapping

from normfed_client.consent.manifest import AtMost, Axis, Counts, Row
from normfed_client.consent.words import FIGURES, FIGURES_ABOUT
from normfed_common.metrics import catalogue, histograms
from normfed_common.metrics.tissue import CLASSES
from normfed_common.study.config import StudyConfig

COUNTED: Mapping[str, Counts] = {
    "moments": "first",
    **dict.fromkeys(("normal", "lesion", "held_out", "held_out_people", "normal_people", "patients"), "all"),
}
GROUPS = AtMost(most=100, of="everybody, and each kind of lesion that enough people have")


def summary_rows(study: StudyConfig) -> tuple[Row, ...]:
    """Sums over people of every metric."""
    metrics = len(catalogue.chosen(study.evaluation.metrics))
    return _row("moments", "float64", (GROUPS, metrics, 3)), _row("bootstrap", "float64", (GROUPS, metrics, 2, 0))


def range_rows() -> tuple[Row, ...]:
    """The first step of testing."""
    return (_row("range", "float64", (2,)),)


def count_rows() -> tuple[Row, ...]:
    """The second."""
    bins = histograms.COARSE_BINS
    shapes = {"normal": (bins,), "lesion": (bins,), "held_out": (len(CLASSES), bins), "held_out_people": (bins,)}
    return tuple(_row(name, "int64", shape) for name, shape in shapes.items())


def measure_rows(study: StudyConfig) -> tuple[Row, ...]:
    """The third."""
    bins = AtMost(most=2 * study.evaluation.bins + 3, of="ranges between the edges that all sites have in common")
    counts = [_row(name, "int64", (bins,)) for name in ("normal", "lesion")]
    people = [_row(name, "int64", (bins,)) for name in ("normal_people", "patients")]
    regions, auroc = _row("regions", "float64", (bins,)), _row("image_auroc", "float64", ())
    return (*summary_rows(study), *counts, regions, *people, auroc)


def _row(name: str, dtype: str, shape: tuple[Axis, ...]) -> Row:
    about = FIGURES_ABOUT.get(name, "tested")
    return Row(array=name, what=FIGURES[name], dtype=dtype, shape=shape, about=about, counts=COUNTED.get(name, ""))
