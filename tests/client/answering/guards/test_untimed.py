"""Where people are protected no time leaves, and of the machine only round figures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from jobs import STUDY, hospital, job

from normfed_client.answering.guards.untimed import Untimed
from normfed_client.answering.job import Job
from normfed_common.study.privacy import PrivacyConfig
from normfed_common.wire.answers import Answer, Described, Machine, Trained
from normfed_common.wire.requests import Describe


def asked(folder: Path, privacy: PrivacyConfig) -> Job[Describe]:
    found = job(folder, Describe())
    found.__dict__["site"] = SimpleNamespace(study=STUDY.model_copy(update={"privacy": privacy}))
    return found


@pytest.mark.parametrize(
    ("free", "told"), [(0.0, 0.0), (0.9, 0.0), (4.6, 4.0), (7.99, 7.0), (8.0, 8.0), (15.9, 8.0), (499.9, 496.0)]
)
def test_free_memory_and_disk_are_whole_steps_never_more_than_there_is(
    tmp_path: Path, free: float, told: float
) -> None:
    machine = Machine(
        normfed="1",
        flwr="1",
        torch="2",
        python="3",
        study="x",
        cores=4,
        memory_gb=free,
        disk_gb=free,
        gpu_memory_gb=free,
    )
    answer = Answer(site="a", seconds=2.5, payload=Described(counts={}, machine=machine))
    guard = Untimed(hospital(tmp_path))
    found, _ = guard.outbound(asked(tmp_path, PrivacyConfig(epsilon=4.0)), answer, {})
    there = found.told(Described).machine
    assert there is not None
    assert (there.memory_gb, there.disk_gb, there.gpu_memory_gb, found.seconds) == (told, told, told, 0.0)
    assert guard.outbound(asked(tmp_path, PrivacyConfig()), answer, {}) == (answer, {})


def test_of_a_round_nothing_but_the_time_is_taken(tmp_path: Path) -> None:
    answer = Answer(site="a", subjects=9, seconds=2.5, payload=Trained(steps=3))
    found, _ = Untimed(hospital(tmp_path)).outbound(asked(tmp_path, PrivacyConfig(epsilon=4.0)), answer, {})
    assert found == answer.model_copy(update={"seconds": 0.0})
