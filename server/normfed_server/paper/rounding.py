"""Figures as papers round them, as LaTeX; and which of several models is surely the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.metrics.base import SHARE
from normfed_server.report import words
from normfed_server.report.lesions import FEWEST_PATIENTS
from normfed_server.results.layout import Described, Difference, Figures, Interval, RunResults
from normfed_server.results.league import SHOWN, beyond

NOTHING = "--"


def number(value: float | None, metric: Described | None = None) -> str:
    """Three decimals of a share, one of what is counted or measured; a dash for none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:.{3 if metric is None or metric.unit == SHARE else 1}f}"
    return text.replace("-", "$-$") if float(text) else text.removeprefix("-")


def signed(value: float | None, metric: Described | None = None) -> str:
    """A difference, with its sign."""
    text = number(value, metric)
    return text if text == NOTHING or text.startswith("$-$") or not float(text) else f"$+${text}"


def interval(ends: Interval | None, metric: Described | None = None) -> str:
    """``[0.123, 0.456]``; nothing for none."""
    low, high = ends or (None, None)
    return "" if low is None or high is None else f"[{number(low, metric)}, {number(high, metric)}]"


def with_interval(value: float | None, ends: Interval | None, metric: Described | None = None) -> str:
    """A mean and its interval."""
    return f"{number(value, metric)} {interval(ends, metric)}".rstrip()


def percent(share: float | None) -> str:
    """Two digits or so, LaTeX."""
    return NOTHING if share is None else rf"{words.percent(share)}\,\%"


def one_decimal(value: float | None) -> str:
    """Of what is measured and not compared, such as seconds."""
    return NOTHING if value is None else f"{value:.1f}"


def surely_best(
    results: RunResults, figures: dict[str, Figures], metric: str, differences: dict[str, Difference]
) -> str:
    """The model that is better than every other one by a metric; none (an empty name) where that is not sure.

    Beside the federated model the paired 95 % interval decides; of two others, whose difference nobody tells, the
    intervals of the means must be apart, which takes more. No model is better than the only one, nor where fewer than
    six patients were tested, nor where a training of it is not better than every one of the other.

    Parameters
    ----------
    figures
        Of models, over the same patients.
    differences
        The federated model less each other one.
    """
    higher = results.metrics[metric].higher_is_better
    means = {name: f[metric].mean for name, f in figures.items() if metric in f and f[metric].mean is not None}
    if len(means) < 2 or min(figures[name][metric].n for name in means) < FEWEST_PATIENTS:
        return ""
    best = (max if higher else min)(means, key=lambda name: means[name] or 0.0)
    sign = 1 if higher else -1
    beaten = (_beats(results, figures, metric, differences, sign, best, other) for other in means if other != best)
    return best if all(beaten) else ""


def _beats(
    results: RunResults,
    figures: dict[str, Figures],
    metric: str,
    differences: dict[str, Difference],
    sign: int,
    best: str,
    other: str,
) -> bool:
    ours, theirs = _trainings(results, best, metric), _trainings(results, other, metric)
    if any(sign * (mine - its) <= 0 for mine in ours for its in theirs):
        return False
    compared = {best, other} - {FEDERATED}
    if len(compared) == 1:
        difference = differences.get(compared.pop())
        return difference is not None and beyond(difference, sign if best == FEDERATED else -sign)
    ends = [figures[name][metric].ci95 or (None, None) for name in (best, other)]
    (nearest, farthest) = (ends[0][0], ends[1][1]) if sign > 0 else (ends[1][0], ends[0][1])
    return nearest is not None and farthest is not None and nearest - farthest >= SHOWN


def _trainings(results: RunResults, name: str, metric: str) -> Sequence[float]:
    found = results.evaluation[name].trainings.get(metric)
    return [] if found is None else [mean for mean in found.means if mean is not None]
