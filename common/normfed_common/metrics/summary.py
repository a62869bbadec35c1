"""What a site says of its people's metrics: sums, so that mean and spread over sites are exact and nobody is named.

Bootstrap: patients are resampled within each site, with the same draws for every model, so that differences between
models are paired; a site sends each resampling's sum, and the server adds them (Efron & Tibshirani 1993, stratified).
That is for simulations alone: from so many sums over known draws every patient's figures can be solved for, and from
draws that nobody knows they can be unmixed. A hospital sends moments and no resampling; intervals are then those of the
t distribution, and differences between models are not paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import stdtrit

from normfed_common.foundation import seeds
from normfed_common.metrics.base import SHARE, Metric
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.groups import EVERYBODY

DOMINANCE = 1e-3  # p of the p % rule: all others have one value, as good as exactly
SOLVED = 2  # people whose figures follow from a sum and a sum of squares, where everybody else's are known


@dataclass(frozen=True)
class Summary:
    """Sums over a site's patients, for everybody and for each kind of lesion.

    Parameters
    ----------
    groups
        "all", then kinds of lesion.
    moments
        float64 (groups, metrics, 3): n, sum, sum of squares over the patients for whom the metric is defined.
    bootstrap
        float64 (groups, metrics, 2, resamplings): n and sum in each resampling; no resamplings where they must not
        leave the site.
    metrics
        The study's, in the order of the sums.
    """

    groups: tuple[str, ...]
    moments: np.ndarray
    bootstrap: np.ndarray
    metrics: tuple[Metric, ...] = BUILT_IN

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {metric.name: column for column, metric in enumerate(self.metrics)}

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        return self.metrics[self._columns[name]]

    def mean(self, metric: str, group: str = EVERYBODY) -> float:
        """Mean over patients; NaN without any."""
        n, total, _ = self.moments[self.groups.index(group), self._columns[metric]]
        return float(total / n) if n else float("nan")

    def sd(self, metric: str, group: str = EVERYBODY) -> float:
        """Standard deviation over patients (n - 1); NaN with fewer than two."""
        n, total, squares = self.moments[self.groups.index(group), self._columns[metric]]
        return float(np.sqrt(max(squares - total**2 / n, 0) / (n - 1))) if n > 1 else float("nan")

    def n(self, metric: str, group: str = EVERYBODY) -> int:
        """Patients for whom the metric is defined."""
        return int(self.moments[self.groups.index(group), self._columns[metric], 0])

    def resampled_means(self, metric: str, group: str = EVERYBODY) -> np.ndarray:
        """Means (resamplings,) for intervals; NaN where a resampling holds nobody."""
        n, total = self.bootstrap[self.groups.index(group), self._columns[metric]]
        return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)

    @property
    def resampled(self) -> bool:
        """Whether there are resamplings."""
        return self.bootstrap.shape[-1] > 0

    def interval(self, metric: str, group: str = EVERYBODY) -> tuple[float, float]:
        """95 % interval of the mean: percentiles of the resampled means, or from the moments where there are none; then
        within what the metric can be."""
        if self.resampled:
            return percentile_interval(self.resampled_means(metric, group))
        mean, n = self.mean(metric, group), self.n(metric, group)
        low, high = t_interval(mean, self.sd(metric, group) / n**0.5 if n else float("nan"), n - 1)
        of = self.metric(metric)
        return float(np.maximum(low, of.lowest)), float(np.minimum(high, of.highest)) if of.unit == SHARE else high


def difference_interval(ours: Summary, theirs: Summary, metric: str, group: str = EVERYBODY) -> tuple[float, float]:
    """95 % interval of the difference of two means, ours less theirs.

    Paired by resampling where both have it. Else as of two independent samples (Welch 1947), which is wider than it
    need be: how the models' figures of one patient go together does not leave a hospital.
    """
    if ours.resampled and theirs.resampled:
        return percentile_interval(ours.resampled_means(metric, group) - theirs.resampled_means(metric, group))
    n, m = ours.n(metric, group), theirs.n(metric, group)
    if n < 2 or m < 2:
        return float("nan"), float("nan")
    a, b = ours.sd(metric, group) ** 2 / n, theirs.sd(metric, group) ** 2 / m
    freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1)) if a + b > 0 else float(n + m - 2)
    return t_interval(ours.mean(metric, group) - theirs.mean(metric, group), (a + b) ** 0.5, freedom)


def t_interval(mean: float, error: float, freedom: float) -> tuple[float, float]:
    """95 % interval of a mean with a standard error (Student); NaN without a degree of freedom."""
    if freedom <= 0:
        return float("nan"), float("nan")
    half = float(stdtrit(freedom, 0.975)) * error
    return mean - half, mean + half


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """2.5 and 97.5 % percentiles of the finite values; NaN without any."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def summarise(
    rows: Sequence[Mapping[str, float]],
    kinds: Sequence[str],
    groups: Sequence[str],
    resamplings: int,
    seed: int,
    site: str,
    people: Sequence[str] | None = None,
    minimum: int = 1,
    metrics: tuple[Metric, ...] = BUILT_IN,
) -> Summary:
    """Sums over one site's patients, and the same of resamplings of these.

    Parameters
    ----------
    rows
        One per patient, or visit of one: metric to value; absent and NaN are left out of that metric.
    kinds
        Each patient's kind of lesion.
    groups
        The kinds that every site reports, beside everybody.
    people
        Whose each row is, where somebody has several.
    minimum
        A metric that is defined for fewer people of a group, or for fewer beside the groups, is left out; with more
        than 1 also one that is not defined for all alike.
    metrics
        The study's: the same rules hold for all of them, whoever made them.
    """
    names = np.array(people if people is not None else range(len(rows)))
    columns = [metric.name for metric in metrics]
    table = np.array([[row.get(name, np.nan) for name in columns] for row in rows]).reshape(len(rows), len(columns))
    member = np.array([[group in (EVERYBODY, kind) for kind in kinds] for group in groups], bool).reshape(
        len(groups), len(rows)
    )
    defined = np.isfinite(table)
    values = np.where(defined, table, 0.0)
    stacked = np.stack([defined.astype(float), values, values**2], -1)
    told = np.stack([_reportable(names, member & defined[:, metric], minimum) for metric in range(len(columns))], -1)
    if minimum > 1:
        # For whom a metric is defined may depend on the model, and two sums over people who differ by one tell of that
        # one: it is told where it is defined for everybody, or for all who have a lesion.
        ill = defined[:, columns.index("auroc")]
        for group, metric in np.ndindex(told.shape):
            has, whole = defined[member[group], metric], np.ones(int(member[group].sum()), bool)
            told[group, metric] &= (has == whole).all() or (has == ill[member[group]]).all()
        for column, metric in enumerate(metrics):
            told[:, column] = _undominated(
                told[:, column], values[:, column], member & defined[:, column], names, metric
            )
    moments = np.einsum("gp,pmk->gmk", member.astype(float), stacked) * told[..., None]
    rng = seeds.generator(seed, "bootstrap", site)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names.tolist()))}
    whose = np.array([numbers[name] for name in names.tolist()], int)
    draws = (  # of people, each with all rows of theirs: visits of one person are not independent
        rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), resamplings)[:, whose]
        if rows
        else np.zeros((resamplings, 0))
    )
    bootstrap = np.einsum("bp,gp,pmk->gmkb", draws.astype(float), member.astype(float), stacked[..., :2], optimize=True)
    return Summary(tuple(groups), moments, bootstrap, metrics)


def _reportable(names: np.ndarray, counted: np.ndarray, minimum: int) -> np.ndarray:
    """Groups (groups,) whose sum over the rows ``counted`` (groups, rows) may be told: the first is everybody's."""
    sizes = np.array([len(np.unique(names[rows])) for rows in counted])
    told = sizes >= minimum
    while told[1:].any():
        beside = counted[0] & ~counted[1:][told[1:]].any(0)
        if not 0 < len(np.unique(names[beside])) < minimum:
            break
        smallest = min(np.flatnonzero(told[1:]), key=lambda group: sizes[1:][group])
        told[1 + smallest] = False
    return told


def _undominated(
    told: np.ndarray, values: np.ndarray, counted: np.ndarray, names: np.ndarray, metric: Metric
) -> np.ndarray:
    """Which groups' sums (groups,) may be told, when none may be all but one person's: where any is, or what is left
    beside the kinds of lesion, only everybody's may, if that is not."""
    sums = [rows for rows, one in zip(counted, told, strict=True) if one]
    if len(sums) > 1:
        sums.append(sums[0] & ~np.logical_or.reduce(sums[1:]))
    if not any(_dominated(values[rows], names[rows], metric) for rows in sums):
        return told
    found = np.zeros_like(told)
    found[0] = told[0] and not _dominated(values[counted[0]], names[counted[0]], metric)
    return found


def _dominated(values: np.ndarray, names: np.ndarray, metric: Metric) -> bool:
    """Whether n, the sum and the sum of squares are as good as the figures of one person, or of two, whom they can be
    solved for (the p % rule; Hundepool et al. 2012, Statistical Disclosure Control, 4.2): all others have one value,
    whichever it is. Of ten people nine of whom have 0, the sum is the tenth's; so it is where nine have 1."""
    _, whose = np.unique(names, return_inverse=True)
    if not np.isfinite(values).all():
        return False
    common = [metric.lowest, metric.highest]
    if whose.max(initial=0) > SOLVED + 1:  # of three people two always differ from the one in the middle
        common.append(float(np.median(values)))
    return any(_alone(np.bincount(whose, np.abs(values - value))) for value in common)


def _alone(distances: np.ndarray) -> bool:
    """Whether all but one, or two, of people's distances from a value are next to nothing."""
    shares = np.sort(distances)[::-1]
    others = [(shares[:most].sum(), shares[most:].sum()) for most in range(1, SOLVED + 1) if most < len(shares)]
    return any(rest < DOMINANCE * most for most, rest in others)


def add(parts: Sequence[Summary]) -> Summary:
    """The summary over several sites' patients; a kind that a site does not have adds nothing."""
    groups = (EVERYBODY, *sorted({group for part in parts for group in part.groups} - {EVERYBODY}))
    resamplings = min(part.bootstrap.shape[-1] for part in parts)
    metrics = parts[0].metrics
    moments = np.zeros((len(groups), len(metrics), 3))
    bootstrap = np.zeros((len(groups), len(metrics), 2, resamplings))
    for part in parts:
        for row, group in enumerate(part.groups):
            moments[groups.index(group)] += part.moments[row]
            bootstrap[groups.index(group)] += part.bootstrap[row][..., :resamplings]
    return Summary(groups, moments, bootstrap, metrics)


def averaged(parts: Sequence[Summary]) -> Summary:
    """The mean of several trainings' sums over the same patients: its means are those of the mean.

    So are intervals of resamplings. Those of moments are wider, never narrower: squares are a single training's, and
    how one patient's figures go together over trainings does not leave a site.

    Of the groups and resamplings that all of them have: what a site tells apart may change from one to the next. A
    metric that a site tells of some trainings only is the mean over these.
    """
    groups = tuple(group for group in parts[0].groups if all(group in part.groups for part in parts))
    resamplings = min(part.bootstrap.shape[-1] for part in parts)
    rows = [[part.groups.index(group) for group in groups] for part in parts]
    moments = np.array([part.moments[row] for part, row in zip(parts, rows, strict=True)])
    bootstrap = np.array([part.bootstrap[row][..., :resamplings] for part, row in zip(parts, rows, strict=True)])
    telling = np.maximum((moments[..., 0] > 0).sum(0), 1)[..., None]
    return Summary(groups, moments.sum(0) / telling, bootstrap.sum(0) / telling[..., None], parts[0].metrics)


def reportable_groups(kinds: Sequence[str], people: Sequence[str], minimum: int) -> tuple[str, ...]:
    """The kinds of lesion that a site may report apart, beside everybody.

    Each with at least ``minimum`` patients; and who is left over, whom everybody's sum less theirs would give away, is
    nobody or at least as many.

    Parameters
    ----------
    kinds, people
        Of every scan: its kind of lesion, and whose it is.
    """
    members = {kind: {who for who, of in zip(people, kinds, strict=True) if of == kind} for kind in set(kinds)}
    members.pop(EVERYBODY, None)  # a kind that masks call so has no name of its own
    kept = sorted((k for k, who in members.items() if len(who) >= minimum), key=lambda k: (-len(members[k]), k))
    while kept and 0 < len(set(people).difference(*(members[kind] for kind in kept))) < minimum:
        kept.pop()
    return (EVERYBODY, *sorted(kept))
