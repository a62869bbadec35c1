"""What a malicious site of a simulation sends, under every compression and among several models."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Message
from scipy.stats import kstest

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, StudyError, WireError
from normfed_common.study.federation import Compression
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.compression import OUTWARD, compress_model, compress_update, expand_model, expand_update
from normfed_common.wire.messages import answer, decode_answer, refusal, requests
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Request, TrainRound
from normfed_simulation.attacks import Attack, Tampering, parse
from normfed_simulation.engines.local import identify

NAME = "network.w"
COMPRESSIONS: tuple[Compression, ...] = ("none", *(kind for kind in OUTWARD if kind != "none"))
TOLERANCE = {"none": 1e-6, "fp16": 2e-3, "bf16": 2e-2, "int8": 2e-2}  # of the length of an update, after two roundings


def round_of(
    kind: Compression, model: Arrays, update: Arrays, round: int = 1, arm: str = "federated"
) -> tuple[Message, Message]:
    """A request with ``model``, and an honest answer to it, as they go over the wire."""
    identify()
    asked = Request(study="{}", arm=arm, model={}, payload=TrainRound(round=round, compression=kind))
    (message,) = requests({"c": 1}, asked, offers.encode(Offer((compress_model(model, kind),)))).values()
    message.metadata.__dict__["_message_id"] = "1"
    base = expand_model(compress_model(model, kind), kind)
    trained = {name: base[name] + change for name, change in update.items()}
    sent = compress_update(trained, base, kind, np.random.default_rng(0))
    return message, answer(message, Answer(site="c", subjects=3, payload=Trained()), sent)


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
    models = ({NAME: np.zeros((3, 3), np.float32)}, {NAME: np.full((3, 3), 5, np.float32)})
    identify()
    strategy = {"name": "ifca", "clusters": 2}
    header = Request(study="{}", arm="federated", model={}, strategy=strategy, payload=TrainRound(round=1))
    (asked,) = requests({"c": 1}, header, offers.encode(Offer(models))).values()
    asked.metadata.__dict__["_message_id"] = "1"
    honest = answer(
        asked, Answer(site="c", subjects=3, payload=Trained(cluster=1)), {NAME: np.full((3, 3), 5.5, np.float32)}
    )
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


def lie(attack: Attack, update: np.ndarray, seed: int = 0, round: int = 1, name: str = NAME) -> np.ndarray:
    """What the server takes for the update of the malicious site c."""
    model = {name: np.full(update.shape, 2.0, np.float32)}
    asked, honest = round_of("none", model, {name: update.astype(np.float32)}, round=round)
    _, arrays = decode_answer(Tampering({"c": attack}, seed)(asked, honest))
    return arrays[name] - model[name]


def test_noise_is_gaussian_and_a_hundred_times_as_long_whatever_the_update_was() -> None:
    update = np.random.default_rng(0).exponential(0.3, (200, 100))
    noise = lie(Attack.NOISE, update)
    scaled = (noise / (100 * np.sqrt(np.mean(update**2)))).ravel()
    assert kstest(scaled, "norm").pvalue > 0.001
    assert abs(np.corrcoef(scaled, update.ravel())[0, 1]) < 5 / np.sqrt(update.size)


def test_noise_is_drawn_anew_in_every_round_and_is_the_same_for_the_same_seed() -> None:
    update = np.ones((3, 3))
    first = lie(Attack.NOISE, update)
    np.testing.assert_array_equal(lie(Attack.NOISE, update), first)
    assert (lie(Attack.NOISE, update, round=2) != first).all()
    assert (lie(Attack.NOISE, update, seed=1) != first).all()


@pytest.mark.parametrize("attack", Attack)
def test_a_site_lies_about_its_network_alone(attack: Attack) -> None:
    """Counts and sums beside the network have bounds of their own."""
    update = np.full((2, 2), 0.5)
    np.testing.assert_array_equal(lie(attack, update, name="scaling.mean"), update)


@pytest.mark.parametrize(("arm", "told"), [("local-c", 0.5), ("federated", 50.0), ("localised", 50.0)])
def test_training_alone_stays_honest(arm: str, told: float) -> None:
    model, update = {NAME: np.zeros((2, 2), np.float32)}, {NAME: np.full((2, 2), 0.5, np.float32)}
    asked, honest = round_of("none", model, update, arm=arm)
    _, arrays = decode_answer(Tampering({"c": Attack.SCALE}, seed=0)(asked, honest))
    np.testing.assert_allclose(arrays[NAME], told)


def test_other_requests_and_refusals_pass_untouched() -> None:
    model = {NAME: np.zeros((2, 2), np.float32)}
    asked, honest = round_of("none", model, model)
    tampering = Tampering({"c": Attack.NAN}, seed=0)
    refused = refusal(asked, SiteCode.INTERNAL)
    assert tampering(asked, refused) is refused
    before = honest.content
    asked.metadata.message_type = "train.fine_tune"
    assert tampering(asked, honest) is honest
    assert honest.content is before


@pytest.mark.parametrize("attack", Attack)
def test_an_attack_is_ordered_by_site_and_name(attack: Attack) -> None:
    assert parse(f"a:{attack.value}") == ("a", attack)
    assert parse(f"a:b:{attack.value}") == ("a:b", attack)


@pytest.mark.parametrize("text", ["", "a", "a:", "a:bribery", "scale", "a:scale ", "a:SCALE"])
def test_what_orders_no_attack_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(StudyError, match=rf"^--attack {text}: .*one of sign-flip, scale, noise, nan\.$"):
        parse(text)
