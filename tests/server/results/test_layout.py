"""metrics.json is written and read by one model; what is not one is said in a sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from run_results import run_results
from toy_metric import METRIC

from normfed_common.foundation.errors import DamagedError
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_server.results import layout
from normfed_server.results.figures import Figure, LeagueFigure, LeagueRow, ModelFigures, Threshold

FIGURE = LeagueFigure(
    mean=0.5, ci95=(0.25, math.nan), worst_site=None, sd_over_sites=math.inf, sites={"a": 0.5}, trainings=(0.5,)
)
ROW: dict[str, Any] = {
    "name": "federated",
    "title": "FedAvg",
    "strategy": {"name": "fedavg", "mu": 0.1},
    "sites": ("a",),
    "not_served": {},
    "gain_over_local": None,
    "megabytes_per_round": 1.0,
    "seconds_per_round": None,
}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    row = LeagueRow(**ROW, auroc=FIGURE, auprc=FIGURE)
    found = run_results([{"loss": {"a": math.nan}}], league=[json.loads(row.model_dump_json())])
    layout.write(tmp_path, found)
    assert layout.read(tmp_path) == found
    assert found.league[0].figures["auprc"].ci95 == (0.25, None)
    json.loads((tmp_path / layout.FILE).read_text(), parse_constant=pytest.fail)


def test_what_is_not_defined_is_null_and_what_was_not_tested_is_not_there() -> None:
    ranked = ModelFigures(sites={}, all={"auroc": Figure(mean=math.nan, sd=None, n=0)}, kinds={}, worst_site={})
    assert ranked.model_dump(mode="json") == {
        "sites": {},
        "all": {"auroc": {"mean": None, "sd": None, "n": 0}},
        "kinds": {},
        "worst_site": {},
    }
    tested = ranked.model_copy(update={"merged": {}, "threshold": Threshold(value=math.nan, source="nobody")})
    dumped = tested.model_dump(mode="json")
    assert (dumped["threshold"], dumped["exceedance_error"]) == ({"value": None, "from": "nobody"}, None)


def test_a_file_of_a_run_of_before_is_read_without_the_keys_that_came_later(tmp_path: Path) -> None:
    whole = json.loads(run_results([{}]).model_dump_json())
    older = {key: value for key, value in whole.items() if key not in ("missed", "notes", "intervals", "metrics")}
    (tmp_path / layout.FILE).write_text(json.dumps(older))
    found = layout.read(tmp_path)
    assert found == run_results([{}])
    assert found.metrics["auprc"].title == "average precision"
    assert found.lowest_score is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"study": "x"', "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (json.dumps({**json.loads(run_results().model_dump_json()), "more": 1}).encode(), "more: Extra inputs"),
        (json.dumps({**json.loads(run_results().model_dump_json()), "seed": "7"}).encode(), "seed: Input should be"),
        (None, "No such file"),
    ],
    ids=["cut short", "no text", "a key too many", "a wrong type", "absent"],
)
def test_what_is_no_such_file_is_said_with_what_to_do(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / layout.FILE).write_bytes(content)
    with pytest.raises(DamagedError, match=r"metrics\.json cannot be read \(.*\)\. Remove it, and resume") as caught:
        layout.read(tmp_path)
    assert caught.value.why.startswith(why)
    assert "\n" not in str(caught.value)


def test_a_league_row_holds_figures_of_metrics_and_nothing_else_beside_its_keys() -> None:
    assert LeagueRow(**ROW, peak=FIGURE).figures == {"peak": FIGURE}
    with pytest.raises(ValueError, match="peak"):
        LeagueRow(**ROW, peak=0.5)


def test_every_metric_is_described_and_the_one_of_people_with_them() -> None:
    found = layout.described((*BUILT_IN, METRIC))
    assert list(found) == [*(metric.name for metric in BUILT_IN), "peak", "image_auroc"]
    assert (found["peak"].title, found["peak"].lowest, found["peak"].unit) == (METRIC.title, -1.0, "hit or miss")
    assert not found["false_clusters"].higher_is_better


def test_every_run_has_titles_of_the_models_beside_the_federated_one_and_says_those_of_its_own() -> None:
    results = run_results(titles={"atlas": "the atlas"})
    assert list(map(results.title, ("local", "pooled", "atlas", "ditto"))) == [
        "each site alone",
        "all scans in one place",
        "the atlas",
        "ditto",
    ]
