"""The league table from made-up sums: rows, their order, who gains, who loses, at what price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from run_results import rounds as rounds_of
from scipy import stats
from summaries import constant, patients, summary

from normfed_common.metrics.summary import Summary
from normfed_server.arms.plan import Arm, Plan
from normfed_server.results.figures import Difference
from normfed_server.results.league import beyond, league

MODEL = {"name": "siamese"}
Models = Mapping[str, Mapping[str, Summary]]


def strategy(name: str, entry: dict[str, Any] | None = None, **more: Any) -> Arm:
    return Arm(name, MODEL, ("a", "b"), {}, strategy=entry or {"name": "fedavg"}, federated=True, **more)


def table(
    models: Models | Sequence[Models],
    histories: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    arms: Sequence[Arm] = (),
) -> list[dict[str, Any]]:
    """Rows of models that are all strategies, but for the anchors and what ``arms`` says; as they stand in the file."""
    repeats = models if isinstance(models, Sequence) else [models]
    plan = {name: strategy(name) for name in repeats[0] if name not in ("local", "pooled")}
    plan |= {arm.name: arm for arm in arms}
    of = {name: rounds_of(*entries) for name, entries in (histories or {}).items()}
    return [row.model_dump(mode="json") for row in league(Plan(tuple(plan.values()), {}), repeats, of)]


def by_name(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def test_strategies_come_by_mean_average_precision_and_anchors_last_however_good() -> None:
    means = {"federated": 0.3, "local": 0.9, "fedprox": 0.7, "pooled": 0.95, "ditto": 0.5}
    rows = table({name: {"a": constant(6, auprc=mean, auroc=1 - mean)} for name, mean in means.items()})
    assert [row["name"] for row in rows] == ["fedprox", "ditto", "federated", "local", "pooled"]


def test_of_equals_the_study_s_own_order_stays() -> None:
    rows = table({name: {"a": constant(6, auprc=0.5)} for name in ("federated", "fedprox", "ditto")})
    assert [row["name"] for row in rows] == ["federated", "fedprox", "ditto"]


def test_a_strategy_whose_sites_may_not_say_comes_last_and_scrambles_nothing() -> None:
    models = {
        "federated": {"a": constant(6, auprc=0.5)},
        "fedbn": {"a": constant(6, auroc=0.5)},  # no average precision may leave the site
        "fedprox": {"a": constant(6, auprc=0.9)},
    }
    rows = table(models)
    assert [row["name"] for row in rows] == ["fedprox", "federated", "fedbn"]
    assert rows[-1]["auprc"]["mean"] is None
    assert rows[-1]["auprc"]["worst_site"] is None


def test_baselines_and_models_without_a_site_have_no_row() -> None:
    models = {"federated": {"a": constant(6, auprc=0.5)}, "atlas": {"a": constant(6, auprc=0.9)}, "other": {}}
    rows = table(models, arms=[Arm("atlas", {"name": "atlas"}, ("a",), {})])
    assert [row["name"] for row in rows] == ["federated"]


def test_figures_of_a_row_are_those_of_all_its_patients_together() -> None:
    found = {site: patients(count, seed) for seed, (site, count) in enumerate({"b": 7, "a": 12, "c": 5}.items())}
    (row,) = table({"federated": {site: summary(rows) for site, rows in found.items()}})
    assert row["sites"] == ["a", "b", "c"]
    for metric in ("auroc", "auprc"):
        values = {site: np.array([patient[metric] for patient in rows]) for site, rows in found.items()}
        pooled, means = np.concatenate(list(values.values())), {site: v.mean() for site, v in values.items()}
        assert row[metric]["mean"] == pytest.approx(pooled.mean())
        expected = stats.t.interval(0.95, len(pooled) - 1, pooled.mean(), stats.sem(pooled))
        assert row[metric]["ci95"] == pytest.approx(list(expected))
        assert row[metric]["sites"] == pytest.approx(means)
        worst = min(means, key=means.__getitem__)
        assert row[metric]["worst_site"] == {"site": worst, "mean": pytest.approx(means[worst])}
        assert row[metric]["sd_over_sites"] == pytest.approx(np.std(list(means.values()), ddof=1))


def test_one_site_has_no_spread_over_sites_and_is_the_worst() -> None:
    (row,) = table({"federated": {"a": constant(6, auprc=0.5, auroc=0.5), "b": constant(6, auroc=0.6)}})
    assert row["auprc"]["sd_over_sites"] is None
    assert row["auprc"]["sites"] == {"a": 0.5}  # b says nothing of it
    assert row["auprc"]["worst_site"] == {"site": "a", "mean": 0.5}


SHIFTS = {"gains": 0.2, "ties": 0.0, "loses": -0.15}


def test_who_gains_and_who_loses_is_beyond_the_interval_of_the_difference() -> None:
    ours = {site: patients(30, seed, shift) for seed, (site, shift) in enumerate(SHIFTS.items())}
    theirs = {site: patients(30, seed + 10) for seed, site in enumerate(SHIFTS)}
    models = {
        name: {s: summary(rows) for s, rows in of.items()} for name, of in (("federated", ours), ("local", theirs))
    }
    gain = by_name(table(models))["federated"]["gain_over_local"]["auprc"]
    assert (gain["gain"], gain["lose"]) == (["gains"], ["loses"])
    for site in SHIFTS:
        a, b = ([patient["auprc"] for patient in of[site]] for of in (ours, theirs))
        welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
        assert gain["sites"][site]["ci95"] == pytest.approx(list(welch))
        assert gain["sites"][site]["mean"] == pytest.approx(np.mean(a) - np.mean(b))
    pooled = [np.concatenate([[p["auprc"] for p in rows] for rows in of.values()]) for of in (ours, theirs)]
    assert gain["mean"] == pytest.approx(pooled[0].mean() - pooled[1].mean())
    welch = stats.ttest_ind(*pooled, equal_var=False).confidence_interval(0.95)
    assert gain["ci95"] == pytest.approx(list(welch))
    assert gain["n"] == 90


def test_resampled_gains_are_paired_by_patient() -> None:
    """The same gain of every patient is sure, however much patients differ."""
    rows = patients(8, 1)
    better = [row | {"auprc": row["auprc"] + 0.01} for row in rows]
    models = {"federated": {"a": summary(better, resamplings=50)}, "local": {"a": summary(rows, resamplings=50)}}
    gain = by_name(table(models))["federated"]["gain_over_local"]["auprc"]
    assert gain["ci95"] == pytest.approx([0.01, 0.01])
    assert gain["gain"] == ["a"]


@pytest.mark.parametrize("difference", [0.0, 0.1, -0.1])
@pytest.mark.parametrize(("patients", "said"), [(5, False), (6, True)])
def test_nobody_gains_or_loses_by_a_tie_or_with_fewer_than_six_patients(
    patients: int, said: bool, difference: float
) -> None:
    """Patients all alike: the interval has no width."""
    models = {
        "federated": {"a": constant(patients, auprc=0.5 + difference)},
        "local": {"a": constant(max(patients, 6), auprc=0.5)},
    }
    gain = by_name(table(models))["federated"]["gain_over_local"]["auprc"]
    assert gain["gain"] == (["a"] if said and difference > 0 else [])
    assert gain["lose"] == (["a"] if said and difference < 0 else [])
    assert (gain["sites"]["a"]["ci95"] == [None, None]) != (said or difference == 0)  # that is known of however few
    assert gain["sites"]["a"]["mean"] == pytest.approx(difference)
    assert gain["n"] == patients


def test_a_gain_is_taken_at_the_sites_that_have_both() -> None:
    models = {
        "federated": {"a": constant(6, auprc=0.6), "b": constant(6, auprc=0.1)},
        "local": {"a": constant(6, auprc=0.5), "c": constant(6, auprc=0.9)},
        "fedbn": {"b": constant(6, auprc=0.7)},  # served only where local says nothing
    }
    rows = by_name(table(models))
    assert rows["federated"]["gain_over_local"]["auprc"]["mean"] == pytest.approx(0.1)
    assert set(rows["federated"]["gain_over_local"]["auprc"]["sites"]) == {"a"}
    assert rows["fedbn"]["gain_over_local"] is None
    assert rows["local"]["gain_over_local"] is None


def test_without_local_models_nobody_gains() -> None:
    (row,) = table({"federated": {"a": constant(6, auprc=0.6)}})
    assert row["gain_over_local"] is None


def test_of_several_trainings_the_mean_counts_and_each_is_shown() -> None:
    """Of two trainings a patient counts with the mean; local was trained once."""
    first, second = patients(9, 1), patients(9, 2)
    repeats = [
        {"federated": {"a": summary(first)}, "local": {"a": constant(9, auprc=0.4, auroc=0.5)}},
        {"federated": {"a": summary(second)}},
    ]
    rows = by_name(table(repeats))
    for metric in ("auroc", "auprc"):
        means = [np.mean([row[metric] for row in training]) for training in (first, second)]
        assert rows["federated"][metric]["trainings"] == pytest.approx(means)
        assert rows["federated"][metric]["mean"] == pytest.approx(np.mean(means))
    assert rows["federated"]["gain_over_local"]["auprc"]["n"] == 9
    assert rows["local"]["auprc"]["trainings"] == pytest.approx([0.4])


def rounds(*seconds: tuple[float, ...], megabytes: float = 1.0) -> list[dict[str, Any]]:
    """A history: of every round the sites' seconds, and as much out as back."""
    return [
        {
            "site_seconds": {f"s{n}": s for n, s in enumerate(of)},
            "megabytes": {"out": megabytes * len(of), "back": megabytes * len(of)},
        }
        for of in seconds
    ]


def test_the_price_is_the_mean_round_s_megabytes_and_the_median_round_s_seconds_over_its_sites() -> None:
    models = {name: {"a": constant(6, auprc=0.5)} for name in ("federated", "local", "pooled")}
    histories = {
        "federated": rounds((1.0, 2.0), (10.0, 20.0), (100.0,)),
        "federated~2": rounds((1e4,), megabytes=1e4),
        "local-a": rounds((5.0,), (7.0,), (9.0,)),
        "local-b": rounds((20.0,)),
        "local-c": [],
        "local-a~2": rounds((1e4,)),
        "pooled": rounds((4.0,), (6.0,)),
        "without-a": rounds((1e4,)),
    }
    rows = by_name(table(models, histories))
    assert rows["federated"]["seconds_per_round"] == 30.0
    assert rows["federated"]["megabytes_per_round"] == pytest.approx((4 + 4 + 2) / 3)
    assert rows["local"]["seconds_per_round"] == 27.0  # two sites beside each other, of the first training
    assert rows["pooled"]["seconds_per_round"] == 5.0
    assert rows["local"]["megabytes_per_round"] == rows["pooled"]["megabytes_per_round"] == 0.0


def test_what_was_not_trained_in_rounds_has_no_price() -> None:
    (row,) = table({"federated": {"a": constant(6, auprc=0.5)}}, {"federated": []})
    assert (row["seconds_per_round"], row["megabytes_per_round"]) == (None, None)


def test_where_no_site_says_how_long_it_trained_there_are_no_seconds() -> None:
    (row,) = table({"federated": {"a": constant(6, auprc=0.5)}}, {"federated": rounds((), ())})
    assert (row["seconds_per_round"], row["megabytes_per_round"]) == (None, 0.0)


@pytest.mark.parametrize(
    ("arm", "title"),
    [
        (strategy("federated"), "FedAvg (the study's own)"),
        (strategy("fedavg+fp16", compression="fp16"), "FedAvg, fp16"),
        (strategy("fedprox", {"name": "fedprox", "mu": 0.01}), "FedProx"),  # as when it is absent
        (strategy("fedprox#2", {"name": "fedprox", "mu": 0.5}), "FedProx (mu 0.5)"),
        (strategy("ditto", {"name": "ditto", "lambda": 0}), "Ditto (lambda 0)"),
        (
            strategy("federated", {"name": "fedadam", "beta_1": 0.5, "beta_2": 0.99, "tau": 1e-8}, compression="int8"),
            "FedAdam (beta_1 0.5, tau 1e-08), int8 (the study's own)",
        ),
    ],
)
def test_a_title_names_what_differs_from_the_strategy_s_defaults(arm: Arm, title: str) -> None:
    (row,) = table({arm.name: {"a": constant(6, auprc=0.5)}}, arms=[arm])
    assert row["title"] == title
    assert row["strategy"] == arm.strategy


def test_anchors_have_a_title_and_no_strategy() -> None:
    models = {name: {"a": constant(6, auprc=0.5)} for name in ("federated", "local", "pooled")}
    arms = [Arm("pooled", MODEL, ("pooled",), {}, not_served={"z": "too far"})]
    rows = by_name(table(models, arms=arms))
    assert (rows["local"]["title"], rows["local"]["strategy"]) == ("each site alone", None)
    assert (rows["pooled"]["title"], rows["pooled"]["strategy"]) == ("all scans in one place", None)
    assert rows["pooled"]["not_served"] == {"z": "too far"}
    assert rows["local"]["not_served"] == {}


@pytest.mark.parametrize(("nearest", "sure"), [(0.0006, True), (0.0004, False), (-0.0004, False), (None, False)])
def test_what_tables_show_as_nothing_is_no_difference_however_sure(nearest: float | None, sure: bool) -> None:
    assert beyond(Difference(mean=0.001, ci95=(nearest, None if nearest is None else 0.002)), 1) is sure
    mirrored = None if nearest is None else -nearest
    assert beyond(Difference(mean=-0.001, ci95=(None if nearest is None else -0.002, mirrored)), -1) is sure
