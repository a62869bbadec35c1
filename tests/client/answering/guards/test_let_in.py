"""A study's plug-ins are held against what the hospital lets in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jobs import job

from normfed_client.answering.guards.let_in import LetIn
from normfed_client.hospital import plugins
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.registry import Plugin
from normfed_common.wire.requests import Sums

SUMS = Sums(phase="moments")


def guard(**let_in: str) -> LetIn:
    """That of a hospital of which only the list of plug-ins is looked at."""
    hospital: Any = SimpleNamespace(config=SimpleNamespace(plugins=let_in))
    return LetIn(hospital)


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One plug-in is on this machine."""
    here = {"unet": plugins.InstalledPlugin(Plugin("unet", "1.0"), "models: unet")}
    monkeypatch.setattr(plugins, "installed", lambda: here)


def test_a_study_without_plug_ins_passes_whatever_is_let_in(tmp_path: Path) -> None:
    guard(unet="1.0").inbound(job(tmp_path, SUMS))
    guard().inbound(job(tmp_path, SUMS))


def test_a_plug_in_that_is_let_in_passes(tmp_path: Path) -> None:
    guard(unet="1.0").inbound(job(tmp_path, SUMS, plugins={"unet": "1.0"}))


@pytest.mark.parametrize(
    ("let_in", "wanted", "code"),
    [
        ({}, {"unet": "1.0"}, SiteCode.PLUGIN_REFUSED),
        ({"unet": "0.9"}, {"unet": "1.0"}, SiteCode.PLUGIN_REFUSED),
        ({"unet": "1.0"}, {"unet": "1.1"}, SiteCode.VERSION_DIFFERS),
        ({"unet": "1.0"}, {"unet": "1.0", "other": "1.0"}, SiteCode.PLUGIN_REFUSED),
    ],
    ids=["not let in", "let in in another version", "another at the server", "not here"],
)
def test_any_other_plug_in_does_not_pass(
    tmp_path: Path, let_in: dict[str, str], wanted: dict[str, str], code: SiteCode
) -> None:
    with pytest.raises(SiteError) as caught:
        guard(**let_in).inbound(job(tmp_path, SUMS, plugins=wanted))
    assert caught.value.code is code
