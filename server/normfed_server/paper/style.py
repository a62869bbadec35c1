"""How every figure of a paper looks: sizes of a journal's columns, colours that all tell apart, files that are the same
whenever they are written.

Drawn by matplotlib's objects alone: without pyplot, which keeps figures and a window system for the whole process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normfed_common.foundation.files import atomic

COLUMN_MM, PAGE_MM = 85.0, 174.0  # a column and a page of a journal
Ends = tuple[float | None, float | None] | None
MM = 1 / 25.4  # in inches
DPI = 300
# Okabe & Ito 2008, in an order whose greys differ too; no yellow, which is lost on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)), (0, (2, 2)), "-")
QUIET, FAINT = "#595959", "#BFBFBF"  # of what is beside the data
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that every machine draws alike
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.6,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "normfed",
    "path.simplify": True,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Within: figures look as all of ours do, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def panels(
    columns: int = 1, *, width_mm: float = PAGE_MM, height_mm: float, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with axes beside each other.

    Parameters
    ----------
    shared
        As for `Figure.subplots`: ``sharey=True``.
    """
    figure = Figure(figsize=(width_mm * MM, height_mm * MM), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **shared)
    return figure, list(axes[0])


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG and PNG, atomically; the same figure is the same bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # everything has its place now, and it takes long to find
    found = [folder / f"{name}.svg", folder / f"{name}.png"]
    for path, metadata in zip(found, ({"Date": None, "Creator": "normfed"}, {"Software": None}), strict=True):
        with atomic(path) as unfinished:
            figure.savefig(unfinished, format=path.suffix[1:], metadata=metadata)
    return found


def look(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of the model of that number: no two are told apart by colour alone."""
    of = number % len(COLOURS)
    return {"color": COLOURS[of], "marker": MARKERS[of], "linestyle": DASHES[of]}


def intervals(axes: Axes, ends: Sequence[Ends], places: Sequence[float], colour: str, width: float = 1.0) -> None:
    """A line from end to end at every height; none where an end is not known."""
    known = [(place, *pair) for place, pair in zip(places, ends, strict=True) if pair is not None and None not in pair]
    if known:
        heights, lows, highs = zip(*known, strict=True)
        axes.hlines(heights, lows, highs, colors=colour, linewidths=width)


def legend_below(figure: Figure, axes: Sequence[Axes], columns: int = 3) -> None:
    """One legend for all panels, below them, where it hides nothing."""
    by_label: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            by_label.setdefault(label, handle)
    handles, labels = list(by_label.values()), list(by_label)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))
