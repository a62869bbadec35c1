"""What a study's privacy makes of one model: with how much noise its sums and its rounds leave a site."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from normfed_common.learning.phase import Phase
from normfed_common.privacy import accounting
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import PrivacyConfig

Kind = Literal["sums", "rounds"]


@dataclass(frozen=True)
class Spending:
    """See the module.

    Parameters
    ----------
    sums
        What one answer with sums is; None where the model has none.
    round
        What one round of training is, all its steps; None where the model trains no network.
    requests
        How often sums are asked for at most, over all phases.
    rounds
        Of training.
    """

    sums: SampledGaussian | None
    round: SampledGaussian | None
    requests: int
    rounds: int

    def by_kind(self) -> dict[Kind, SampledGaussian]:
        """All that leaves a site of one model, its sums and its rounds, as far as it has them."""
        found: dict[Kind, SampledGaussian] = {}
        if self.sums is not None:
            found["sums"] = self.sums.repeated(self.requests)
        if self.round is not None:
            found["rounds"] = self.round.repeated(self.rounds)
        return found

    def releases(self) -> tuple[SampledGaussian, ...]:
        """All that leaves a site of one model, from its first sums to its last round."""
        return tuple(self.by_kind().values())


def steps_of(privacy: PrivacyConfig, local_epochs: int) -> int:
    """Steps of the optimiser in a round."""
    return privacy.steps_per_round or math.ceil(local_epochs / privacy.sampling_rate - 1e-9)


def spending(study: StudyConfig, phases: Sequence[Phase]) -> Spending | None:
    """How a model with these phases keeps within the study's epsilon; None where it asks for none.

    Where a model has sums and rounds, the sums alone are within ``sums_share`` of epsilon; the rounds have as little
    noise as all together allow.
    """
    privacy, federation = study.privacy, study.federation
    if privacy.epsilon is None:
        return None
    turns = [(phase.kind, phase.turns(federation.rounds)) for phase in phases]
    requests, rounds = (sum(n for kind, n in turns if kind == wanted) for wanted in ("summed", "averaged"))
    return _spending(privacy, steps_of(privacy, federation.local_epochs), requests, rounds)


@lru_cache(maxsize=256)
def _spending(privacy: PrivacyConfig, steps: int, requests: int, rounds: int) -> Spending:
    assert privacy.epsilon is not None
    sums = round = None
    if requests:
        target = privacy.epsilon * (privacy.sums_share if rounds else 1)
        sums = SampledGaussian(
            accounting.noise_multiplier(target, privacy.delta, lambda z: [SampledGaussian(z, times=requests)])
        )
    if rounds:
        before = [sums.repeated(requests)] if sums else []

        def one(z: float) -> SampledGaussian:
            return SampledGaussian(z, privacy.sampling_rate, steps)

        round = one(
            accounting.noise_multiplier(privacy.epsilon, privacy.delta, lambda z: [*before, one(z).repeated(rounds)])
        )
    return Spending(sums, round, requests, rounds)
