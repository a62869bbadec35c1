"""What an operator types, and what is answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import normfed
from members import accepted, begun

from normfed_common.foundation.errors import UserError
from normfed_server.state.folder import ServerHome, open_home
from normfed_server.state.ledger import State


def test_the_list_of_runs_cuts_neither_names_nor_commands(home: ServerHome, monkeypatch: pytest.MonkeyPatch) -> None:
    name, folder = "a-study-with-a-rather-long-name-20260101-120000", "/srv/federation/" + "x" * 70
    ledger = home.ledger
    ledger.add(name)
    ledger.set(name, State.FAILED, f"it failed. See {folder}/server.log; then: normfed server resume {name}")
    monkeypatch.setenv("COLUMNS", "60")
    lines = normfed("server", "runs", "--home", home.folder).output.splitlines()
    assert lines[0].startswith(f"{name}  ")
    assert any(f"{folder}/server.log" in line for line in lines)
    assert sum(name in line for line in lines) == 2


def test_why_a_run_failed_may_hold_whatever_a_site_said(home: ServerHome, tmp_path: Path, study: Any) -> None:
    """Once a bracket in it ended `follow` with a traceback."""
    accepted(home, "a", tmp_path)
    name = begun(home, study)
    home.ledger.set(name, State.FAILED, "a: array 'w' is [/x] of \x1b[2J.")
    result = normfed("server", "follow", name, "--home", home.folder)
    assert result.exit_code == 2
    assert "is [/x] of" in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize(("state", "code"), [(State.FINISHED, 0), (State.PARTIAL, 3)])
def test_resuming_what_finished_says_that_it_cannot_do_anything(
    home: ServerHome, tmp_path: Path, study: Any, state: State, code: int
) -> None:
    accepted(home, "a", tmp_path)
    name = begun(home, study)
    ledger = home.ledger
    ledger.set(name, state, "Partial: the federated model was trained without d in round 3.")
    result = normfed("server", "resume", name, "--home", home.folder)
    assert result.exit_code == code
    assert ("cannot be made up for by resuming" in result.output) == (state is State.PARTIAL)
    assert ("trained without d in round 3" in result.output) == (state is State.PARTIAL)
    assert ledger.get(name).state is state


def test_what_the_operator_types_is_answered_in_sentences(tmp_path: Path, home: ServerHome) -> None:
    where = ("--home", home.folder)
    for arguments, sentence in (
        (("server", "runs", "--home", tmp_path / "none"), "not a server's folder"),
        (("server", "enrol", "a b", *where), "cannot be a site's name"),
        (("server", "accept", tmp_path / "x.pub", *where), "not a site's public key"),
        (("server", "revoke", "x", *where), "No site is called x"),
        (("server", "stop", "x", *where), "No run is called x"),
        (("server", "resume", "x", *where), "No run is called x"),
        (("server", "excuse", "x", "y", *where), "No run is called x"),
        (("server", "export", "../../etc", *where), "No run is called"),
        (("server", "init", "--name", "F", "--address", "no port", "--home", tmp_path / "s"), "host:port"),
        (("site", "start", "--home", tmp_path / "none"), "not a site's folder"),
    ):
        with pytest.raises(UserError, match=sentence):
            normfed(*arguments)
    (home.folder / "server.yaml").write_text("name: F\naddress: f:1\nmonitor_prt: 3\n")
    with pytest.raises(UserError, match="monitor_prt is not a key that this file knows"):
        open_home(home.folder)
