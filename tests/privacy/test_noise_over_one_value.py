"""However a server asks, no noise lies over two values, and every noise has an entry in the hospital's ledger."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attacker import Server, offered, otherwise, study

from normfed_client.answering.job import Job
from normfed_client.hospital.bookkeeping.budget import spent
from normfed_client.hospital.folder import open_hospital
from normfed_client.imaging.cache import Entry
from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode
from normfed_common.learning.cohort import Person, Scan
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.noise import SecretNoise
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import error_code

EPSILON = 4.0
ATLAS = {"name": "atlas"}


def private(model: dict[str, Any] | None = None, seed: int = 7, **privacy: Any) -> StudyConfig:
    changes: dict[str, Any] = {} if model is None else {"model": model}
    asked = {"epsilon": EPSILON, "sampling_rate": 0.5, "steps_per_round": 1, "samples_per_patient": 2, **privacy}
    strategies = [{"name": "ditto"}, {"name": "fine-tuning"}, {"name": "fedprox"}]
    return study(privacy=asked, seed=seed, comparisons={"strategies": strategies}, **changes)


def weights(asked: StudyConfig, added: float = 0.0) -> Arrays:
    network = build(MODELS, asked.model, Setting(asked.data.modalities, 4, (1, 1, 1), 7)).share()
    return offered({n: a + np.float32(added) if a.dtype == np.float32 else a for n, a in network.items()})


def questions() -> Iterator[tuple[str, StudyConfig, Arrays, dict[str, Any]]]:
    """The same in other words, and other things in the same words; each more than once."""
    atlas, rounds = private(ATLAS), private()
    for arm in ("federated", "another"):
        for run in ("a", "b"):
            yield "train.sums", atlas, otherwise(0), {"run": run, "arm": arm}
        yield "train.sums", atlas, otherwise(1), {"run": "a", "arm": arm}
    for asked, run in ((private(ATLAS, seed=8), "seed"), (private(ATLAS, epsilon=2.0), "epsilon")):
        yield "train.sums", asked, otherwise(0), {"run": run}
    prox, ditto, tuned = rounds.comparisons.strategies[2], *rounds.comparisons.strategies[:2]
    for added in (0.0, 0.01):
        for fields in ({"round": 1}, {"round": 2}, {"round": 2, "since": 1}, {"round": 1, "strategy": prox}):
            yield "train.round", rounds, weights(rounds, added), {"run": "r", **fields}
    for strategy, arm in ((ditto, "ditto"), (tuned, "tuned")):
        fields = {"run": "r", "arm": arm, "strategy": strategy}
        for number in (1, 2, 1):  # before the third the site keeps something else
            yield "train.round", rounds, weights(rounds), {**fields, "round": number}
    yield "train.personal", rounds, weights(rounds), {"run": "r", "arm": "tuned", "strategy": tuned, "round": 3}
    yield "train.round", rounds, weights(rounds), {"run": "r", "arm": "tuned", "strategy": tuned, "round": 1}
    fewer = private(samples_per_patient=1)
    yield "train.round", fewer, weights(fewer), {"run": "fewer", "round": 1}


def test_no_noise_lies_over_two_values_whatever_is_asked_in_whatever_order(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    over: dict[tuple[bytes, int], set[str]] = {}
    noised = SecretNoise.noised

    def watched(noise: SecretNoise, values: np.ndarray, scale: float) -> np.ndarray:
        over.setdefault((noise._key, noise._draws), set()).add(digests.of_arrays(str(scale), {"values": values}))
        return noised(noise, values, scale)

    monkeypatch.setattr(SecretNoise, "noised", watched)
    asked = list(questions())
    answered = 0
    for task, about, arrays, fields in (*asked, *reversed(asked)):
        shutil.rmtree(server.folder / "outbox", ignore_errors=True)  # as it forgets with time
        reply = server.ask(task, about, arrays, **fields)
        answered += not reply.has_error()
        assert not reply.has_error() or error_code(reply) is SiteCode.BUDGET_SPENT
    assert answered > len(asked)
    assert {len(values) for values in over.values()} == {1}
    entries = [e for e in open_hospital(server.folder).ledger().entries() if e.release.kind == "noise"]
    assert len({key for key, _ in over}) == len(entries) > 10  # a round is of one step
    for of in {(e.release.run, e.release.arm) for e in entries}:
        assert spent([e for e in entries if (e.release.run, e.release.arm) == of], 1e-5) <= EPSILON


def test_where_work_does_not_repeat_a_forgotten_answer_is_never_made_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a GPU's two answers to one request had the same noise, and other digits below it."""
    monkeypatch.setattr(Job, "repeats", False)
    asked = private(ATLAS)
    first = server.answer("train.sums", asked, otherwise(0), run="a")[1]
    again = server.answer("train.sums", asked, otherwise(0), run="a")[1]  # from the outbox
    np.testing.assert_equal(again, first)
    shutil.rmtree(server.folder / "outbox")
    assert error_code(server.ask("train.sums", asked, otherwise(0), run="a")) is SiteCode.BUDGET_SPENT
    other = server.answer("train.sums", asked, otherwise(0), run="b")[1]
    assert any((other[name] != first[name]).all() for name in first)
    assert len(open_hospital(server.folder).ledger().entries()) == 2


def test_an_answer_without_somebody_never_has_the_noise_of_one_with_them(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a file that could not be opened for a moment, asked for again in another run, told its person exactly."""
    asked = private(ATLAS)
    first = server.answer("train.sums", asked, otherwise(0), run="a")[1]
    opened = Entry.scan
    lost: list[Path] = []

    def opens(entry: Entry, person: Person) -> Scan:
        lost.extend([] if lost else [entry.folder])
        if entry.folder in lost:
            raise OSError(24, "Too many open files")
        return opened(entry, person)

    with monkeypatch.context() as once:
        once.setattr(Entry, "scan", opens)
        assert error_code(server.ask("train.sums", asked, otherwise(0), run="b")) is SiteCode.BUDGET_SPENT
    assert lost
    np.testing.assert_equal(server.answer("train.sums", asked, otherwise(0), run="c")[1], first)
    assert len(open_hospital(server.folder).ledger().entries()) == 1
