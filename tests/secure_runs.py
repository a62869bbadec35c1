"""Whole runs of six small hospitals in this process, with secure sums or without, and what the server receives."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from attacker import study
from flwr.app import Message
from flwr.serverapp import Grid

from normfed_client.hospital.config import CustodyConfig
from normfed_client.hospital.folder import open_hospital
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import asked, refusal
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.runs.folder import begin
from normfed_server.sites.asking import Asker
from normfed_server.sites.participants import Simulated
from normfed_simulation import run_folder as runs
from normfed_simulation.engines import local

# Patients at one of them: what is added up is of healthy people, and a test of a model takes longer than its training.
SITES = {name: {"control": 7 + number, "WMH": 4 if name == "a" else 0} for number, name in enumerate("abcdef")}
RULES = {"minimum_people": 4, "minimum_people_per_voxel": 4, "held_out_share": 0.0, "device": "cpu"}
SECURE: dict[str, Any] = {"privacy": {"secure_aggregation": True}}
Tamper = Callable[[Message, Message], Message]


def small(**changes: Any) -> StudyConfig:
    """One round of a siamese network, whose patches are summed before."""
    network = {
        "name": "siamese",
        "architecture": "isbi",
        "patch_size": 9,
        "norm": "layer",
        "pairs_per_subject": 20,
        "batch_size": 20,
    }
    sections = {"federation": {"minimum_cohort": 4, "rounds": 1}, "comparisons": {"baselines": []}, "model": network}
    return study(**(sections | changes))


def forgiving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on without the sums of a site that fails, as deployed ones do."""

    def asker(_self: Simulated, grid: Grid, stop: threading.Event, _study: StudyConfig) -> Asker:
        return Asker(grid, stop, forgiving=True)

    monkeypatch.setattr(Simulated, "asker", asker)


def hospitals(folder: Path, data: Path, **rules: Any) -> dict[str, CustodyConfig]:
    """Six hospitals that compared the fingerprints of their keys."""
    made = Rehearsal(folder, data, {name: (name,) for name in SITES}, settings=RULES | rules)
    return {site: open_hospital(made.folder / site).custody("run") for site in SITES}


def prepare(
    wanted: StudyConfig, folder: Path, data: Path, scans: Path, custody: Mapping[str, CustodyConfig] | None = None
) -> runs.Run:
    """A run that has not begun."""
    folder.mkdir(exist_ok=True)
    run = begin(wanted, folder)
    runs.write_site_configs(run, data, list(SITES), scans, "cpu", custody or {})
    return run


def play(run: runs.Run, tamper: Tamper | None = None) -> Path:
    """Run it, or go on with it, in this process; returns its folder."""
    before = dict(os.environ)
    try:
        local.run(run.folder, run.sites_file, len(SITES), 0, tamper)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return run.folder


def model(folder: Path, arm: str = "federated") -> Arrays:
    """What an arm learnt."""
    return named.load(folder / "arms" / arm / "model.safetensors")


def drop_out(site: str, task: str, of: str = "train.round") -> Tamper:
    """A site that fails at one task of an exchange, in rounds or in sums."""

    def tamper(request: Message, reply: Message) -> Message:
        said = asked(request)
        step = said.step
        about = step.of if step is not None else said.task
        node = sorted(SITES).index(site) + 1
        if request.metadata.dst_node_id == node and said.task == task and about == of:
            return refusal(request, SiteCode.INTERNAL)
        return reply

    return tamper
