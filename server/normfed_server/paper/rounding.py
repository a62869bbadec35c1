"""Figures as papers round them, as LaTeX; and which of several models is surely the best."""

from __future__ import annotations

import math
from collections.abc import Mapping

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.metrics.base import SHARE
from normfed_server.paper.latex import escaped
from normfed_server.report import words
from normfed_server.report.verdicts import SAME, WITHIN, judged, same, trainings_apart, unnoticed
from normfed_server.results.figures import Difference, Figure, Figures, Interval
from normfed_server.results.layout import Described, RunResults

NOTHING = "--"


def number(value: float | None, metric: Described | None = None) -> str:
    """Three decimals of a share, one of what is counted or measured; a dash for none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:.{3 if metric is None or metric.unit == SHARE else 1}f}"
    return text.replace("-", "$-$") if float(text) else text.removeprefix("-")


def small(share: float | None) -> str:
    """A share, of which a small one has more decimals; a dash for none."""
    return NOTHING if share is None else words.small(share)


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


def difference(found: Difference) -> str:
    """Its mean and interval; in words where tables would show it as zero to zero."""
    if same(found):
        return SAME
    if unnoticed(found):
        return rf"{number(0.0)} ({escaped(WITHIN)})"
    return f"{signed(found.mean)} {interval(found.ci95)}".rstrip()


def percent(share: float | None) -> str:
    """Two digits or so, LaTeX."""
    return NOTHING if share is None else rf"{words.percent(share)}\,\%"


def below(p: float) -> str:
    """A p-value, which is never zero."""
    return "$<$0.001" if p < 0.001 else f"{p:.3f}"


def one_decimal(value: float | None) -> str:
    """Of what is measured and not compared, such as seconds."""
    return NOTHING if value is None else f"{value:.1f}"


def surely_best(
    results: RunResults,
    figures: Mapping[str, Figures],
    metric: str,
    differences: Mapping[str, Difference],
    *,
    everybody: bool,
) -> str:
    """The model that is better than every other one by a metric; none (an empty name) where that is not sure.

    By the rule of the report (`judged`): beside the federated model by the paired 95 % interval; of two others, whose
    difference nobody tells, by the intervals of their means, which must be apart: that takes more. No model is better
    than the only one, nor where fewer than six patients were tested.

    Parameters
    ----------
    figures
        Of models, over the same patients.
    differences
        The federated model less each other one.
    everybody
        Whether these are all patients, over whom further trainings and a paired test may be known: they must agree.
    """
    higher = results.metrics[metric].higher_is_better
    means = {name: f[metric].mean for name, f in figures.items() if metric in f and f[metric].mean is not None}
    if len(means) < 2:
        return ""
    best = (max if higher else min)(means, key=lambda name: means[name] or 0.0)
    known = {name: figures[name][metric] for name in means}
    for other in means.keys() - {best}:
        first, second = (other, best) if other == FEDERATED else (best, other)
        found = judged(
            differences.get(second) if first == FEDERATED else _apart(known[first], known[second]),
            min(known[first].n, known[second].n),
            trainings_apart(results, first, second, metric) if everybody else (),
            results.paired_test(second, metric) if everybody and first == FEDERATED else None,
            higher_is_better=higher,
        )
        if found != ("better" if first == best else "worse"):
            return ""
    return best


def _apart(first: Figure, second: Figure) -> Difference:
    """Of two means whose difference nobody tells: what their intervals leave open."""
    (low, high), (lowest, highest) = (figure.ci95 or (None, None) for figure in (first, second))
    return Difference(mean=_less(first.mean, second.mean), ci95=(_less(low, highest), _less(high, lowest)))


def _less(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
