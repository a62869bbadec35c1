"""The table of the fleet, wide, narrow and for scripts; and the warning before the next release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import normfed
from members import accepted

from normfed_common.foundation.versions import installed_version, release
from normfed_server.state import admission
from normfed_server.state.fleet import FleetNotes
from normfed_server.state.folder import ServerHome

MAJOR, MINOR = release(installed_version()) or (0, 0)
OLDER, FAR = f"{MAJOR}.{MINOR - 1}.3", f"{MAJOR}.{MINOR + 2}.0"


@pytest.fixture
def fleet(home: ServerHome, tmp_path: Path) -> ServerHome:
    machine = {"flwr": "1.41.0", "torch": "2.13.0+cpu", "python": "3.11.7", "gpu": "[/]\x1b[2J"}
    for site, version in (("a", installed_version()), ("b", FAR)):
        accepted(home, site, tmp_path)
        FleetNotes(home, "run").described(site, {**machine, "normfed": version})
    admission.enrol(home, "c", people=12)
    return home


@pytest.mark.parametrize("columns", [60, 160])
def test_every_site_is_there_with_its_version_and_why_it_does_not_fit(
    fleet: ServerHome, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    output = normfed("server", "fleet", "--home", fleet.folder).output
    assert "it does not run" in output
    for word in ("away", "accepted", "invited", installed_version(), FAR, "2.13.0+cpu", "12", "not known"):
        assert (word in output) == (word != "away"), word
    assert "update the server" in " ".join(output.split())
    assert "\x1b" not in output
    assert columns > 100 or max(map(len, output.splitlines())) <= columns


def test_for_scripts_there_is_a_line_of_json_per_site(fleet: ServerHome) -> None:
    printed = normfed("server", "fleet", "--json", "--home", fleet.folder).output
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [(line["site"], line["state"], line["fits"]) for line in lines] == [
        ("a", "accepted", "yes"),
        ("b", "accepted", "no"),
        ("c", "invited", "not known"),
    ]
    assert lines[1]["machine"]["normfed"] == FAR


def test_a_site_that_the_next_release_shuts_out_is_named_by_status(
    fleet: ServerHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normfed_server.state.fleet_rows.installed_version", lambda: "4.2.0")
    accepted(fleet, "d", tmp_path)
    FleetNotes(fleet, "run").described("d", {"normfed": "4.1.0"})
    output = " ".join(normfed("server", "status", "--home", fleet.folder).output.split())
    assert "d has normfed 4.1.0" in output
    assert "works with servers up to 4.2" in output
