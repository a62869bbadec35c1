"""The process of a run: whom it waits for, and what is left of how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from members import accepted, begun

from normfed_common.foundation.errors import RunError
from normfed_server import deployment
from normfed_server.runs import steering
from normfed_server.state import admission
from normfed_server.state.folder import ServerHome
from normfed_server.state.notes import CRASH, LOG, OUTCOME


@pytest.mark.parametrize(
    ("error", "note", "found"),
    [
        (ZeroDivisionError("a bug"), CRASH, {"lost": False, "why": "ZeroDivisionError: a bug"}),
        (httpx.ConnectError("refused"), CRASH, {"lost": True, "why": "ConnectError: refused"}),
        (PermissionError("no"), CRASH, {"lost": False, "why": "PermissionError: no"}),
        (RunError("Site b refuses."), OUTCOME, {"state": "failed", "why": "Site b refuses."}),
    ],
)
def test_whatever_ends_a_runs_process_is_in_its_log(
    home: ServerHome,
    tmp_path: Path,
    study: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    note: str,
    found: dict[str, Any],
) -> None:
    accepted(home, "a", tmp_path)
    name = begun(home, study)

    def ends(*_: object) -> None:
        raise error

    monkeypatch.setattr(deployment, "_coordinate", ends)
    with pytest.raises(type(error)):
        deployment.run(None, name, 7, home.folder)  # type: ignore[arg-type]
    assert str(error) in (home.runs / name / LOG).read_text()
    assert json.loads((home.runs / name / note).read_text()).items() >= found.items()


def test_nobody_waits_for_a_site_that_is_excused_or_revoked(home: ServerHome, tmp_path: Path) -> None:
    for site in "abc":
        accepted(home, site, tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    assert deployment.Excused(folder, home)() == frozenset()
    admission.revoke(home, "a")
    steering.excuse(home, folder, "b")
    assert deployment.Excused(folder, home)() == {"a", "b"}
