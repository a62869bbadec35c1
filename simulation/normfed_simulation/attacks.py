"""Sites that lie: how a strategy copes with a malicious update is tried by tampering with a site's answers.

The attacks of the Byzantine literature (Blanchard 2017, arXiv 1703.02757; Yin 2018, arXiv 1803.01498): the update is
reversed and made ten times as long, made a hundred times as long, or replaced by noise a hundred times its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from flwr.app import Message

from normfed_common.algorithms.arms import LOCAL
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import StudyError
from normfed_common.learning.learner import NETWORK
from normfed_common.wire import offers
from normfed_common.wire.answers import Trained
from normfed_common.wire.compression import compress_update, expand_model, expand_update
from normfed_common.wire.messages import decode_answer, decode_request, encode
from normfed_common.wire.requests import TrainRound

LONGER, FLIPPED = 100.0, -10.0


class Attack(StrEnum):
    """What a malicious site sends instead of its update d."""

    SIGN_FLIP = "sign-flip"  # -d, ten times as long
    SCALE = "scale"  # 100 d
    NOISE = "noise"  # Gaussian, a hundred times as long as d
    NAN = "nan"


def parse(text: str) -> tuple[str, Attack]:
    """``SITE:ATTACK`` as a pair.

    Raises
    ------
    StudyError
        If it is not one.
    """
    site, colon, name = text.rpartition(":")
    if not colon or name not in list(Attack):
        raise StudyError(f"--attack {text}: expected SITE:ATTACK, ATTACK one of {', '.join(Attack)}.")
    return site, Attack(name)


class Tampering:
    """Changes the answers of malicious sites to ``train.round`` on their way to the server.

    A site does not attack itself: local-only training stays honest.

    Parameters
    ----------
    attacks
        Site to attack.
    """

    def __init__(self, attacks: Mapping[str, Attack], seed: int) -> None:
        self.attacks, self.seed = attacks, seed

    def __call__(self, request: Message, reply: Message) -> Message:
        """The reply as the server gets it."""
        if request.metadata.message_type != "train.round" or reply.has_error():
            return reply
        asked, received = decode_request(request)
        payload = asked.payload
        answer, sent = decode_answer(reply)
        attack = self.attacks.get(answer.site)
        if attack is None or asked.arm.startswith(LOCAL) or not isinstance(payload, TrainRound):
            return reply
        rng = seeds.generator(self.seed, "attack", answer.site, payload.round)
        model = offers.decode(received).models[answer.told(Trained).cluster]
        weights = {name: array for name, array in model.items() if name.startswith(NETWORK)}  # sums are not compressed
        base = model | expand_model(weights, payload.compression)
        trained = expand_update(sent, base, payload.compression)
        lie = {name: self._changed(name, array, base[name], attack, rng) for name, array in trained.items()}
        reply.content = encode(answer, compress_update(lie, base, payload.compression, rng))
        return reply

    @staticmethod
    def _changed(
        name: str, array: np.ndarray, start: np.ndarray, attack: Attack, rng: np.random.Generator
    ) -> np.ndarray:
        if not name.startswith(NETWORK):
            return array
        update = array - start
        if attack is Attack.NAN:
            return np.full_like(array, np.nan)
        if attack is Attack.SCALE:
            changed = LONGER * update
        elif attack is Attack.SIGN_FLIP:
            changed = FLIPPED * update
        else:
            changed = LONGER * float(np.sqrt(np.mean(update**2))) * rng.standard_normal(update.shape)
        return (start + changed).astype(array.dtype)
