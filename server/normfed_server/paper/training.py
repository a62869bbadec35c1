"""Figures of how a model was trained, and of what its threshold promises."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from normfed_common.algorithms.arms import FEDERATED, POOLED
from normfed_server.paper import style
from normfed_server.results.layout import RunResults

TOLD_APART = len(style.COLOURS)  # sites; of more, each is a thin line, and their mean is drawn
ROW_MM = 5.5
COMPONENTS = "PCA of its size"


def loss(results: RunResults) -> Figure | None:
    """Training loss per round of the federated model at every site, and of pooled training; None where none is told."""
    sites = sorted({site for entry in results.rounds for site, value in entry.loss.items() if value is not None})
    if not sites:
        return None
    rounds = np.array([entry.round for entry in results.rounds])
    found = np.array([[_number(entry.loss.get(site)) for site in sites] for entry in results.rounds])
    few = len(sites) <= TOLD_APART
    figure, (axes,) = style.panels(width_mm=style.COLUMN_MM, height_mm=72 + 4 * (len(sites) // 2 if few else 1))
    for number, site in enumerate(sites):
        if few:
            axes.plot(rounds, found[:, number], label=site, markevery=_every(rounds), **style.look(number))
        else:
            axes.plot(rounds, found[:, number], color=style.FAINT, linewidth=0.7, label="a site")
    if not few:
        axes.plot(rounds, np.nanmean(found, 1), color=style.COLOURS[0], linewidth=1.8, label="mean of the sites")
    pooled = results.rounds_of.get(POOLED, ())
    values = [_number(entry.loss.get(POOLED)) for entry in pooled]
    if np.isfinite(values).any():
        line: dict[str, Any] = {"color": "black", "linestyle": (0, (1, 1)), "label": results.title(POOLED)}
        axes.plot([entry.round for entry in pooled], values, **line)
    reference = results.convergence.get(FEDERATED)
    if reference is not None:
        axes.axhline(reference.reference, color=style.QUIET, linewidth=0.8, linestyle=(0, (4, 3)), label=COMPONENTS)
    axes.set(xlabel="round", ylabel="training loss", yscale="log" if _wide(found) else "linear")
    axes.locator_params(axis="x", integer=True)
    style.legend_below(figure, [axes], columns=2)
    return figure


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _every(rounds: np.ndarray) -> int:
    """So that no curve has more than ten markers or so."""
    return max(1, len(rounds) // 10)


def _wide(values: np.ndarray) -> bool:
    """Whether a logarithm shows more: all above zero, over more than a decade."""
    low, high = np.nanmin(values), np.nanmax(values)
    return bool(low > 0 and high > 10 * low)


def promises(results: RunResults) -> Figure | None:
    """Share of normal people's voxels called abnormal at each site, with all others' threshold, beside the promise.

    None where nobody was held out, or nothing could be measured.
    """
    found = results.evaluation[FEDERATED].calibration if FEDERATED in results.evaluation else None
    if found is None or found.measured is None:
        return None
    sites = {site: its for site, its in sorted(found.sites.items()) if its.measured is not None}
    names = [style.beside(site, f"{its.people} held out") for site, its in sites.items()]
    names.append(f"all sites ({found.people})")
    height = 32 + style.row_mm(names, ROW_MM) * len(names)
    figure, (axes,) = style.panels(width_mm=style.COLUMN_MM, height_mm=height)
    rates = [*(its.measured for its in sites.values()), found.measured]
    for place, rate in enumerate(rates):
        if rate is not None:
            last = place == len(sites)
            style.intervals(axes, [(100 * rate.low, 100 * rate.high)], [place], style.COLOURS[0], 2.2)
            axes.plot(100 * rate.value, place, "D" if last else "o", color=style.COLOURS[0], label="measured")
    axes.axvline(100 * found.promised, color="black", linewidth=0.8, linestyle=(0, (4, 2)), label="promised")
    axes.set_yticks(range(len(rates)), names)
    axes.set_ylim(len(rates) - 0.5, -0.5)
    axes.set_xlim(0, 108 * max(found.promised, *(rate.high for rate in rates if rate is not None)))
    axes.set(xlabel="normal voxels called abnormal, %")
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.5)
    axes.set_axisbelow(True)
    style.legend_below(figure, [axes], columns=2)
    return figure
