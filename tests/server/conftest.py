"""An operator's folder, and one whose run is watched."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from members import accepted, begun

from normfed_server.state import admission
from normfed_server.state.folder import ServerConfig, ServerHome, create

MACHINE = {
    **dict.fromkeys(("normfed", "flwr", "torch", "python"), "1.0"),
    "study": "x",
    "cores": 4,
    "memory_gb": 8.0,
    "disk_gb": 99.0,
    "people": "10–29",
    "power_w": 180.0,
}


EVENTS: list[dict[str, Any]] = [
    {"time": 1.0, "event": "plan", "arms": [["federated", 4, ["a"]]], "sites": {}, "left_out": {}},
    {"time": 1.0, "event": "fit", "sites": {"a": MACHINE}, "needs": {}, "findings": []},
    *(
        {
            "time": 10.0 * n,
            "event": "round",
            "arm": "federated",
            "round": n,
            "rounds": 4,
            "loss": {"a": 1.0 / n},
            "seconds": 10.0,
            "outcomes": {"a": "took part"},
            "reasons": {},
            "site_seconds": {"a": 20.0},
            "megabytes": {"out": 2.0, "back": 3.0},
        }
        for n in (1, 2)
    ),
    {"time": 21.0, "event": "waiting", "arm": "federated", "round": 3, "sites": {"a": False}, "seconds": 15},
]


@pytest.fixture
def home(tmp_path: Path) -> ServerHome:
    return create(tmp_path / "server", ServerConfig(name="F", address="fed.example.org:8000"))


@pytest.fixture
def watched(home: ServerHome, tmp_path: Path, study: Any) -> tuple[ServerHome, str]:
    accepted(home, "a", tmp_path)
    admission.write_seen(home, {"a": {"id": 5, "online": True, "since": datetime.now(UTC).isoformat()}})
    name = begun(home, study)
    with open(home.runs / name / "events.jsonl", "w") as file:
        file.writelines(json.dumps(event) + "\n" for event in EVENTS)
        file.write('{"time": 22.0, "event": "rou')  # half a line: it is being written just now
    return home, name
