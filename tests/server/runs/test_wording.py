"""Every event of a run in the words that a person reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from normfed_server.events.kinds import parse
from normfed_server.runs.wording import Mark, worded
from normfed_server.sites.closing import Outcome

ROUND: dict[str, Any] = {
    "event": "round",
    "arm": "federated",
    "round": 2,
    "rounds": 5,
    "loss": {"a": 1.0, "b": 2.0},
    "outcomes": {"a": "took part", "b": "took part"},
    "seconds": 89.6,
    "megabytes": {"out": 1.0, "back": 1.0},
}
SITE = {"train": 3, "held_out": 2, "test": 1, "kinds": ["MS"]}
MACHINE = {
    **dict.fromkeys(("normfed", "flwr", "torch", "python"), "1.0"),
    "study": "x",
    "cores": 4,
    "memory_gb": 8.0,
    "disk_gb": 99.0,
    "people": "10–29",
}


def words(event: dict[str, Any]) -> list[tuple[Mark, str]]:
    """Of an event as it stands in the file."""
    read = parse(json.dumps({"time": 0.0, **event}))
    assert read is not None
    return list(worded(read))


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        ({"event": "connecting", "sites": ["a", "b"]}, [("look", "waiting for a, b to connect")]),
        (
            {
                "event": "plan",
                "sites": {"a": SITE, "b": SITE},
                "arms": [["federated", 3, ["a", "b"]], ["local-a", 3, ["a"]], ["atlas", 0, ["a"]]],
                "left_out": {"c": "takes no part: few"},
            },
            [("good", "2 sites, 3 models to train"), ("look", "c takes no part: few")],
        ),
        (
            {"event": "fit", "sites": {"a": MACHINE, "b": MACHINE}, "needs": {}, "findings": []},
            [("good", "fit to run: a, b")],
        ),
        (
            {
                "event": "fit",
                "sites": {"a": MACHINE},
                "needs": {"site_memory_gb": 1.5},
                "findings": [
                    {"where": "a", "text": "has 1 GB of memory", "fatal": True},
                    {"where": "b", "text": "has an old driver", "fatal": False},
                ],
            },
            [("bad", "a has 1 GB of memory"), ("look", "b has an old driver")],
        ),
        ({"event": "canary", "arm": "federated", "sites": ["a"]}, [("plain", "canary: one batch per site")]),
        (
            {
                "event": "canary back",
                "arm": "federated",
                "sites": {"a": {"seconds": 1.4, "megabytes": 1.0}, "b": {"seconds": 61.6, "megabytes": 1.0}},
            },
            [("good", "the canary came back: a 1 s, b 62 s")],
        ),
        (ROUND, [("good", "federated round 2 of 5: loss 1.500, 2 of 2 sites, 90 s")]),
        (
            {"event": "asked again", "site": "a", "why": "its link was cut"},
            [("look", "a is asked again: its link was cut")],
        ),
        (
            {"event": "joined", "arm": "federated", "site": "d", "round": 3},
            [("look", "federated: d joins from round 3 on")],
        ),
        (
            {"event": "failed", "arm": "ditto", "why": "Site b refuses."},
            [("bad", "ditto could not be trained to the end. Site b refuses.")],
        ),
        (
            {
                "event": "damaged",
                "arm": "ditto",
                "file": "model.safetensors",
                "kept": "m.damaged-1",
                "why": "cut short",
            },
            [("look", "ditto: model.safetensors is damaged (cut short); kept as m.damaged-1, made again")],
        ),
        (
            {"event": "note", "arm": "ditto", "site": "a", "text": "it lost its part"},
            [("look", "ditto, a: it lost its part")],
        ),
        ({"event": "evaluated", "arm": "ditto", "sites": ["a", "b"]}, [("good", "ditto tested at 2 sites")]),
        ({"event": "finished"}, []),
        ({"event": "of a later version"}, []),
    ],
    ids=lambda value: value["event"] if isinstance(value, dict) else "",
)
def test_what_happens_is_said_in_so_many_words(event: dict[str, Any], lines: list[tuple[str, str]]) -> None:
    assert words(event) == lines


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.TOOK_PART])
def test_a_round_in_which_somebody_is_missing_is_looked_at_twice(outcome: Outcome) -> None:
    event = {**ROUND, "loss": {"a": 1.0}, "outcomes": {"a": "took part", "b": str(outcome)}}
    assert words(event) == [("look", "federated round 2 of 5: loss 1.000, 1 of 2 sites, 90 s")]


@pytest.mark.parametrize(
    ("loss", "shown"), [({}, "nan"), ({"a": None, "b": 2.0}, "2.000"), ({"a": None, "b": None}, "nan")]
)
def test_a_site_that_says_no_loss_is_not_counted_in_its_mean(loss: dict[str, float | None], shown: str) -> None:
    """A site may leave its loss out, and whoever follows the run must not fall over it."""
    ((_, text),) = words({**ROUND, "loss": loss})
    assert f": loss {shown}, " in text


@pytest.mark.parametrize(
    ("sites", "mark", "text"),
    [
        ({"a": True, "b": True}, "plain", "a, b at work"),
        ({"a": False, "b": False}, "look", "a, b not connected"),
        ({"a": True, "b": False, "c": True}, "look", "a, c at work; b not connected"),
    ],
)
def test_who_is_waited_for_is_at_work_or_gone(sites: dict[str, bool], mark: str, text: str) -> None:
    event = {"event": "waiting", "arm": "federated", "round": 3, "seconds": 45, "sites": sites}
    assert words(event) == [(mark, f"federated round 3, 45 s: {text}")]


@pytest.mark.parametrize(("round", "where"), [(3, "round 3"), (0, "at the end")])
@pytest.mark.parametrize("outcome", [*Outcome, "no figures"])
def test_who_is_missing_is_named_with_when_and_why(round: int, where: str, outcome: str) -> None:
    event = {"event": "missing", "arm": "ditto", "round": round, "site": "b", "outcome": outcome, "why": "disk full"}
    assert words(event) == [("look", f"ditto {where}, b {outcome}: disk full")]
