"""Sites of a run that is opened again: nothing is written where somebody else's run says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.simulated import read_sites, read_sites_again, write_sites


@pytest.mark.parametrize(
    ("cache", "owner", "kept"),
    [("there", os.getuid(), True), ("there", os.getuid() + 1, False), ("gone", os.getuid(), False)],
    ids=["of this user", "of another user", "of another machine"],
)
def test_the_cache_of_a_run_is_used_again_only_where_it_is_this_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, owner: int, kept: bool
) -> None:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "mine"))
    (tmp_path / "there").mkdir()
    written = SiteConfig(name="a", data=tmp_path, owns=("a",), cache=tmp_path / cache, output=tmp_path)
    write_sites(tmp_path / "sites.json", (written,))
    monkeypatch.setattr(os, "getuid", lambda: owner)
    (found,) = read_sites_again(tmp_path / "sites.json")
    assert found.cache == (tmp_path / cache if kept else tmp_path / "mine" / "scans")
    assert found.model_copy(update={"cache": written.cache}) == written
    assert read_sites(tmp_path / "sites.json") == (written,)
