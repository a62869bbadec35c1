"""How every figure of a paper looks: sizes of a journal's columns, colours that all tell apart, files that are the same
whenever they are written.

Drawn by matplotlib's objects alone: without pyplot, which keeps figures and a window system for the whole process.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

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
SMALL, POINT = 7, 72 * MM  # of text in points, and of these in a millimetre
NAME_MM = 34.0  # of a line of a name beside an axis
LINE_MM = 3.4  # of text, with what is between lines
HANDLE_MM = 12.0  # of a legend's entry beside its text
BEYOND = 1.1  # times the width of its panel that a label may be beside another panel's
GROWN = 4  # times that a figure is made larger at most, until its texts are all on it
FONT = "DejaVu Sans"  # comes with matplotlib, so that every machine draws alike
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
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


def wide_mm(text: str) -> float:
    """Of the longest line, as small texts of figures are set."""
    font = FontProperties(family=FONT, size=SMALL)
    return max(text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.splitlines()) / POINT


def wrapped(text: str, room_mm: float = NAME_MM) -> str:
    """Every line of it over as many as it takes, broken within a word too where that is too long for the room."""
    return "\n".join(_filled(line, room_mm) for line in text.splitlines())


def _filled(line: str, room_mm: float) -> str:
    found, letters = line, len(line)
    while letters > 1 and (wide := wide_mm(found)) > room_mm:
        letters = min(letters - 1, max(1, int(letters * room_mm / wide)))
        found = textwrap.fill(line, letters)
    return found


def beside(name: str, what: str) -> str:
    """``name (what)``, what is in brackets on a line of its own where both do not fit on one."""
    both = f"{name} ({what})"
    return both if wide_mm(both) <= NAME_MM else f"{wrapped(name)}\n({what})"


def lines(texts: Sequence[str]) -> int:
    """Of the longest."""
    return max((text.count("\n") + 1 for text in texts), default=1)


def row_mm(names: Sequence[str], least: float) -> float:
    """Of a row of a figure, so that names of several lines stand apart."""
    return max(least, LINE_MM * lines(names) + 0.6)


def fitted(figure: Figure) -> None:
    """Lay a figure out so that no text is cut, however long names are: labels of axes go over several lines, and a
    figure that is still too small for what is on it grows."""
    figure.draw_without_rendering()
    labels = [(axis.label, along) for axes in figure.axes for along, axis in enumerate((axes.xaxis, axes.yaxis))]
    changed = [_wrap(label, along, figure) for label, along in labels]
    for _ in range(GROWN):
        if any(changed):
            figure.draw_without_rendering()
        outside = np.maximum(_outside(figure), 0)
        changed = list(outside > 0)
        if not any(changed):
            return
        figure.set_size_inches(figure.get_size_inches() + 2 * outside + MM * (outside > 0))


def _wrap(label: Text, along: int, figure: Figure) -> bool:
    """Where a label, in the middle of its axis, is longer than it is to the canvas's nearer end on both sides, or comes
    near the next panel's; returns whether it is now over more lines.

    Parameters
    ----------
    along
        0 of a label along x, 1 along y.
    """
    low, high = label.get_window_extent().get_points()[:, along]
    middle = (low + high) / 2
    room = 2 * min(middle, figure.bbox.max[along] - middle)
    if along == 0 and len(figure.axes) > 1 and label.axes is not None:
        room = min(room, BEYOND * label.axes.bbox.width)
    if not high - low > room > 0:
        return False
    text = label.get_text()
    label.set_text(wrapped(text, wide_mm(text) * room / (high - low)))
    return True


def _outside(figure: Figure) -> np.ndarray:
    """By how many inches what is drawn is beyond the canvas at most (2,), across and up."""
    low, high = figure.get_tightbbox().get_points()
    return np.maximum(-low, high - figure.get_size_inches())


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as SVG and PNG, atomically; the same figure is the same bytes."""
    fitted(figure)
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
    width, most = figure.get_figwidth() / MM, min(columns, len(by_label))
    labels = [wrapped(label, width - HANDLE_MM) for label in by_label]
    fit = max(1, min(most, int(width / (HANDLE_MM + max(map(wide_mm, labels))))))
    figure.legend(list(by_label.values()), labels, loc="outside lower center", ncols=fit)
    tall = max(sum(lines([label]) for label in column) for column in np.array_split(labels, fit))
    more = tall - math.ceil(len(labels) / most)  # lines than its place has
    figure.set_figheight(figure.get_figheight() + max(0, more) * LINE_MM * MM)
