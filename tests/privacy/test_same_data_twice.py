"""A server that wants the same sums or gradients again, under other noise, without paying for them."""

from __future__ import annotations

import numpy as np
from attacker import Server, offered, study

from normfed_client.hospital.folder import open_hospital
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.models.catalogue import MODELS
from normfed_common.study.config import StudyConfig

PRIVATE = {"epsilon": 4.0, "samples_per_patient": 4}
TUNED = {"name": "fine-tuning", "epochs": 1}


def entries(server: Server, kind: str = "noise") -> int:
    return sum(entry.release.kind == kind for entry in open_hospital(server.folder).ledger().entries())


def weights(asked: StudyConfig, moved: float = 0.0) -> Arrays:
    network = build(MODELS, asked.model, Setting(asked.data.modalities, 4, (1, 1, 1), asked.seed)).share()
    return offered({name: array + np.float32(moved) for name, array in network.items()})


def forget_answers(server: Server) -> None:
    """As after `keep_days`, or once a later round is answered."""
    for path in (server.folder / "outbox").rglob("*.safetensors"):
        path.unlink()


def test_the_counter_in_a_request_changes_no_noise(server: Server) -> None:
    """It once was part of the noise's key, and not of the ledger's: sums again, under other noise, for nothing."""
    asked = study(model={"name": "atlas"}, privacy={"epsilon": 4.0})
    server.answer("query.describe", asked)
    answer, first = server.answer("train.sums", asked, phase="moments")
    forget_answers(server)
    _, second = server.answer("train.sums", asked, phase="moments", ledger=answer.ledger)
    assert entries(server) == 1
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_round_under_other_noise_is_another_entry(server: Server) -> None:
    """What the site kept was once part of the noise's key alone, and fine-tuning, which costs nothing, changes it."""
    asked = study(strategy=TUNED, privacy=PRIVATE, federation={"rounds": 3})
    server.answer("query.describe", asked)
    _, first = server.answer("train.round", asked, weights(asked), round=3)
    forget_answers(server)
    server.answer("train.personal", asked, weights(asked, 0.01), round=2)
    forget_answers(server)
    _, second = server.answer("train.round", asked, weights(asked), round=3)
    same = all((first[name] == second[name]).all() for name in first)
    assert entries(server) == (1 if same else 2)


def test_figures_of_a_model_that_was_fine_tuned_without_noise_are_entered_as_such(server: Server) -> None:
    asked = study(strategy=TUNED, privacy=PRIVATE)
    server.answer("query.describe", asked)
    server.answer("train.round", asked, weights(asked), round=1)
    server.answer("evaluate.score", asked, weights(asked), arm="plain", strategy={"name": "fedavg"})
    assert entries(server, "without noise") == 0
    server.answer("train.personal", asked, weights(asked), round=3)
    server.answer("evaluate.score", asked, weights(asked))
    assert (entries(server, "stays"), entries(server, "without noise")) == (1, 1)
