"""Figures of single patients: volumes of masks and as found, one model beside another, which lesions are found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normfed_common.foundation import seeds
from normfed_server.paper import style
from normfed_server.report.words import minus, p_value
from normfed_server.results.enough import FEWEST_PATIENTS

LIMITS = 1.96  # standard deviations on either side of the mean difference: 95 % of a normal distribution
FEWEST_LESIONS = 6  # with fewer of which no share of those found is drawn
BINS = 5  # of lesions by size, with as many in each as can be
RESAMPLINGS = 1000  # of patients, whose lesions go together


def agreement(volume: pd.DataFrame) -> Figure | None:
    """Bland-Altman plot of the lesion volume of patients: found less that of the mask, against the mean of both.

    The lines are the mean difference and the limits of agreement, 1.96 standard deviations from it; the scale of
    volumes is logarithmic where they go over more than a decade. None for fewer than six patients with a lesion.

    Parameters
    ----------
    volume
        Of one model, the columns of `VOLUMES`.

    Source: Bland & Altman 1986, Lancet 1(8476):307-310.
    """
    volume = volume[volume["lesion_ml"] > 0]
    if len(volume) < FEWEST_PATIENTS:
        return None
    found, drawn = volume["found_ml"].to_numpy(), volume["lesion_ml"].to_numpy()
    means, differences = (found + drawn) / 2, found - drawn
    middle, low, high = limits(differences)
    figure, (axes,) = style.panels(width_mm=style.COLUMN_MM, height_mm=78)
    _by_kind(axes, means, differences, volume["kind"].tolist())
    if means.max() > 10 * means.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    for value, dashes, what in (
        (middle, "-", "mean"),
        (high, (0, (4, 2)), f"+ {LIMITS} SD"),
        (low, (0, (4, 2)), f"− {LIMITS} SD"),
    ):
        axes.axhline(value, color=style.QUIET, linewidth=0.8, linestyle=dashes)
        text, at = f"{what}\n{minus(f'{value:+.1f}')}", (1.02, value)  # beside the points, which it must not hide
        axes.annotate(text, at, xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=7)
    axes.set(xlabel="mean of both volumes, ml", ylabel="found less that of the mask, ml")
    style.legend_below(figure, [axes], columns=3)
    return figure


def limits(differences: np.ndarray) -> tuple[float, float, float]:
    """The mean of differences (n,), and the lower and the upper limit of agreement."""
    middle, spread = float(differences.mean()), float(differences.std(ddof=1))
    return middle, middle - LIMITS * spread, middle + LIMITS * spread


def paired(
    ours: np.ndarray, theirs: np.ndarray, kinds: Sequence[str], title: str, other: str, p: float | None
) -> Figure | None:
    """Every patient's figure by two models, against each other; None for fewer than six patients.

    Parameters
    ----------
    ours, theirs
        (n,), in the order of ``kinds``; NaN where it is not defined.
    title, other
        Of the metric, and of the model that is not ours.
    p
        Of the signed-rank test over these patients, corrected for all models compared; None where there was none.
    """
    both = np.isfinite(ours) & np.isfinite(theirs)
    x, y = theirs[both], ours[both]
    if len(x) < FEWEST_PATIENTS:
        return None
    figure, (axes,) = style.panels(width_mm=style.COLUMN_MM, height_mm=98)
    axes.axline((0, 0), slope=1, color=style.QUIET, linewidth=0.8, linestyle=(0, (4, 2)))
    _by_kind(axes, x, y, [kind for kind, kept in zip(kinds, both, strict=True) if kept])
    said = f"federated higher in {(y > x).sum()} of {len(x)} patients"
    if p is not None:
        said += f", {p_value(p)}"
    axes.set_title(said)
    ends = min(0.0, x.min(), y.min()), max(1.0, x.max(), y.max())
    axes.set(
        xlim=ends,
        ylim=ends,
        aspect="equal",
        xlabel=f"{title}: {other}",
        ylabel=f"{title}: federated",
    )
    axes.margins(0.03)
    style.legend_below(figure, [axes], columns=3)
    return figure


def sizes(lesion: pd.DataFrame) -> Figure | None:
    """Share of lesions found against their size, in groups of as many lesions; None for fewer than six lesions.

    Intervals are over patients, all of whose lesions are drawn together.

    Parameters
    ----------
    lesion
        Of one model, the columns of `LESIONS`.
    """
    if len(lesion) < FEWEST_LESIONS:
        return None
    figure, (axes,) = style.panels(width_mm=style.COLUMN_MM, height_mm=70)
    volume, found = lesion["ml"].to_numpy(), lesion["found"].to_numpy(float)
    up = np.where(found > 0, 1.06, -0.06)
    axes.plot(volume, up, "|", color=style.QUIET, markersize=4, markeredgewidth=0.5, label="a lesion, found or missed")
    for number, (size, share, low, high, count) in enumerate(groups(lesion)):
        axes.vlines(size, low, high, colors=style.COLOURS[0], linewidths=1.0)
        label = "share found, 95 % interval" if number == 0 else None
        axes.plot(size, share, "o", color=style.COLOURS[0], label=label)
        axes.annotate(f"{count}", (size, share), xytext=(4, 0), textcoords="offset points", fontsize=7, va="center")
    axes.set(xscale="log", ylim=(-0.12, 1.12), xlabel="volume of the lesion, ml", ylabel="share found")
    axes.xaxis.set_major_formatter("{x:g}")
    style.legend_below(figure, [axes], columns=1)
    return figure


def groups(lesion: pd.DataFrame) -> list[tuple[float, float, float, float, int]]:
    """Lesions in at most `BINS` groups by size: median volume, share found, its interval over patients, how many."""
    whose = pd.factorize(lesion["site"] + "/" + lesion["name"])[0]
    patients = int(whose.max()) + 1
    rng = seeds.generator(0, "lesions by size")
    drawn = rng.multinomial(patients, np.full(patients, 1 / patients), RESAMPLINGS)
    order = np.argsort(lesion["ml"].to_numpy(), kind="stable")
    result = []
    for part in np.array_split(order, min(BINS, len(order) // FEWEST_LESIONS)):
        found = lesion["found"].to_numpy(float)[part]
        weights = drawn[:, whose[part]]
        counts = weights.sum(1)
        shares = (weights @ found)[counts > 0] / counts[counts > 0]
        low, high = np.quantile(shares, [0.025, 0.975])
        result.append((float(np.median(lesion["ml"].to_numpy()[part])), float(found.mean()), low, high, len(part)))
    return result


def _by_kind(axes: Axes, x: np.ndarray, y: np.ndarray, kinds: Sequence[str]) -> None:
    """Points with a marker and a colour for each kind of lesion."""
    for number, kind in enumerate(sorted(set(kinds))):
        these = np.array([of == kind for of in kinds])
        look = style.look(number)
        axes.plot(x[these], y[these], look["marker"], color=look["color"], label=kind, alpha=0.8, markeredgewidth=0)
