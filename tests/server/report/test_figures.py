"""Every figure of the report shows the numbers of the run: where they are missing nothing, nor another's."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import pytest
from run_results import rounds, run_results

from normfed_server.report import figures
from normfed_server.results.figures import Differences
from normfed_server.results.layout import RunResults


@pytest.fixture(autouse=True)
def _drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures as they are, not as a page."""
    monkeypatch.setattr(figures, "to_html", lambda figure: figure)


def by_name(figure: Any) -> dict[str, Any]:
    assert isinstance(figure, go.Figure)
    return {trace.name: trace for trace in figure.data}


def figure(mean: float | None, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"mean": mean, "sd": 0.1, "n": 9, "ci95": [low, high]}


def model(everybody: dict[str, Any], **sites: dict[str, Any]) -> dict[str, Any]:
    return {"all": everybody, "sites": sites, "kinds": {}, "worst_site": {}}


def test_a_site_that_was_not_in_a_round_has_a_gap_there_and_pooled_training_its_own_rounds() -> None:
    results = run_results(
        [
            {"round": 1, "loss": {"a": 3.0, "b": 5.0}},
            {"round": 2, "loss": {"b": None}},
            {"round": 3, "loss": {"a": 1.0}},
        ],
        rounds_of={"pooled": [{"round": 1, "loss": {"pooled": 2.0}}, {"round": 2, "loss": {"pooled": 1.5}}]},
    )
    found = by_name(figures.loss_curves(results))
    assert {name: list(zip(line.x, line.y, strict=True)) for name, line in found.items()} == {
        "a": [(1, 3.0), (2, None), (3, 1.0)],
        "b": [(1, 5.0), (2, None), (3, None)],
        "all scans in one place": [(1, 2.0), (2, 1.5)],
    }


@pytest.mark.parametrize("sites", [1, 12])
def test_a_legend_lies_below_the_plot_and_makes_it_higher(sites: int) -> None:
    results = run_results([{"loss": {f"s{number}": 1.0 for number in range(sites)}}])
    layout = figures.loss_curves(results).layout  # type: ignore[attr-defined]
    assert (layout.legend.yref, layout.legend.y, layout.legend.yanchor) == ("container", 0, "bottom")
    assert layout.height == 360 + 12 * sites


EVALUATION = {
    "federated": model({"auroc": figure(0.9, 0.8, 0.95), "dice": figure(0.4)}, a={"auroc": figure(0.7, 0.6, 0.9)}),
    "atlas": model({"auroc": figure(0.6, None, 0.7)}, a={"dice": figure(0.2, 0.1, 0.4)}),
}


def test_the_menu_shows_the_bars_of_one_metric_at_a_time_under_its_own_name() -> None:
    results = run_results(evaluation=EVALUATION)
    found = figures.per_site(results.evaluation, results.metrics)
    assert isinstance(found, go.Figure)
    shown = {}
    for button in found.layout.updatemenus[0].buttons:
        visible, axis = button.args[0]["visible"], button.args[1]["yaxis.title.text"]
        assert button.label == axis
        shown[button.label] = [
            (bar.name, dict(zip(bar.x, bar.y, strict=True)))
            for bar, seen in zip(found.data, visible, strict=True)
            if seen
        ]
    titles = {metric: results.metrics[metric].title for metric in ("auroc", "dice")}
    assert shown == {  # no other metric has a figure
        titles["auroc"]: [("federated", {"all": 0.9, "a": 0.7}), ("atlas", {"all": 0.6, "a": None})],
        titles["dice"]: [("federated", {"all": 0.4, "a": None}), ("atlas", {"all": None, "a": 0.2})],
    }
    first = next(metric for metric in results.metrics if metric in titles)
    assert found.layout.yaxis.title.text == titles[first]
    assert [bar.visible for bar in found.data] == [True, True, False, False]


def test_a_bar_reaches_to_the_ends_of_its_interval_and_nowhere_where_they_are_not_known() -> None:
    results = run_results(evaluation=EVALUATION)
    bars = figures.per_site(results.evaluation, results.metrics).data  # type: ignore[attr-defined]
    reach = {(bar.name, bar.y): (bar.error_y.arrayminus, bar.error_y.array) for bar in bars}
    assert reach["federated", (0.9, 0.7)] == (pytest.approx((0.1, 0.1)), pytest.approx((0.05, 0.2)))
    assert reach["atlas", (0.6, None)] == (pytest.approx((0.0, 0.0)), pytest.approx((0.1, 0.0)))
    assert reach["federated", (0.4, None)] == ((0.0, 0.0), (0.0, 0.0))


def difference(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"auroc": {"mean": mean, "ci95": [low, high]}}


def test_gains_are_shown_over_the_models_asked_for_and_where_there_is_a_difference() -> None:
    raw = {
        "local": {"all": difference(0.1, 0.05, 0.2), "kinds": {}, "sites": {"a": difference(-0.1, -0.2, 0.0), "b": {}}},
        "pooled": {"all": difference(0.0, -0.1, 0.1), "kinds": {}, "sites": {}},
    }
    differences = {name: Differences.model_validate(found, strict=False) for name, found in raw.items()}
    (points,) = figures.gains(differences, ["federated", "local"], "auroc", "AUROC").data  # type: ignore[attr-defined]
    assert points.name == "minus local"
    assert dict(zip(points.y, points.x, strict=True)) == {"all": 0.1, "a": -0.1}
    assert points.error_x.arrayminus == pytest.approx((0.05, 0.1))
    assert points.orientation == "h"  # or models of one site would lie on one another


def test_the_matrix_has_a_row_for_each_training_and_a_column_for_each_test_site() -> None:
    results = run_results(
        matrix={"auroc": {"b": {"b": 0.8, "a": 0.6}, "a": {"a": 0.7}}},
        evaluation={"federated": model({}, a={"auroc": figure(0.9)}), "atlas": model({}, a={"auroc": figure(0.1)})},
    )
    (heat,) = figures.matrix(results, "auroc").data  # type: ignore[attr-defined]
    assert (heat.y, heat.x) == (("b", "a", "federated"), ("a", "b"))
    assert [list(row) for row in heat.z] == [pytest.approx([0.2, 0.6]), [pytest.approx(0.4), None], [0.8, None]]
    assert heat.text[1] == ["0.700", ""]
    assert (heat.zmin, heat.colorscale[1], heat.zmax) == (-0.8, (0.5, "#f7f7f7"), 0.8)  # white is chance
    assert figures.matrix(results, "dice") == ""  # local models were not ranked by it


def test_the_matrix_is_coloured_by_the_chance_of_the_site_that_tests() -> None:
    """0.008 is far below chance over all patients, and above it where lesions are small."""
    results = run_results(
        matrix={"auprc": {"a": {"a": 0.3, "b": 0.008}}}, lesion_share={"all": 0.013, "sites": {"a": 0.4, "b": 0.00059}}
    )
    (heat,) = figures.matrix(results, "auprc").data  # type: ignore[attr-defined]
    assert heat.x == ("a<br>chance 0.400", "b<br>chance 0.00059")
    assert list(heat.z[0]) == pytest.approx([-0.25, (0.008 - 0.00059) / (1 - 0.00059)])
    assert [list(cell) for cell in heat.customdata[0]] == [["a", "0.400"], ["b", "0.00059"]]
    assert "chance there %{customdata[1]}" in heat.hovertemplate


def gained(name: str, mean: float, sites: dict[str, tuple[float, float, float]]) -> dict[str, Any]:
    of_sites = {site: {"mean": m, "ci95": [low, high], "n": 9} for site, (m, low, high) in sites.items()}
    gain = {"mean": mean, "ci95": [mean - 0.1, mean + 0.1], "n": 20, "sites": of_sites, "gain": [], "lose": []}
    return {
        "name": name,
        "title": name,
        "strategy": {"name": name},
        "sites": ["a", "b"],
        "not_served": {},
        "gain_over_local": {"auroc": gain},
        "megabytes_per_round": 1.0,
        "seconds_per_round": 1.0,
    }


LEAGUE = [
    gained("fedavg", 0.2, {"a": (0.3, 0.1, 0.5), "b": (-0.4, -0.6, -0.2)}),
    gained("ditto", 0.1, {"a": (0.1, -0.1, 0.3)}),
    {**gained("local", 0.0, {}), "gain_over_local": None},
]


@pytest.fixture
def league() -> RunResults:
    return run_results(league=LEAGUE)


def test_a_gain_is_starred_only_where_its_interval_excludes_nothing(league: RunResults) -> None:
    (heat,) = figures.league_sites(league).data  # type: ignore[attr-defined]
    assert (heat.y, heat.x) == (("fedavg", "ditto"), ("a", "b"))  # nobody gains over itself
    assert [list(row) for row in heat.text] == [["+0.300*", "−0.400*"], ["+0.100", ""]]
    assert (heat.zmin, heat.zmax) == (-0.4, 0.4)  # so that no gain is white


def test_every_strategys_gain_stands_beside_that_of_each_site(league: RunResults) -> None:
    found = by_name(figures.league_gains(league))
    assert {name: dict(zip(points.y, points.x, strict=True)) for name, points in found.items()} == {
        "a": {"fedavg": 0.3, "ditto": 0.1},
        "b": {"fedavg": -0.4, "ditto": None},
        "all patients": {"fedavg": 0.2, "ditto": 0.1},
    }


def test_the_slowest_site_is_at_the_top_and_late_answers_are_apart() -> None:
    history = rounds(
        {
            "round": 1,
            "outcomes": {"a": "took part", "b": "late", "c": "took part"},
            "hospital_time": {"arrivals": {"a": 60.0, "b": 600.0, "c": 120.0}, "end": 300.0},
        },
        {"round": 2, "outcomes": {"a": "took part"}},  # not on the clock
    )
    found = figures.hospital_times(history, {"b": 600.0, "a": 60.0, "c": 120.0, "d": None})
    assert found.layout.yaxis.categoryarray == ("a", "c", "b")  # type: ignore[attr-defined]  # plotly draws upwards
    points = {name: list(zip(p.y, p.x, strict=True)) for name, p in by_name(found).items()}
    assert points == {"in time": [("a", 1.0), ("c", 2.0)], "late": [("b", 10.0)]}
