"""How an extra is installed, and a program run, as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from normfed_common.wording import installing


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which pip notes how normfed was installed; in an environment that the shell has activated."""
    folder = tmp_path / "normfed-1.0.dist-info"
    folder.mkdir()

    def found(_: str) -> Distribution:
        return PathDistribution(folder)

    monkeypatch.setattr(installing, "distribution", found)
    monkeypatch.setattr(installing, "program", lambda name: name)
    return folder


def note(folder: Path, clone: Path, editable: bool) -> None:
    told = {"url": clone.as_uri(), "dir_info": {"editable": editable} if editable else {}}
    (folder / "direct_url.json").write_text(json.dumps(told))


def test_of_a_package_index_an_extra_is_named(installed: Path) -> None:
    assert installing.with_extra("export") == "pip install 'normfed[export]'"


def test_of_a_clone_in_place_it_is_the_clone_s(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "my clone"
    clone.mkdir()
    note(installed, clone, editable=True)
    assert installing.with_extra("export") == f"pip install -e '{clone}[export]'"
    monkeypatch.chdir(clone)
    assert installing.with_extra("export") == "pip install -e '.[export]'"


def test_of_a_folder_that_was_copied_it_is_named(installed: Path, tmp_path: Path) -> None:
    note(installed, tmp_path, editable=False)
    assert installing.with_extra("export") == "pip install 'normfed[export]'"


def test_a_program_is_what_the_shell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = tmp_path / "env" / "bin", tmp_path / "other"
    for folder, text in ((ours, "ours"), (other, "other")):
        folder.mkdir(parents=True)
        (folder / "tool").write_text(f"#!/bin/sh\necho {text}\n")
        (folder / "tool").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(ours / "python"))
    monkeypatch.chdir(tmp_path)
    for path, typed in ((ours, "tool"), (other, "env/bin/tool")):
        monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
        assert installing.program("tool") == typed
        assert subprocess.run(typed, shell=True, capture_output=True, check=True).stdout == b"ours\n"
    assert installing.program("not-there") == "not-there"
