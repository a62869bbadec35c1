"""A real SuperLink and three real nodes with TLS and keys on this machine: the federation that hospitals run."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import assert_same, normfed, run_folder, weights

from normfed_common.study.config import StudyConfig
from normfed_common.study.load import resolve
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.operation.ledger import State

pytestmark = pytest.mark.xdist_group("deployment")

ROUNDS = 4
WITHIN_S = 240.0


@pytest.fixture(scope="module")
def small(study: StudyConfig) -> StudyConfig:
    """The tiny study with nothing beside its federated model."""
    raw = study.model_dump(mode="json")
    raw["federation"] |= {"rounds": ROUNDS}
    raw["comparisons"] |= {"local": False, "pooled": False, "baselines": []}
    return resolve(raw, "test")


@pytest.fixture(scope="module")
def federation(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("federation")
    with Rehearsal(folder, hospitals, {name: (name,) for name in "abc"}, wired=True).up() as up:
        yield up


@pytest.fixture(scope="module")
def simulated(small: StudyConfig, hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study on the local engine."""
    import yaml

    folder = tmp_path_factory.mktemp("simulated")
    (folder / "small.yaml").write_text(yaml.safe_dump(small.model_dump(mode="json")))
    result = normfed("simulate", folder / "small.yaml", "--out", folder / "runs", "--workers", 0, "--quiet")
    assert result.exit_code == 0, result.output
    return run_folder(folder / "runs")


def worked(federation: Rehearsal, run: str) -> dict[str, list[str]]:
    """Site to the rounds that it trained, in order, as its own log says."""
    found = {}
    for site in federation.sites:
        text = (federation.folder / site / "state" / run / "site.log").read_text()
        found[site] = re.findall(r"train\.round federated round (\d+): worked", text)
    return found


def test_deployed_federation_gives_the_weights_of_the_simulation_bit_for_bit(
    federation: Rehearsal, small: StudyConfig, simulated: Path
) -> None:
    run = federation.begin(small)
    entry = federation.wait(run, WITHIN_S)
    assert entry.state is State.FINISHED, entry.why
    folder = federation.home.runs / run
    assert_same(weights(folder), weights(simulated))
    assert worked(federation, run) == {site: [str(n) for n in range(1, ROUNDS + 1)] for site in "abc"}
    assert (folder / "report.html").stat().st_size > 100_000
    assert list(folder.rglob(".*")) == []  # nothing half-written


@pytest.mark.parametrize("role", ["serverapp", "worker", "superlink"])
def test_a_killed_process_costs_nothing(federation: Rehearsal, small: StudyConfig, simulated: Path, role: str) -> None:
    run = federation.begin(small, canary=False)
    events = federation.home.runs / run / "events.jsonl"
    _until(lambda: events.exists() and '"event": "round"' in events.read_text())
    pid = federation.pid(role, site="b", run=run)  # type: ignore[arg-type]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    entry = federation.wait(run, WITHIN_S)
    assert entry.state is State.FINISHED, entry.why
    assert_same(weights(federation.home.runs / run), weights(simulated))
    assert worked(federation, run) == {site: [str(n) for n in range(1, ROUNDS + 1)] for site in "abc"}


def _until(condition, within_s: float = 120.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
