"""What a malicious site of a simulation sends, under every compression and among several models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.study.federation import Compression
from normfed_common.wire.compression import OUTWARD, compress_model, compress_update, expand_model, expand_update
from normfed_common.wire.messages import Answer, Request, answer, decode_answer, requests
from normfed_simulation.attacks import Attack, Tampering
from normfed_simulation.engines.local import identify

NAME = "network.w"
COMPRESSIONS: tuple[Compression, ...] = ("none", *(kind for kind in OUTWARD if kind != "none"))
TOLERANCE = {"none": 1e-6, "fp16": 2e-3, "bf16": 2e-2, "int8": 2e-2}  # of the length of an update, after two roundings


def round_of(kind: Compression, model: Arrays, update: Arrays, **header: Any) -> tuple[Message, Message]:
    """A request with ``model``, and an honest answer to it, as they go over the wire."""
    identify()
    asked = Request(study="{}", arm="federated", model={}, compression=kind, **header)
    (message,) = requests("train.round", {"c": 1}, asked, compress_model(model, kind)).values()
    message.metadata.__dict__["_message_id"] = "1"
    base = expand_model(compress_model(model, kind), kind)
    trained = {name: base[name] + change for name, change in update.items()}
    sent = compress_update(trained, base, kind, np.random.default_rng(0))
    return message, answer(message, Answer(site="c", subjects=3), sent)


@pytest.mark.parametrize("kind", COMPRESSIONS)
@pytest.mark.parametrize(("attack", "factor"), [(Attack.SCALE, 100), (Attack.SIGN_FLIP, -10)])
def test_the_lie_arrives_whatever_the_compression(kind: Compression, attack: Attack, factor: float) -> None:
    rng = np.random.default_rng(1)
    model = {NAME: rng.standard_normal((40, 30)).astype(np.float32)}
    update = {NAME: (0.01 * rng.standard_normal((40, 30))).astype(np.float32)}
    asked, honest = round_of(kind, model, update)
    _, arrays = decode_answer(Tampering({"c": attack}, seed=0)(asked, honest))
    found = expand_update(arrays, model, kind)[NAME] - model[NAME]
    error = np.linalg.norm(found - factor * update[NAME]) / np.linalg.norm(factor * update[NAME])
    assert error < TOLERANCE[kind] + 1e-4


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_not_a_number_reaches_the_servers_door(kind: Compression) -> None:
    model = {NAME: np.ones((4, 4), np.float32)}
    asked, honest = round_of(kind, model, {NAME: np.full((4, 4), 0.1, np.float32)})
    with pytest.raises(WireError, match="not finite"):
        expand_update(decode_answer(Tampering({"c": Attack.NAN}, seed=0)(asked, honest))[1], model, kind)


def test_of_several_models_the_one_that_the_site_trained_is_tampered_with() -> None:
    models = {f"0/{NAME}": np.zeros((3, 3), np.float32), f"1/{NAME}": np.full((3, 3), 5, np.float32)}
    asked, _ = round_of("none", models, {}, strategy={"name": "ifca", "clusters": 2})
    honest = answer(asked, Answer(site="c", subjects=3, cluster=1), {NAME: np.full((3, 3), 5.5, np.float32)})
    _, arrays = decode_answer(Tampering({"c": Attack.SIGN_FLIP}, seed=0)(asked, honest))
    np.testing.assert_allclose(arrays[NAME], 0)  # 5 - 10 * 0.5


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_honest_sites_and_local_training_are_left_alone(kind: Compression) -> None:
    model, update = {NAME: np.ones((4, 4), np.float32)}, {NAME: np.full((4, 4), 0.5, np.float32)}
    asked, honest = round_of(kind, model, update)
    before = decode_answer(honest)[1]
    after = decode_answer(Tampering({"d": Attack.SCALE}, seed=0)(asked, honest))[1]
    assert set(after) == set(before)
    assert all((after[name] == before[name]).all() for name in before)
