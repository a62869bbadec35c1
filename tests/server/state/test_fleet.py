"""What an operator sees of the fleet: what sites said of themselves last, and what becomes of them at an upgrade."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from members import accepted

from normfed_common.foundation.errors import SiteCode
from normfed_server.state import admission, fleet_rows
from normfed_server.state.fleet import FleetNotes, heard
from normfed_server.state.fleet_rows import FleetRow, fleet, shut_out_next
from normfed_server.state.folder import ServerHome

MACHINE = {"normfed": "0.2.0", "protocol": 1, "flwr": "1.41.0", "torch": "2.13.0", "python": "3.12.1", "disk_gb": 9.5}


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is of 0.2.0."""
    monkeypatch.setattr(fleet_rows, "installed_version", lambda: "0.2.0")


def row(home: ServerHome, site: str = "a", running: bool = True) -> FleetRow:
    return next(row for row in fleet(home, running) if row.site == site)


def test_a_site_goes_from_invited_to_connected_and_away(home: ServerHome, tmp_path: Path) -> None:
    admission.enrol(home, "a", people=40)
    assert (row(home).state, row(home).people, row(home).fits) == ("invited", 40, "not known")
    admission.revoke(home, "a")
    assert row(home).state == "revoked"
    accepted(home, "b", tmp_path)
    assert (row(home, "b").state, row(home, "b").since) == ("accepted", "")
    for online, state in ((True, "connected"), (False, "away")):
        admission.write_seen(home, {"b": {"id": 5, "online": online, "since": "2026-11-27T10:00:00+00:00"}})
        assert (row(home, "b").state, row(home, "b").online) == (state, online)
        assert row(home, "b").since == "2026-11-27T10:00:00+00:00"
    admission.write_seen(home, {"b": {"id": 5, "online": True, "since": ""}})
    assert row(home, "b", running=False).state == "away"


def test_what_a_site_said_stays_and_why_it_does_not_fit_is_its_latest_reason(home: ServerHome, tmp_path: Path) -> None:
    accepted(home, "a", tmp_path)
    FleetNotes(home, "run-1").described("a", MACHINE)
    assert (row(home).machine, row(home).run, row(home).fits, row(home).unfit) == (MACHINE, "run-1", "yes", ())
    assert row(home).server_up_to == "0.3"
    FleetNotes(home, "run-1").judged({"a": ["needs disk"], "b": []})
    assert (row(home).fits, row(home).unfit) == ("no", ("needs disk",))
    FleetNotes(home, "run-2").refused("a", SiteCode.BUNDLE_REFUSED)
    first, second = row(home).unfit
    assert first.startswith("refused run-2: the site does not accept the app bundle")
    assert second == "needs disk"
    assert row(home).machine == MACHINE
    FleetNotes(home, "run-3").described("a", {**MACHINE, "normfed": "0.3.1"})
    assert (row(home).fits, row(home).unfit, row(home).version) == ("yes", (), "0.3.1")
    assert row(home).heard.startswith("20")


def test_a_version_that_is_too_far_away_does_not_fit_and_the_next_release_shuts_out_the_one_before(
    home: ServerHome, tmp_path: Path
) -> None:
    said = {"a": "0.1.4", "b": "0.2.0", "c": "0.3.0", "d": "0.4.0", "e": "0.1.0"}
    for site, version in said.items():
        accepted(home, site, tmp_path)
        FleetNotes(home, "run").described(site, {"normfed": version})
    admission.revoke(home, "e")
    assert {r.site for r in fleet(home) if r.fits == "no"} == {"d"}
    assert row(home, "d").unfit[0].endswith("update the server")
    assert [(r.site, r.server_up_to) for r in shut_out_next(fleet(home))] == [("a", "0.2")]


def test_the_code_of_a_newer_version_is_kept_and_shown(home: ServerHome, tmp_path: Path) -> None:
    accepted(home, "a", tmp_path)
    FleetNotes(home, "run").refused("a", 299)
    assert row(home).unfit == ("refused run: a reason that only newer versions of normfed know (code 299) (code 299)",)


@pytest.mark.parametrize("text", ["", "[]", '{"sites": {"../a": {}}}', '{"sites": {"a": {"refused": {"code": 7}}}}'])
def test_a_damaged_note_is_no_note_and_is_written_anew(home: ServerHome, text: str) -> None:
    home.fleet.write_text(text)
    assert heard(home) == {}
    FleetNotes(home, "run").described("a", MACHINE)
    assert set(heard(home)) == {"a"}


def test_runs_side_by_side_lose_nothing_of_each_other(home: ServerHome) -> None:
    start = threading.Barrier(8)

    def note(number: int) -> None:
        start.wait()
        FleetNotes(home, f"run-{number}").described(f"s{number}", MACHINE)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(note, range(8)))
    assert set(heard(home)) == {f"s{number}" for number in range(8)}
