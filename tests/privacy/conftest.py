"""Three hospitals with rules of their own and a server that asks them whatever it likes; six sites of secure sums."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import cohorts
import pytest
import secure_runs
from attacker import RULES, SITES, Server

from normfed_deploy.rehearsal import Rehearsal
from normfed_server.state.folder import open_home


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three hospitals' dataset."""
    return cohorts.write(tmp_path_factory.mktemp("cohort"), SITES)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the six sites of secure sums."""
    return cohorts.write(tmp_path_factory.mktemp("six"), secure_runs.SITES)


@pytest.fixture(scope="session")
def scans(cache: Path) -> Path:
    """Their scans, preprocessed once."""
    return cache / "scans"


@pytest.fixture(scope="session")
def joined(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """The three hospitals as they joined: tests get copies."""
    folder = tmp_path_factory.mktemp("joined") / "federation"
    return Rehearsal(folder, cohort, {name: (name,) for name in SITES}, settings=RULES)


@pytest.fixture
def federation(joined: Rehearsal, tmp_path: Path, cache: Path) -> Rehearsal:
    """The three hospitals' folders; nothing runs."""
    made = copy.copy(joined)
    made.folder = shutil.copytree(joined.folder, tmp_path / "federation")
    made.home = open_home(made.folder / "server")
    for site in SITES:  # scans are preprocessed once for all tests
        (cache / "scans").mkdir(exist_ok=True)
        (made.folder / site / "cache").symlink_to(cache / "scans")
    return made


@pytest.fixture
def server(federation: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that asks the hospital `north`."""
    return Server(federation.folder / "north", monkeypatch)
