"""What is asked and said in a secure sum: keys, shares, a masked answer to a round or to sums, one list, its shares."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from normfed_common.foundation import digests
from normfed_common.secure.adverts import Advert, Signature
from normfed_common.secure.participation import Sealed, Share
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName
from normfed_common.wire.bounds import MOST_ROUNDS, PhaseName

MOST_SITES = 1000
MOST_ATTEMPTS = 9

SiteNames = Annotated[tuple[SiteName, ...], Field(max_length=MOST_SITES)]
Boxes = Annotated[dict[SiteName, Sealed], Field(max_length=MOST_SITES)]


class SecureStep(Frozen):
    """Which sum of an arm.

    Parameters
    ----------
    of
        What is masked: the answers to these requests.
    phase
        Of sums; a round has none.
    turn
        The round, or of repeated sums the iteration.
    attempt
        From 0: keys are new in each.
    """

    of: Literal["train.round", "train.sums"]
    phase: PhaseName | Literal[""] = ""
    turn: int = Field(ge=0, le=MOST_ROUNDS)
    attempt: int = Field(0, ge=0, le=MOST_ATTEMPTS)

    @property
    def name(self) -> str:
        """Of the step without the attempt."""
        return f"{self.of}-{self.phase}-{self.turn}"

    @property
    def round(self) -> int:
        """From 1; 0 of sums."""
        return self.turn if self.of == "train.round" else 0


class OfStep(Frozen):
    """What is asked about one sum, beside its parts."""

    step: SecureStep

    @property
    def round(self) -> int:
        """See `SecureStep`."""
        return self.step.round


class MakeKeys(OfStep):
    """Secure sum, first exchange: make keys for a step, and say the public ones."""

    task: Literal["query.keys"] = "query.keys"


class ShareSecrets(OfStep):
    """Secure sum, second exchange: share the secrets of your keys with these sites."""

    task: Literal["query.shares"] = "query.shares"
    adverts: tuple[Advert, ...] = Field(max_length=MOST_SITES)


class Masking(Frozen):
    """Beside a request to train or to add up: answer masked.

    Parameters
    ----------
    boxes
        The shares that the other sites made for this one; masks in common are with those sites.
    """

    attempt: int = Field(0, ge=0, le=MOST_ATTEMPTS)
    boxes: Boxes


class SignSurvivors(OfStep):
    """Secure sum, fourth exchange: sign who is in the sum."""

    task: Literal["query.survivors"] = "query.survivors"
    survivors: SiteNames


class Unmask(OfStep):
    """Secure sum, last exchange: these signed the same, so give one share per site."""

    task: Literal["query.unmask"] = "query.unmask"
    signatures: dict[SiteName, Signature] = Field(max_length=MOST_SITES)


SecureQuery = MakeKeys | ShareSecrets | SignSurvivors | Unmask


class KeysMade(Frozen):
    """Answers `MakeKeys`."""

    task: Literal["query.keys"] = "query.keys"
    advert: Advert


class SecretsShared(Frozen):
    """Answers `ShareSecrets`: for every other site, what it alone can read."""

    task: Literal["query.shares"] = "query.shares"
    boxes: Boxes


class SurvivorsSigned(Frozen):
    """Answers `SignSurvivors`."""

    task: Literal["query.survivors"] = "query.survivors"
    signature: Signature


class Unmasked(Frozen):
    """Answers `Unmask`: one share per site, of its own mask or of its key to masks in common."""

    task: Literal["query.unmask"] = "query.unmask"
    shares: dict[SiteName, Share] = Field(max_length=MOST_SITES)


SecureTold = KeysMade | SecretsShared | SurvivorsSigned | Unmasked


def context_of(study: str, run: str, arm: str, entries: tuple[object, ...], step: SecureStep) -> str:
    """Digest of all that names one attempt at one sum: what is signed for one is nothing in another.

    Parameters
    ----------
    study
        The resolved study as JSON, as every request carries it.
    entries
        The request's model, strategy and repeat.
    """
    return digests.of_json([study, run, arm, list(entries), step.model_dump(mode="json")])
