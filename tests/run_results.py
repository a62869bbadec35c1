"""Results of made-up runs, of which a test says only what matters to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from normfed_common.foundation.files import without_nan
from normfed_server.events.rounds import RoundFigures
from normfed_server.results.layout import RunResults

ENTRY = {"round": 1, "loss": {}, "seconds": 1.0, "outcomes": {}, "megabytes": {"out": 0.0, "back": 0.0}}
LISTS = ("sites", "rounds", "league")
TABLES = (
    *("left_out", "failed", "not_served", "strategies", "rounds_of", "missing"),
    *("evaluation", "matrix", "differences"),
)
NOTHING: dict[str, Any] = {"study": "tiny", "digest": "0" * 64, "seed": 7, "hospital_time": None}
NOTHING |= {key: [] for key in LISTS} | {key: {} for key in TABLES}


def history(*entries: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries of a history, as they are kept; what is not said of a round is nothing."""
    return [{**ENTRY, **entry} for entry in entries]


def rounds(*entries: Mapping[str, Any]) -> tuple[RoundFigures, ...]:
    """The same, typed."""
    return tuple(RoundFigures.of_entry(entry) for entry in history(*entries))


def run_results(rounds: Sequence[Mapping[str, Any]] = (), **said: Any) -> RunResults:
    """metrics.json with these keys; all others are empty."""
    of_others = {name: history(*entries) for name, entries in said.pop("rounds_of", {}).items()}
    whole = {**NOTHING, "rounds": history(*rounds), "rounds_of": of_others, **said}
    return RunResults.model_validate_json(json.dumps(without_nan(whole)))
