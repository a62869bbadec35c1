"""ROC and precision-recall of all sites' voxels in one ranking, drawn from the merged histograms that the run keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from normfed_common.foundation import arrays as named
from normfed_common.metrics.histograms import MergedCounts
from normfed_server.arms import evaluation
from normfed_server.report.figures import COLOURS, CURRENT, legend_below, to_html
from normfed_server.results.layout import RunResults

POINTS = 200  # of a curve; between them a page shows no more


@dataclass(frozen=True)
class Curves:
    """Of one model: false and true positive rates, precision at the latter, (points,) each; and the lesions' share."""

    fpr: np.ndarray
    tpr: np.ndarray
    precision: np.ndarray
    lesion_share: float


def curves_of(folder: Path, results: RunResults, models: Mapping[str, object]) -> dict[str, Curves]:
    """By what people read of a model, of those that were tested in full."""
    found = {}
    for name in models:
        tested = evaluation.load(folder / "arms" / name / "evaluation.safetensors")
        if tested is not None and tested.counts:
            told = named.add(list(tested.counts.values()))
            counts = MergedCounts(told["normal"], told["lesion"], told["regions"])
            if not counts.empty:
                found[results.title(name)] = of_counts(counts)
    return found


def of_counts(counts: MergedCounts) -> Curves:
    """The curves of merged counts, thinned to `POINTS` bins of equal steps along the true positive rate."""
    true, false = (np.cumsum(part[::-1].astype(float)) for part in (counts.lesion, counts.normal))
    kept = np.unique(np.searchsorted(true, np.linspace(0, true[-1], POINTS)))
    kept = np.union1d(kept, np.searchsorted(false, np.linspace(0, false[-1], POINTS)))
    true, false = true[kept], false[kept]
    precision = np.divide(true, true + false, out=np.ones_like(true), where=true + false > 0)
    share = counts.lesion.sum() / (counts.lesion.sum() + counts.normal.sum())
    return Curves(false / false[-1], true / true[-1], precision, float(share))


def roc(curves: Mapping[str, Curves]) -> str:
    """Sensitivity against false positives; chance is the diagonal."""
    figure = go.Figure()
    for number, (name, of) in enumerate(curves.items()):
        figure.add_scatter(
            x=[0, *of.fpr.round(5)], y=[0, *of.tpr.round(5)], name=name, mode="lines", line=_line(number)
        )
    figure.add_scatter(x=[0, 1], y=[0, 1], name="chance", mode="lines", line={"dash": "dot", "color": CURRENT})
    figure.update_layout(**legend_below(360, len(curves) + 1))
    figure.update_xaxes(title="false positive rate", range=[0, 1])
    figure.update_yaxes(title="true positive rate", range=[0, 1.01])
    return to_html(figure)


def precision_recall(curves: Mapping[str, Curves]) -> str:
    """Precision against recall; chance is the lesions' share."""
    figure = go.Figure()
    for number, (name, of) in enumerate(curves.items()):
        figure.add_scatter(x=of.tpr.round(5), y=of.precision.round(5), name=name, mode="lines", line=_line(number))
    share = max((of.lesion_share for of in curves.values()), default=0.0)
    figure.add_scatter(x=[0, 1], y=[share, share], name="chance", mode="lines", line={"dash": "dot", "color": CURRENT})
    figure.update_layout(**legend_below(360, len(curves) + 1))
    figure.update_xaxes(title="recall: share of lesion voxels found", range=[0, 1])
    figure.update_yaxes(title="precision", range=[0, 1.01])
    return to_html(figure)


def _line(number: int) -> dict[str, object]:
    return {"color": COLOURS[number % len(COLOURS)], "width": 2.5 if number == 0 else 1.5}
