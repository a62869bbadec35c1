"""A bit that flips on the server's disk is said, and costs rounds of training, never another model."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flips import flip
from scripted import PEOPLE, Behaviour, ScriptedGrid, federation
from synthetic import setting

from normfed_client.hospital.personal import STALE
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Answer, Trained
from normfed_server.arms.context import RunContext
from normfed_server.arms.plan import Arm
from normfed_server.arms.training import ArmTraining
from normfed_server.events.kinds import parse
from normfed_server.events.log import EventLog
from normfed_server.runs.wording import worded
from normfed_server.sites.asking import Asker
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster
from normfed_server.steps import progress as checkpoints
from normfed_simulation.engines.local import identify

ROUNDS = 3


def train(
    study: StudyConfig, folder: Path, behaviour: Behaviour = lambda _, round: 0.1 * round
) -> tuple[Arrays, list[int]]:
    """From where the folder's checkpoint stands to the end; returns the model, and the rounds that were asked for."""
    identify()
    grid = ScriptedGrid(behaviour)
    asker = Asker(grid, threading.Event())
    roster = Roster(grid, asker, Letterhead(study))
    roster.wait_for(len(PEOPLE))
    context = RunContext(Letterhead(study), roster, asker, EventLog(folder / "events.jsonl"))
    arm = Arm("federated", study.model, tuple(sorted(PEOPLE)), {}, federated=True)
    model = build(MODELS, study.model, setting())
    progress = ArmTraining(arm, model, lambda _: model.share(), context, checkpoint(folder)).run()
    assert [entry["round"] for entry in progress.history] == list(range(1, ROUNDS + 1))
    return progress.models[0], sorted({round for _, round, _, _ in grid.asked})


def checkpoint(folder: Path) -> Path:
    return folder / "arms" / "federated" / "progress.safetensors"


def damages(folder: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "damaged"]


def assert_same(first: Arrays, second: Arrays) -> None:
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("damage", ["flipped", "cut short"])
def test_a_damaged_checkpoint_costs_one_round_and_is_said(study: StudyConfig, tmp_path: Path, damage: str) -> None:
    small = federation(study, rounds=ROUNDS)
    expected, asked = train(small, tmp_path)
    assert asked == [1, 2, 3]
    path = checkpoint(tmp_path)
    if damage == "flipped":
        flip(path, bits=20)
    else:
        path.write_bytes(path.read_bytes()[:1000])
    damaged = path.read_bytes()
    found, asked = train(small, tmp_path)
    assert asked == [3]
    assert_same(found, expected)
    (event,) = damages(tmp_path)
    assert event["file"] == "progress.safetensors"
    assert (path.parent / event["kept"]).read_bytes() == damaged  # a person may look at it
    read = parse(json.dumps(event))
    assert read is not None
    ((mark, words),) = worded(read)
    assert mark == "look"
    assert words.startswith("federated: progress.safetensors is damaged (")
    assert train(small, tmp_path)[1] == []  # and all is well again


def test_where_both_copies_are_damaged_training_begins_again(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study, rounds=ROUNDS)
    expected, _ = train(small, tmp_path)
    for path in (checkpoint(tmp_path), checkpoints.previous(checkpoint(tmp_path))):
        flip(path)
    found, asked = train(small, tmp_path)
    assert asked == [1, 2, 3]
    assert_same(found, expected)
    assert [event["file"] for event in damages(tmp_path)] == ["progress.safetensors", "progress.previous.safetensors"]


def test_a_server_that_died_while_it_wrote_goes_on_from_the_round_before(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study, rounds=ROUNDS)
    expected, _ = train(small, tmp_path)
    checkpoint(tmp_path).unlink()  # renamed already, and its successor not yet
    found, asked = train(small, tmp_path)
    assert asked == [3]
    assert_same(found, expected)
    assert damages(tmp_path) == []


def test_a_site_that_lost_a_personal_part_is_told_of_once_in_whatever_round(study: StudyConfig, tmp_path: Path) -> None:
    def stale(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
        return Answer(site=site, subjects=PEOPLE[site], notes=(STALE,), payload=Trained()), arrays

    train(federation(study, rounds=ROUNDS), tmp_path, lambda s, r: stale if s == "b" and r > 1 else 0.1)
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    notes = [(event["site"], event["text"]) for event in events if event["event"] == "note"]
    assert notes == [("b", STALE)]
