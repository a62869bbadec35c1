"""The league table: every strategy beside local-only and pooled training; who gains, who loses, at what price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.metrics.summary import Summary, add, averaged, difference_interval
from normfed_server.arms.plan import LOCAL, REPEAT, Arm, Plan
from normfed_server.sites.description import POOLED
from normfed_server.sites.letterhead import FEDERATED

METRICS = ("auroc", "auprc")
ANCHOR = "local"
FEWEST_PATIENTS = 5  # resampling fewer says nothing: one patient's interval has no width at all


PerModel = Mapping[str, Mapping[str, Summary]]


def league(
    plan: Plan, repeats: Sequence[PerModel], histories: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """One row a strategy, then the anchors `local` and `pooled`; best mean average precision first among strategies.

    With several trainings of every model (``repeats``) a patient counts with the mean over them, and the spread of the
    trainings stands beside it: no interval over patients knows of it.

    A row's figures are over the sites that its models serve, and its gain over local-only training is taken at these
    sites, paired by patient. Seconds are those of the sites' own clocks, added up over the sites of a round.
    """
    arms = {arm.name: arm for arm in plan.arms}
    per_model = {name: _averaged([repeat[name] for repeat in repeats if name in repeat]) for name in repeats[0]}
    shown = [name for name in per_model if name in (ANCHOR, POOLED) or _is_strategy(arms.get(name))]
    rows = [_row(name, arms, per_model, histories) for name in shown if per_model[name]]
    for row in rows:
        for metric in METRICS:
            row[metric]["trainings"] = [
                _mean(repeat[row["name"]], metric) for repeat in repeats if row["name"] in repeat
            ]
    anchors = [row for row in rows if row["name"] in (ANCHOR, POOLED)]
    strategies = [row for row in rows if row not in anchors]
    return sorted(strategies, key=_rank) + anchors


def _rank(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Best first; last those whose sites may not say."""
    mean = row["auprc"]["mean"]
    return bool(np.isnan(mean)), -mean


def _averaged(repeats: Sequence[Mapping[str, Summary]]) -> dict[str, Summary]:
    return {site: averaged([repeat[site] for repeat in repeats if site in repeat]) for site in repeats[0]}


def _mean(served: Mapping[str, Summary], metric: str) -> float:
    return add(list(served.values())).mean(metric)


def _is_strategy(arm: Arm | None) -> bool:
    return arm is not None and arm.federated


def _row(
    name: str,
    arms: Mapping[str, Arm],
    per_model: PerModel,
    histories: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    served, local = per_model[name], per_model.get(ANCHOR)
    arm = arms.get(name)
    trained = [
        history
        for key, history in histories.items()
        if key == name or (name == ANCHOR and key.startswith(LOCAL) and REPEAT not in key)
    ]
    row: dict[str, Any] = {
        "name": name,
        "title": _title(name, arm),
        "strategy": None if arm is None or not arm.federated else arm.strategy,
        "sites": sorted(served),
        "not_served": {} if arm is None else arm.not_served,
        **{metric: _figures(served, metric) for metric in METRICS},
        "gain_over_local": None,
        "megabytes_per_round": _megabytes(trained) if arm is not None and arm.federated else 0.0,
        "seconds_per_round": _seconds(trained),
    }
    if local is not None and name != ANCHOR and served.keys() & local.keys():
        row["gain_over_local"] = {metric: _gain(served, local, metric) for metric in METRICS}
    return row


def _title(name: str, arm: Arm | None) -> str:
    if arm is None or not arm.federated:
        return {ANCHOR: "every site alone", POOLED: "all scans in one place"}[name]
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


def _figures(served: Mapping[str, Summary], metric: str) -> dict[str, Any]:
    everybody = add(list(served.values()))
    means = {site: summary.mean(metric) for site, summary in served.items() if summary.n(metric)}
    worst = min(means, key=lambda site: means[site]) if means else None
    low, high = everybody.interval(metric)
    return {
        "mean": everybody.mean(metric),
        "ci95": [low, high],
        "worst_site": {"site": worst, "mean": means[worst]} if worst else None,
        "sd_over_sites": float(np.std(list(means.values()), ddof=1)) if len(means) > 1 else None,
        "sites": means,
    }


def _gain(served: Mapping[str, Summary], local: Mapping[str, Summary], metric: str) -> dict[str, Any]:
    """Mean gain over all patients and at each site, with 95 % intervals where there are patients enough; who gains and
    who loses beyond them."""
    common = [site for site in served if site in local]
    sites = {site: _difference(served[site], local[site], metric) for site in common}
    return {
        **_difference(add([served[s] for s in common]), add([local[s] for s in common]), metric),
        "sites": sites,
        "gain": sorted(site for site, figure in sites.items() if figure["ci95"][0] > 0),
        "lose": sorted(site for site, figure in sites.items() if figure["ci95"][1] < 0),
    }


def _difference(ours: Summary, theirs: Summary, metric: str) -> dict[str, Any]:
    patients = min(ours.n(metric), theirs.n(metric))
    low, high = difference_interval(ours, theirs, metric)
    if patients < FEWEST_PATIENTS:
        low = high = float("nan")
    return {"mean": ours.mean(metric) - theirs.mean(metric), "ci95": [low, high], "n": patients}


def _megabytes(histories: Sequence[Sequence[Mapping[str, Any]]]) -> float | None:
    """Out and back, over all sites, of a mean round."""
    sizes = [entry["megabytes"]["out"] + entry["megabytes"]["back"] for history in histories for entry in history]
    return float(np.mean(sizes)) if sizes else None


def _seconds(histories: Sequence[Sequence[Mapping[str, Any]]]) -> float | None:
    """Of a median round, added up over its sites; several models trained beside each other are one round."""
    rounds = [[sum(entry["site_seconds"].values()) for entry in history] for history in histories if history]
    return float(np.sum([np.median(seconds) for seconds in rounds])) if rounds else None
