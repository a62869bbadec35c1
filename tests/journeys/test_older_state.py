"""Folders that an older version left in the middle of a run, on both sides: a newer one goes on from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import assert_same
from golden_state import (
    ANSWER,
    ARRAYS,
    FOLDER,
    MACHINE,
    PEOPLE,
    RULES,
    RUN,
    SECRET,
    SPENT,
    STUDY,
    key,
    ledger_of,
    network,
    request,
    server,
)

from normfed_client.hospital.bookkeeping.ledger import Ledger
from normfed_client.hospital.outbox import Outbox
from normfed_client.hospital.personal import PersonalStore
from normfed_client.hospital.releases import Releases
from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_common.foundation.versions import PROTOCOL
from normfed_common.studies import study_of_run
from normfed_server.events.kinds import Fit, Planned
from normfed_server.runs.following import Tail
from normfed_server.state import admission
from normfed_server.state.fleet import heard
from normfed_server.state.ledger import State
from normfed_server.steps import progress

STATE = FOLDER / f"protocol-{PROTOCOL}" / "state"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A copy: what reads a database may write to it."""
    return Path(shutil.copytree(STATE, tmp_path / "state"))


def test_a_finished_answer_is_found_whichever_version_of_the_server_asks(state: Path) -> None:
    assert key("0.1.0") == key("0.2.3")
    answer, arrays = Outbox(state / "site" / "outbox").get(key("0.2.3"), request("0.2.3")) or pytest.fail("lost")
    assert answer == ANSWER
    assert_same(arrays, ARRAYS)


def test_training_goes_on_from_the_checkpoint(state: Path) -> None:
    trained, adam = network()
    fresh = torch.nn.Linear(2, 1)
    optimiser = torch.optim.Adam(fresh.parameters(), 0.1)
    found = TrainingCheckpoints(state / "site" / "checkpoints" / key(), 0.0).next().load(fresh, optimiser)
    assert found == {"step": 5}
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[name], tensor, rtol=0, atol=0)
    for before, after in zip(
        adam.state_dict()["state"].values(), optimiser.state_dict()["state"].values(), strict=True
    ):
        torch.testing.assert_close(after["exp_avg_sq"], before["exp_avg_sq"], rtol=0, atol=0)


def test_personal_parts_releases_and_the_ledger_of_privacy_are_still_those(state: Path) -> None:
    site = state / "site"
    assert_same(PersonalStore(site / "personal", "whose").load(2, since=1), ARRAYS)
    record = Releases(site / "releases.sqlite", SECRET)
    assert [(release.people, release.run) for release in record.all()] == [(len(PEOPLE), RUN)]
    assert record.sets() == [frozenset(PEOPLE)]
    assert not record.record("learning", PEOPLE[:10], RULES.minimum_people, "", RUN)  # two people would be left
    (entry,) = Ledger(site / "ledger.sqlite").entries()
    assert (entry.release, entry.settled) == (SPENT, True)


def test_an_operators_runs_sites_and_progress_are_still_those(state: Path) -> None:
    home = server(state / "server")
    (run,) = ledger_of(state / "server")
    assert (run.name, run.state, run.flower_run) == (RUN, State.OPEN, 7)
    assert [(site, m.state, m.people) for site, m in admission.members(home).items()] == [
        ("a", "accepted", 40),
        ("b", "invited", None),
    ]
    assert heard(home)["a"].machine == MACHINE.model_dump()
    folder = home.runs / RUN
    study = study_of_run(folder)
    assert study.model_dump_json() == STUDY.model_dump_json()
    found = progress.load(folder / "arms" / "federated" / "progress.safetensors", study.digest)
    assert found is not None
    assert (found.round, found.turn, found.used, found.history) == (1, 1, {"a": 1}, [{"round": 1}])
    assert_same(found.models[0], ARRAYS)
    np.testing.assert_array_equal(found.memory["momentum"], ARRAYS["w"])
    assert [type(event) for event in Tail(folder / "events.jsonl").new()] == [Planned, Fit]
