"""One secure sum of an arm: keys, shares, masked parts, one signed list of survivors, and the masks off the total.

What the server holds of a site is a masked part, and that only until it is added to the total. So nothing can be said
of a single part: whether an update is absurdly long, whose share of the weights is too large, who is to blame for a
model that is no use. The sites refuse to send what is beyond the declared range; the mean is looked at as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from flwr.app import Message

from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import DamagedError, RunError, WireError
from normfed_common.secure import parts
from normfed_common.secure.adverts import Advert
from normfed_common.secure.keystream import Bits
from normfed_common.secure.participation import of_received
from normfed_common.secure.parts import Layout
from normfed_common.secure.thresholds import least_survivors, threshold
from normfed_common.secure.unmasking import unmask
from normfed_common.study.privacy import SecureAggregationConfig
from normfed_common.wire import messages as wire
from normfed_common.wire.answers import Answer
from normfed_common.wire.requests import Payload, Sums, TrainRound
from normfed_common.wire.secure import (
    MOST_ATTEMPTS,
    KeysMade,
    MakeKeys,
    Masking,
    SecretsShared,
    SecureStep,
    ShareSecrets,
    SignSurvivors,
    SurvivorsSigned,
    Unmask,
    Unmasked,
)
from normfed_server.arms.in_training import ArmInTraining, listed
from normfed_server.arms.secure.gathering import Gathering, OfTheRest
from normfed_server.arms.secure.progress import SecureProgress
from normfed_server.events.damage import put_aside
from normfed_server.sites import claims


@dataclass(frozen=True)
class Total:
    """The sum of the survivors' parts, without masks.

    Parameters
    ----------
    people
        Survivor to the people that it signed for.
    most_people
        Of any site that began.
    sites
        That began: the range of numbers is shared by so many.
    answers
        What the survivors said beside their parts.
    """

    arrays: Arrays
    people: dict[str, int]
    most_people: int
    sites: int
    answers: dict[str, Answer]

    @property
    def everybody(self) -> int:
        """The people of all survivors."""
        return sum(self.people.values())


class SecureSum:
    """See the module.

    Parameters
    ----------
    step
        Its attempt is that which is under way in ``path``, or the next.
    path
        Of its progress.
    what
        The sum in words, for people.

    Attributes
    ----------
    reasons
        Why a site has no part in it.
    """

    def __init__(
        self, job: ArmInTraining, step: SecureStep, path: Path, bits: Bits, gathering: Gathering, what: str
    ) -> None:
        self.job, self.path, self.bits, self.gathering, self.what = job, path, bits, gathering, what
        self.reasons: dict[str, str] = {}
        self.progress = self._begun(step) or SecureProgress(step)

    @cached_property
    def config(self) -> SecureAggregationConfig:
        """What the study says of secure sums."""
        return self.job.study.privacy.secure_aggregation or SecureAggregationConfig()

    @property
    def sharers(self) -> list[str]:
        """Sites that exchanged keys and shares: who is asked for a part."""
        return sorted(self.progress.boxes)

    @property
    def survivors(self) -> tuple[str, ...]:
        """Sites whose parts are in the sum; empty as long as more may come."""
        return self.progress.survivors

    @property
    def least(self) -> int:
        """Sites whose parts must be in it."""
        sites, config = len(self.progress.adverts), self.config
        return least_survivors(sites, config.colluding_sites, config.minimum_sites)

    @property
    def threshold(self) -> int:
        """Sites that must sign the list, and give their shares."""
        return threshold(len(self.progress.adverts), self.config.colluding_sites)

    def begin(self, people: Mapping[str, int]) -> None:
        """Exchange keys and shares; nothing where that was done before the server was killed.

        Parameters
        ----------
        people
            Sites to ask, and what they are counted with.

        Raises
        ------
        RunError
            If too few exchange both.
        """
        if self.progress.survivors:
            return
        began = set(self.progress.boxes) or {advert.site for advert in self.progress.adverts}
        if began and len(began & set(people)) < self.least:
            self.progress = SecureProgress(self._next_attempt())
        if not self.progress.adverts:
            self.progress.adverts = self._keys(people)
            self._enough(len(self.progress.adverts), self.config.minimum_sites, "made keys")
            self.progress.save(self.path)  # before anybody shares with these sites, and with no others
        if not self.progress.boxes:
            boxes = self._shares()
            self._enough(len(boxes), self.least, "shared their keys' secrets")
            self.progress.boxes = boxes
            self.progress.save(self.path)

    def masked(self, site: str, request: Message) -> Message:
        """A request to train or to add up, with what to mask the answer with."""
        boxes = self.progress.boxes
        header = wire.asked(request)
        secure = Masking(
            attempt=self.progress.step.attempt,
            boxes={other: boxes[other][site] for other in self.sharers if other != site},
        )
        if not isinstance(header.payload, TrainRound | Sums):
            raise TypeError(f"{header.task} is not answered with a part of a sum")
        payload = header.payload.model_copy(update={"secure": secure})
        header = header.model_copy(update={"payload": payload})
        arrays = request.content.array_records["arrays"]
        return wire.request(request.metadata.dst_node_id, header, arrays)

    def gather(
        self,
        requests: Mapping[str, Message],
        check: Callable[[str, Answer, Layout], None],
        enough: Callable[[set[str]], bool],
    ) -> bool:
        """Add up the masked parts as they come.

        Parameters
        ----------
        check
            Whether what a site says, and the names and shapes of its part, can be used; raises `WireError` if not.
        enough
            Whether so many sites are enough for the study; once their list is signed no other can be.

        Returns
        -------
        Whether they are.

        Raises
        ------
        RunError
            If too few come, or as many sites have one layout as another.
        """
        header, sent = wire.decode_request(next(iter(requests.values())))
        self.progress.received = of_received(sent, personal_arrays(self.job.model, header.strategy))
        totals: dict[Layout, np.ndarray] = {}
        answers: dict[Layout, dict[str, Answer]] = {}
        aside: dict[str, str] = {}
        for site, reply in self.gathering.answers(requests, self.least):
            try:
                answer, arrays = claims.read(reply, consume=True)
                if answer.site != site:
                    raise WireError("the answer says it is another site's")
                layout, vector = parts.layout(arrays), parts.flat(arrays, self.bits)
                check(site, answer, layout)
            except WireError as error:
                aside[site] = f"its part cannot be used: {error}"
                continue
            if layout in totals:
                totals[layout] += vector
            else:
                totals[layout] = vector
            answers.setdefault(layout, {})[site] = answer
        ranked = sorted(answers, key=lambda layout: -len(answers[layout]))
        if len(ranked) > 1 and len(answers[ranked[0]]) == len(answers[ranked[1]]):
            raise RunError(
                f"{self.what} have other names or shapes at {', '.join(answers[ranked[0]])} than at "
                f"{', '.join(answers[ranked[1]])}, and the server cannot know who is right. Fix that, and resume."
            )
        for other in ranked[1:]:
            aside |= dict.fromkeys(answers[other], "its part has other names or shapes than those of most sites")
        self._aside(aside)
        found = answers[ranked[0]] if ranked else {}
        self._enough(len(found), self.least, "sent their parts")
        if not enough(set(found)):
            return False
        self.progress.total = parts.shaped(totals[ranked[0]], ranked[0])
        self.progress.headers = {site: answer.model_dump(mode="json") for site, answer in found.items()}
        self.progress.survivors = tuple(sorted(found))
        self.progress.save(self.path)  # before anybody signs this list, and then no other
        return True

    def total(self) -> Total:
        """Have the list of survivors signed, and take the masks off.

        Raises
        ------
        RunError
            If too few sign or give their shares, or the shares are not those of the masks.
        """
        progress, survivors = self.progress, self.survivors
        signed = self._rest(SignSurvivors(step=progress.step, survivors=survivors), survivors)
        signatures = {site: answer.told(SurvivorsSigned).signature for site, answer in signed.items()}
        # All survivors are asked, not those alone that were quick to sign: one of these may be gone by now.
        told = self._rest(Unmask(step=progress.step, signatures=signatures), survivors)
        layout = parts.layout(progress.total)
        vector = parts.flat(progress.total, self.bits)
        context = self.job.request(MakeKeys(step=progress.step)).context(progress.step)
        shares = {site: answer.told(Unmasked).shares for site, answer in told.items()}
        people = {advert.site: advert.people for advert in progress.adverts if advert.site in survivors}
        try:
            received = progress.received
            unmask(vector, context, progress.adverts, self.sharers, survivors, shares, self.threshold, received)
            arrays = parts.shaped(vector, layout)
            if int(arrays[parts.PEOPLE]) != sum(people.values()):
                raise WireError("its people are not those whom the sites signed for")
        except WireError as error:
            raise RunError(
                f"{self.what}: the masks do not come off the sum of {', '.join(survivors)} ({error}). One of these "
                "sites does not do what it should. Excuse it, and begin a new run."
            ) from error
        answers = {site: Answer.model_validate(header, strict=False) for site, header in progress.headers.items()}
        most = max(advert.people for advert in progress.adverts)
        return Total(arrays, people, most, len(progress.adverts), answers)

    def _begun(self, step: SecureStep) -> SecureProgress | None:
        """What is under way of the step."""
        try:
            found = SecureProgress.load(self.path)
        except DamagedError as error:
            put_aside(self.job.context.events, self.job.arm.name, self.path, error)
            return None
        return found if found is not None and found.step.name == step.name else None

    def _next_attempt(self) -> SecureStep:
        step = self.progress.step
        if step.attempt >= MOST_ATTEMPTS:
            raise RunError(f"{self.what}: {step.attempt + 1} attempts at a secure sum failed. Begin a new run.")
        return step.model_copy(update={"attempt": step.attempt + 1})

    def _keys(self, people: Mapping[str, int]) -> tuple[Advert, ...]:
        """Of the sites that made some, in the order of their names."""
        found: dict[str, Advert] = {}
        aside: dict[str, str] = {}
        requests = self._requests(MakeKeys(step=self.progress.step), list(people))
        for site, reply in self.gathering.answers(requests, self.config.minimum_sites):
            try:
                advert = claims.read(reply)[0].told(KeysMade).advert
                if advert.site != site:
                    raise WireError("its keys say that they are another site's")
                if advert.people != people[site]:
                    raise WireError(f"its keys are for {advert.people} people; it is counted with {people[site]}")
                taken = {key for other in found.values() for key in (other.cipher, other.mask, other.seed)}
                if taken & {advert.cipher, advert.mask, advert.seed}:
                    raise WireError("another site has the same key")
            except WireError as error:
                aside[site] = str(error)
                continue
            found[site] = advert
        self._aside(aside)
        return tuple(found[site] for site in sorted(found))

    def _shares(self) -> dict[str, dict[str, str]]:
        """Site to what it sealed for each other."""
        adverts = self.progress.adverts
        sites = [advert.site for advert in adverts]
        found: dict[str, dict[str, str]] = {}
        aside: dict[str, str] = {}
        requests = self._requests(ShareSecrets(step=self.progress.step, adverts=adverts), sites)
        for site, reply in self.gathering.answers(requests, self.least):
            try:
                boxes = claims.read(reply)[0].told(SecretsShared).boxes
                if set(boxes) != set(sites) - {site}:
                    raise WireError("its shares are not for all other sites")
            except WireError as error:
                aside[site] = str(error)
                continue
            found[site] = boxes
        self._aside(aside)
        return found

    def _rest(self, payload: Payload, sites: Sequence[str]) -> dict[str, Answer]:
        """What enough sites answer."""
        gathering, found = OfTheRest(self.job, self.progress.step.round), dict[str, Answer]()
        for site, reply in gathering.answers(self._requests(payload, sites), self.threshold):
            try:
                found[site] = claims.read(reply)[0]
                found[site].told(SurvivorsSigned if isinstance(payload, SignSurvivors) else Unmasked)
            except WireError as error:
                found.pop(site, None)
                gathering.set_aside(site, str(error))
        self.reasons |= gathering.reasons
        what = "signed who is in the sum" if isinstance(payload, SignSurvivors) else "gave their shares of the masks"
        self._enough(len(found), self.threshold, what)
        return found

    def _requests(self, payload: Payload, sites: Sequence[str]) -> dict[str, Message]:
        nodes = self.job.context.roster.nodes
        return wire.requests({site: nodes[site] for site in sites}, self.job.request(payload), {})

    def _aside(self, reasons: Mapping[str, str]) -> None:
        for site, why in reasons.items():
            self.gathering.set_aside(site, why)

    def _enough(self, sites: int, least: int, what: str) -> None:
        """Go on only with as many sites as a secure sum needs."""
        if sites < least:
            reasons = self.reasons | dict(self.gathering.reasons)
            raise RunError(
                f"{self.what}: {sites} sites {what}; a secure sum needs {least} "
                f"(privacy.secure_aggregation). {listed(reasons)}. Fix that, and resume."
            )
