"""Tiny synthetic hospitals, made once for all tests."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import synthetic
import torch
import yaml
from plugins import Plugins
from threadpoolctl import threadpool_limits

from normfed_client.hospital.machine import repeatable
from normfed_common.foundation import registry
from normfed_common.foundation.quiet import QUIET_FLOWER
from normfed_common.models.catalogue import MODELS
from normfed_common.studies import load_study
from normfed_common.study.config import StudyConfig
from normfed_deploy.tiny import STUDY

# Machines are noisy, and a first call imports: how long an example takes says nothing.
hypothesis.settings.register_profile("steady", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("steady")

# What is written whole is synced to the disk, by us and by SQLite; in memory that costs nothing.
MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 4 * 2**30
if os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free > ENOUGH_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

REAL = Path(__file__).parents[2] / "shared" / "data" / "real-brains"

TINY = {key: value for key, value in STUDY.items() if key != "comparisons"} | {
    "name": "tiny",
    "model": {**STUDY["model"], "architecture": "isbi", "norm": "layer"},  # which every strategy can train
    "federation": {"rounds": 3, "minimum_cohort": 2},
}

# What the terminal that the tests are started in says of itself; commands print by it.
TERMINAL = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE")


class FailuresAtOnce:
    """Names a failing test when it fails, not at the end: a suite that is killed half-way has said what broke."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self.terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """See the class."""
        if report.failed:
            self.terminal.ensure_newline()
            self.terminal.write_line(f"FAILED {report.nodeid} ({report.when}): {report.longreprtext.splitlines()[-1]}")


def one_thread() -> None:
    """Networks this small only wait for a second thread, and workers of pytest-xdist take it from each other; here, in
    those workers, and in every process that a test begins."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    threadpool_limits(1)  # of what is loaded already
    torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where networks of tests that know no study compute: cpu or cuda")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set the device and one thread; name failures where there is a terminal: not in the workers of pytest-xdist."""
    one_thread()
    for name in TERMINAL:
        os.environ.pop(name, None)
    synthetic.DEVICE = torch.device(config.getoption("--device"))
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        config.pluginmanager.register(FailuresAtOnce(terminal))


# Longest first, and before all else: what comes last keeps one core busy while the other has nothing left to do.
LONG = ("deployment", "strategies", "journeys", "secure sums", "whole run", "audit", "registration")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the workers of pytest-xdist only: a person who runs some tests sees them in the order of the files."""
    if hasattr(config, "workerinput"):
        items.sort(key=_place)


def pytest_collection_finish() -> None:
    """Imported modules and thousands of tests are there to the end: looking through them for garbage took a seventh of
    the suite's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _place(item: pytest.Item) -> int:
    groups = {mark.args[0] for mark in item.iter_markers("xdist_group")}
    return next((place for place, group in enumerate(LONG) if group in groups), len(LONG))


@pytest.fixture(scope="session", autouse=True)
def as_at_a_site() -> Iterator[None]:
    """Sums repeat, on a GPU too."""
    with repeatable(synthetic.DEVICE):
        yield


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache, and a list of sites, of the tests' own, so that they never touch the user's."""
    root = tmp_path_factory.mktemp("cache")
    state = str(tmp_path_factory.mktemp("state"))
    os.environ.update(QUIET_FLOWER, NORMFED_CACHE=str(root), XDG_STATE_HOME=state)
    return root


@pytest.fixture(scope="session", autouse=True)
def undrawn() -> Iterator[None]:
    """Runs leave out a paper's tables and figures, seconds each, but where a test is about them."""
    from normfed_simulation import experiment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "write_paper", lambda run: [])
        yield


@pytest.fixture
def trying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that a test tries out are no other test's."""
    monkeypatch.setattr(registry, "_tried_out", set())
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))


@pytest.fixture(scope="session")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study as a file."""
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="session")
def study(study_file: Path) -> StudyConfig:
    """The tiny study, resolved."""
    return load_study(study_file)


@pytest.fixture(scope="session")
def hospitals(study: StudyConfig, cache: Path) -> Path:
    """The tiny study's dataset, where a run will find it."""
    from normfed_simulation.phantom import hospitals

    assert study.data.phantom is not None
    root = cache / "datasets" / "phantom" / hospitals.digest(study.data.phantom, study.seed)
    hospitals.write(study.data.phantom, study.seed, root, workers=1)
    return root


@pytest.fixture(scope="module")
def on_the_template() -> Iterator[None]:
    """Scans lie on the template without saying so: nothing is searched or registered, which is tested elsewhere."""
    from normfed_client.imaging import placement, registration

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "_to_template", lambda *_: np.eye(4))
        patch.setattr(registration, "rigid", lambda *_: np.eye(4))
        yield


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """Plug-ins of the test's own."""
    made = Plugins(tmp_path / "plugins", monkeypatch)
    yield made
    monkeypatch.undo()
    made.forget()


@pytest.fixture(scope="session")
def real_brains() -> Path:
    """The real scans, which are not part of the project."""
    if not REAL.is_dir():
        pytest.skip(f"the real scans are not at {REAL}")
    return REAL
