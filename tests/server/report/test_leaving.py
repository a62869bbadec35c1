"""What left, counted from a run's figures and events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from guarantees import figures, guarantee
from run_results import history, run_results

from normfed_server.report.leaving import sent

EVENTS: list[dict[str, Any]] = [
    {"time": 1.0, "event": "plan", "arms": [], "left_out": {}}
    | {"sites": {site: {"train": 9, "held_out": 0, "test": 9, "kinds": []} for site in "abc"}},
    *(
        {"time": 1.0, "event": "stage", "arm": arm, "stage": n, "stages": 2}
        for arm, n in (("x", 1), ("x", 2), ("y", 1))
    ),
    {"time": 1.0, "event": "stage", "arm": "x", "stage": 2, "stages": 2},  # said again by a run that went on
    {"time": 1.0, "event": "evaluated", "arm": "x", "sites": ["a", "b"]},
    {"time": 1.0, "event": "evaluated", "arm": "y", "sites": ["a"]},
]
ROUND = {"outcomes": {"a": "took part", "b": "late", "c": "took part"}, "megabytes": {"out": 9.0, "back": 1.25}}
ROUNDS: dict[str, Any] = {"rounds": history(ROUND), "rounds_of": {"y": [ROUND, ROUND]}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "events.jsonl").write_text("\n".join([*map(json.dumps, EVENTS), '{"half of a line']))
    return tmp_path


def test_messages_are_counted_over_all_models(folder: Path) -> None:
    found = {row.what: (row.number, row.megabytes) for row in sent(folder, run_results(**ROUNDS))}
    assert found == {
        "Who takes part": ("1 per hospital (3)", None),
        "Sums over people": ("3 stages of 2 models", None),
        "Rounds of training": ("6", 3.75),
        "How well lesions are found": ("up to 3 for each model and hospital (3 such pairs)", None),
    }


def test_a_run_whose_events_are_gone_says_what_its_figures_say(tmp_path: Path) -> None:
    found = {row.what: row.number for row in sent(tmp_path, run_results(**ROUNDS))}
    assert found == {
        "Who takes part": "1 per hospital",
        "Rounds of training": "6",
        "How well lesions are found": "up to 3 for each model and hospital",
    }


@pytest.mark.parametrize(
    ("said", "sums", "rounds"),
    [
        (None, "no", "no"),
        ({"minimum_sites": 4}, "no", "no"),
        ({"people": guarantee()}, "yes", "yes"),
        ({"people": guarantee("sample")}, "yes", "of single samples only"),
        ({"sites": guarantee("site")}, "no", "only from whoever sees the models, not from the server"),
    ],
)
def test_what_the_guarantee_covers_is_said_of_each_kind(
    folder: Path, said: dict[str, Any] | None, sums: str, rounds: str
) -> None:
    privacy = {} if said is None else {"privacy": figures(**said).model_dump(mode="json")}
    found = {row.what: row.covered for row in sent(folder, run_results(**ROUNDS, **privacy))}
    assert found == {
        "Who takes part": "no",
        "Sums over people": sums,
        "Rounds of training": rounds,
        "How well lesions are found": "no",
    }
