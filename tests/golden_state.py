"""What a hospital's and an operator's folder hold in the middle of a run, as this version writes it.

Run as a script it writes `golden/protocol-N/state` anew; see `golden_protocol`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_protocol import FOLDER, MACHINE
from jobs import STUDY

from normfed_client.hospital.blocks import Member
from normfed_client.hospital.bookkeeping.entries import Release
from normfed_client.hospital.bookkeeping.ledger import Ledger
from normfed_client.hospital.outbox import Outbox, digest
from normfed_client.hospital.people import PeopleSecret
from normfed_client.hospital.personal import PersonalStore
from normfed_client.hospital.releases import Releases
from normfed_client.hospital.rules import Rules
from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.versions import PROTOCOL
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.requests import Request, TrainRound
from normfed_server.events.kinds import Fit, FitMachine, Planned, PlannedArm
from normfed_server.events.log import EventLog
from normfed_server.state import admission, fleet
from normfed_server.state import ledger as runs
from normfed_server.state.folder import ServerConfig, ServerHome
from normfed_server.steps import progress
from normfed_server.steps.progress import Progress

RUN = "asked-20260101-120000"
SECRET = PeopleSecret(b"a secret of nobody")
PEOPLE = [Member(SECRET.digest(f"sub-{n:02d}"), "0" * 32) for n in range(12)]
RULES = Rules()
ARRAYS: Arrays = {"w": np.arange(4, dtype=np.float32), "n": np.array([3], np.int64)}
ANSWER = Answer(site="a", subjects=7, payload=Trained(loss=0.5, steps=3))
SPENT = Release("0f", "noise", (SampledGaussian(10.0),), RUN, "federated", "train.sums")


def request(version: str = "0.1.0") -> Request:
    """Round 2, asked by a server of some version."""
    payload = TrainRound(round=2, since=1)
    study, model = STUDY.model_dump_json(), STUDY.model
    return Request(study=study, run=RUN, protocol=1, version=version, arm="federated", model=model, payload=payload)


def key(version: str = "0.1.0") -> str:
    """Under which the answer is kept."""
    return digest(request(version), digests.of_arrays("", ARRAYS), RULES)


def network() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A tiny network after one step of Adam."""
    torch.manual_seed(3)
    net = torch.nn.Linear(2, 1)
    optimiser = torch.optim.Adam(net.parameters(), 0.1)
    net(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    return net, optimiser


def write_site(folder: Path) -> None:
    """What a hospital keeps."""
    (folder / "outbox").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    Outbox(folder / "outbox").put(key(), request(), ANSWER, ARRAYS)
    TrainingCheckpoints(folder / "checkpoints" / key(), 0.0).next().save(*network(), {"step": 5})
    PersonalStore(folder / "personal", "whose").save(1, ARRAYS, 0)
    record = Releases.create(folder / "releases.sqlite", SECRET)
    record.record("learning", PEOPLE, 10, "federated update", RUN)
    ledger = Ledger(folder / "ledger.sqlite")
    ledger.reserve(SPENT, lambda _entries, _entry: "")
    ledger.settle(SPENT.key, "1f")


def write_server(folder: Path) -> None:
    """What an operator keeps."""
    home = server(folder)
    (home.runs / RUN / "arms" / "federated").mkdir(parents=True)
    members = {
        "a": admission.Member(state="accepted", key="ecdsa AAAA", fingerprint="0F", changed="2026-01-01", people=40),
        "b": admission.Member(state="invited", changed="2026-01-02"),
    }
    home.sites.write_text(admission.Members(sites=members).model_dump_json())
    fleet.FleetNotes(home, RUN).described("a", MACHINE.model_dump())
    home.ledger.add(RUN)
    home.ledger.running(RUN, 7)
    (home.runs / RUN / "study.yaml").write_text(STUDY.model_dump_json())
    progress.save(
        home.runs / RUN / "arms" / "federated" / "progress.safetensors",
        Progress([ARRAYS], round=1, turn=1, history=[{"round": 1}], used={"a": 1}, memory={"momentum": ARRAYS["w"]}),
        STUDY.digest,
    )
    events = EventLog(home.runs / RUN / "events.jsonl")
    events.say(Planned(time=1.0, arms=(PlannedArm("federated", 3, ("a",)),), sites={}, left_out={"c": "is away"}))
    events.say(Fit(time=2.0, sites={"a": FitMachine(**machine())}, needs={}, findings=()))


def machine() -> dict[str, Any]:
    """As events have it."""
    return {**MACHINE.model_dump(), "people": "10-29"}


def server(folder: Path) -> ServerHome:
    """An operator's folder without keys, which belong into no repository."""
    return ServerHome(folder, ServerConfig(name="F", address="fed.example.org:8000"))


def ledger_of(folder: Path) -> list[runs.Entry]:
    """The server's runs."""
    return server(folder).ledger.all()


if __name__ == "__main__":
    STATE = FOLDER / f"protocol-{PROTOCOL}" / "state"
    shutil.rmtree(STATE, ignore_errors=True)
    write_site(STATE / "site")
    write_server(STATE / "server")
    for left in STATE.rglob("*.lock"):
        left.unlink()
