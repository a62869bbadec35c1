"""ROC and precision-recall of all sites' voxels in one ranking, from the merged histograms that the run keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from normfed_server.report.figures import COLOURS, CURRENT, legend_below, to_html
from normfed_server.results.curves import Curves, curves, guessing, thinned
from normfed_server.results.layout import RunResults


def curves_of(folder: Path, results: RunResults, models: Iterable[str]) -> dict[str, Curves]:
    """By what people read of a model, of those that were tested in full."""
    found = {results.title(name): curves(folder, name) for name in models}
    return {title: of for title, of in found.items() if of is not None}


def roc(found: Mapping[str, Curves]) -> str:
    """Sensitivity against false positives; chance is the diagonal."""
    lines = {title: of.roc.curve for title, of in found.items()}
    return _drawn(lines, [(0, 0), (1, 1)], "false positive rate", "true positive rate")


def precision_recall(found: Mapping[str, Curves]) -> str:
    """Precision against recall; chance is the lesions' share of the voxels."""
    lines = {title: of.precision.curve for title, of in found.items()}
    share = guessing(found.values())
    return _drawn(lines, [(0, share), (1, share)], "recall: share of lesion voxels found", "precision")


def _drawn(lines: Mapping[str, np.ndarray], chance: list[tuple[float, float]], across: str, up: str) -> str:
    """Curves (points, 2) over each other, and that of chance."""
    figure = go.Figure()
    for number, (title, points) in enumerate(lines.items()):
        x, y = thinned(points).round(4).T.tolist()
        line = {"color": COLOURS[number % len(COLOURS)], "width": 1.5 if number else 2.5}
        figure.add_scatter(x=x, y=y, name=title, mode="lines", line=line)
    x, y = zip(*chance, strict=True)
    figure.add_scatter(x=x, y=y, name="chance", mode="lines", line={"dash": "dot", "color": CURRENT})
    figure.update_layout(**legend_below(360, len(lines) + 1))
    figure.update_xaxes(title=across, range=[0, 1])
    figure.update_yaxes(title=up, range=[0, 1.01])
    return to_html(figure)
