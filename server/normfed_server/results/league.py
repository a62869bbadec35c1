"""The league table: every strategy beside local-only and pooled training; who gains, who loses, at what price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from normfed_common.algorithms.arms import FEDERATED, LOCAL, OWN, POOLED, REPEAT
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.metrics.base import Metric
from normfed_common.metrics.summary import Summary, add, averaged, difference_interval
from normfed_server.arms.plan import Arm, Plan
from normfed_server.events.rounds import RoundFigures
from normfed_server.results.figures import PRECISION, AtSite, Difference, Gain, Gains, LeagueFigure, LeagueRow
from normfed_server.results.models import TITLES

SHOWN = 0.0005  # half of the last digit of a figure in tables


PerModel = Mapping[str, Mapping[str, Summary]]
History = Sequence[RoundFigures]


def league(plan: Plan, repeats: Sequence[PerModel], histories: Mapping[str, History]) -> list[LeagueRow]:
    """One row a strategy, then the anchors `local` and `pooled`; best mean average precision first among strategies.

    With several trainings of every model (``repeats``) a patient counts with the mean over them, and the spread of the
    trainings stands beside it: no interval over patients knows of it.

    A row's figures are over the sites that its models serve, and its gain over local-only training is taken at these
    sites, paired by patient. Seconds are those of the sites' own clocks, added up over the sites of a round.
    """
    arms = {arm.name: arm for arm in plan.arms}
    per_model = {name: _averaged([repeat[name] for repeat in repeats if name in repeat]) for name in repeats[0]}
    shown = [name for name in per_model if name in (OWN, POOLED) or _is_strategy(arms.get(name))]
    rows = [_row(name, arms, repeats, per_model, histories) for name in shown if per_model[name]]
    anchors = [row for row in rows if row.name in (OWN, POOLED)]
    strategies = [row for row in rows if row not in anchors]
    return sorted(strategies, key=_rank) + anchors


def shown_in_league(metrics: Iterable[Metric]) -> list[str]:
    """The metrics by which strategies are compared."""
    return [metric.name for metric in metrics if "league" in metric.shown]


def _rank(row: LeagueRow) -> tuple[bool, float]:
    """Best first; last those whose sites may not say."""
    mean = row.figures[PRECISION].mean
    return (True, 0.0) if mean is None else (False, -mean)


def _averaged(repeats: Sequence[Mapping[str, Summary]]) -> dict[str, Summary]:
    return {site: averaged([repeat[site] for repeat in repeats if site in repeat]) for site in repeats[0]}


def _mean(served: Mapping[str, Summary], metric: str) -> float:
    return add(list(served.values())).mean(metric)


def _is_strategy(arm: Arm | None) -> bool:
    return arm is not None and arm.federated


def _row(
    name: str,
    arms: Mapping[str, Arm],
    repeats: Sequence[PerModel],
    per_model: PerModel,
    histories: Mapping[str, History],
) -> LeagueRow:
    served, local = per_model[name], per_model.get(OWN)
    arm = arms.get(name)
    trained = [
        history
        for key, history in histories.items()
        if key == name or (name == OWN and key.startswith(LOCAL) and REPEAT not in key)
    ]
    compared = shown_in_league(next(iter(served.values())).metrics)
    gains = None
    if local is not None and name != OWN and served.keys() & local.keys():
        gains = {metric: _gain(served, local, metric) for metric in compared}
    trainings = [repeat[name] for repeat in repeats if name in repeat]
    return LeagueRow(
        name=name,
        title=_title(name, arm),
        strategy=None if arm is None or not arm.federated else dict(arm.strategy),
        sites=tuple(sorted(served)),
        not_served={} if arm is None else dict(arm.not_served),
        gain_over_local=gains,
        megabytes_per_round=_megabytes(trained) if arm is not None and arm.federated else 0.0,
        seconds_per_round=_seconds(trained),
        **{metric: _figures(served, trainings, metric) for metric in compared},
    )


def _title(name: str, arm: Arm | None) -> str:
    if arm is None or not arm.federated:
        return TITLES[name]
    row = ALGORITHMS[arm.strategy["name"]]
    title = row.title
    defaults = {field.alias or key: field.default for key, field in row.parameters.model_fields.items()}
    set_here = ", ".join(
        f"{key} {value:g}"
        for key, value in arm.strategy.items()
        if isinstance(value, int | float) and value != defaults[key]
    )
    study = " (the study's own)" if name == FEDERATED else ""
    compressed = f", {arm.compression}" if arm.compression != "none" else ""
    return f"{title}{f' ({set_here})' if set_here else ''}{compressed}{study}"


def _figures(served: Mapping[str, Summary], trainings: Sequence[Mapping[str, Summary]], metric: str) -> LeagueFigure:
    everybody = add(list(served.values()))
    means = {site: summary.mean(metric) for site, summary in served.items() if summary.n(metric)}
    choose = min if everybody.metric(metric).higher_is_better else max
    worst = choose(means, key=lambda site: means[site]) if means else None
    return LeagueFigure(
        mean=everybody.mean(metric),
        n=everybody.n(metric),
        ci95=everybody.interval(metric),
        worst_site=AtSite(site=worst, mean=means[worst]) if worst is not None else None,
        sd_over_sites=float(np.std(list(means.values()), ddof=1)) if len(means) > 1 else None,
        sites=dict(means),
        trainings=tuple(_mean(training, metric) for training in trainings),
    )


def _gain(served: Mapping[str, Summary], local: Mapping[str, Summary], metric: str) -> Gains:
    """Mean gain over all patients and at each site, with 95 % intervals where there are patients enough; who gains and
    who loses beyond them."""
    common = [site for site in served if site in local]
    sites = {site: _difference(served[site], local[site], metric) for site in common}
    everybody = _difference(add([served[s] for s in common]), add([local[s] for s in common]), metric)
    higher, lower = (tuple(sorted(site for site, gain in sites.items() if beyond(gain, sign))) for sign in (1, -1))
    if not served[common[0]].metric(metric).higher_is_better:
        higher, lower = lower, higher
    return Gains(
        mean=everybody.mean,
        n=everybody.n,
        ci95=everybody.ci95,
        sites=sites,
        gain=higher,
        lose=lower,
    )


def _difference(ours: Summary, theirs: Summary, metric: str) -> Gain:
    return Gain(
        mean=ours.mean(metric) - theirs.mean(metric),
        n=min(ours.n(metric), theirs.n(metric)),
        ci95=difference_interval(ours, theirs, metric),
    )


def beyond(difference: Difference, sign: int) -> bool:
    """Whether the whole interval is on one side of zero, above it (1) or below it (-1), in the digits that tables show.

    Deterministic models differ by parts of a thousandth with great certainty; nobody would call that better.
    """
    nearest = difference.ci95[0 if sign > 0 else 1]
    return nearest is not None and sign * nearest >= SHOWN


def _megabytes(histories: Sequence[History]) -> float | None:
    """Out and back, over all sites, of a mean round."""
    sizes = [entry.megabytes.out + entry.megabytes.back for history in histories for entry in history]
    return float(np.mean(sizes)) if sizes else None


def _seconds(histories: Sequence[History]) -> float | None:
    """Of a median round, added up over its sites; several models trained beside each other are one round.
    None where no site says."""
    told = [[entry.site_seconds for entry in history if entry.site_seconds] for history in histories]
    rounds = [[sum(seconds.values()) for seconds in history] for history in told if history]
    return float(np.sum([np.median(seconds) for seconds in rounds])) if rounds else None
