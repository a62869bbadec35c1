"""Figures of the curves over all sites' voxels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normfed_server.paper import choice, style
from normfed_server.results.curves import Band, Curves, guessing, thinned
from normfed_server.results.layout import RunResults


def roc(results: RunResults, found: Mapping[str, Curves]) -> Figure | None:
    """Receiver operating characteristic of these models, beside chance; None for none."""
    if not found:
        return None
    figure, (axes,) = style.panels(width_mm=style.COLUMN_MM, height_mm=92 + 4 * len(found))
    for name, curves in found.items():
        _draw(axes, results.title(name), curves.roc, choice.looks(results)[name])
    axes.plot([0, 1], [0, 1], color=style.QUIET, linewidth=0.8, linestyle=(0, (1, 2)), label="chance")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.set(xlabel="false positive rate of voxels", ylabel="true positive rate of voxels")
    style.legend_below(figure, [axes], columns=1)
    return figure


def precision_recall(results: RunResults, found: Mapping[str, Curves]) -> Figure | None:
    """Precision against recall of these models, beside the lesions' share of the voxels; None for none."""
    if not found:
        return None
    figure, (axes,) = style.panels(width_mm=style.COLUMN_MM, height_mm=92 + 4 * len(found))
    for name, curves in found.items():
        _draw(axes, results.title(name), curves.precision, choice.looks(results)[name])
    share = guessing(found.values())
    chance = f"chance: lesions are {100 * share:.2g} % of the voxels"
    axes.axhline(share, color=style.QUIET, linewidth=0.8, linestyle=(0, (1, 2)), label=chance)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", xlabel="recall of lesion voxels", ylabel="precision")
    style.legend_below(figure, [axes], columns=1)
    return figure


def _draw(axes: Axes, label: str, band: Band, number: int) -> None:
    """A curve, and what the order inside bins leaves open of it."""
    look = style.look(number)
    axes.plot(*thinned(band.curve).T, label=label, color=look["color"], linestyle=look["linestyle"])
    outline = np.concatenate([thinned(band.highest), thinned(band.lowest)[::-1]])
    axes.fill(*outline.T, color=look["color"], alpha=0.25, linewidth=0)
