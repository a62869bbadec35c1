"""Every figure of a run, as SVG and PNG in its folder figures/."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from normfed_common.algorithms.arms import FEDERATED, OWN
from normfed_server.paper import choice, comparing, drawn_curves, places, style, training
from normfed_server.paper.attempts import attempted
from normfed_server.results.curves import Curves, curves
from normfed_server.results.layout import RunResults
from normfed_server.results.paper_names import remove_stale
from normfed_server.runs.folder import FIGURES


def write_figures(run: Path, results: RunResults) -> list[Path]:
    """Draw whatever the run has, in the place of what is there; returns the paths.

    A figure that fails is said in the log, and is not there, not even as an earlier version of the run had it.

    Raises
    ------
    DamagedError
        If a model's figures are damaged.
    """
    found: list[Path] = []
    with style.drawing():
        for name, draw in drawn(run, results):
            found += attempted(run, f"figure {name}", partial(_save, draw, run / FIGURES, name))
    remove_stale(run / FIGURES, FIGURES, found)
    return found


def drawn(run: Path, results: RunResults) -> Iterator[tuple[str, Callable[[], Figure | None]]]:
    """By the names of their files; a figure is None where the run has nothing for it."""
    if FEDERATED not in results.evaluation:
        return
    if not results.nobody_ill:
        yield from _of_lesions(run, results)
    yield "loss", partial(training.loss, results)
    yield "calibration", partial(training.promises, results)


def _of_lesions(run: Path, results: RunResults) -> Iterator[tuple[str, Callable[[], Figure | None]]]:
    found = voxel_curves(run, results)
    yield "roc", partial(drawn_curves.roc, results, found)
    yield "precision-recall", partial(drawn_curves.precision_recall, results, found)
    yield "sites", partial(places.dots, results)
    for metric in choice.chief(results):
        yield f"gains-{metric}", partial(comparing.forest, results, metric)
        yield f"matrix-{metric}", partial(places.matrix, results, metric)
    yield "league", partial(comparing.league, results)


def voxel_curves(run: Path, results: RunResults) -> dict[str, Curves]:
    """Of the federated model, pooled training and the baselines, as many as can be told apart.

    Each site alone has none: its models' scores have no scale in common.
    """
    names = [name for name in choice.looks(results) if name in results.evaluation and name != OWN]
    found = {name: curves(run, name) for name in names[: len(style.COLOURS) - 1]}
    return {name: its for name, its in found.items() if its is not None}


def _save(draw: Callable[[], Figure | None], folder: Path, name: str) -> list[Path]:
    figure = draw()
    return [] if figure is None else style.save(figure, folder, name)
