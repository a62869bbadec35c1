"""One request at one site: what was asked, and what came of it so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any, Generic, TypeVar

from normfed_client.answering.outline import Outline, outline_of
from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.origin import content, noise_key
from normfed_client.hospital.outbox import NO_PART, Outbox
from normfed_client.hospital.personal import PersonalStore
from normfed_client.hospital.releases import Kind
from normfed_client.hospital.rules import ONLY_REFUSE
from normfed_client.hospital.secure_sums import SecureSums
from normfed_client.hospital.site import Case, Site, site_for
from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_common.foundation import digests, seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.files import inside
from normfed_common.learning.learner import Learner
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.distributed import NoiseShare
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.spending import spending
from normfed_common.statistics.learner import CohortStatistics
from normfed_common.statistics.names import ENTRY
from normfed_common.study.roles import ROLES, Role
from normfed_common.wire.answers import Answer
from normfed_common.wire.content import Row, rows
from normfed_common.wire.requests import Payload, Request, Sums, TrainRound

P = TypeVar("P", bound=Payload)

LIBRARIES = ("normfed", "numpy", "scipy")  # others' last digits may differ; torch's is in the site's content


@dataclass(frozen=True)
class Job(Generic[P]):
    """One request at one site.

    Parameters
    ----------
    payload
        The request's.
    key
        A digest of all that was asked, and of what the hospital allows; empty in a simulation.
    outbox
        Where the answer is kept before it is sent; absent where it is made anew every time.
    checkpoints
        Where training that was interrupted goes on from; absent where nobody would miss it.
    let_in
        Plug-ins and their versions that the hospital lets in.
    received
        Digest of the arrays, where it was worked out before.
    released
        What was put on record of the people whom the answer is about; otherwise nothing leaves a hospital.
    """

    request: Request
    payload: P
    arrays: Arrays
    config: SiteConfig
    key: str = ""
    outbox: Outbox | None = None
    checkpoints: TrainingCheckpoints | None = None
    let_in: tuple[tuple[str, str], ...] = ()
    received: str = ""
    released: list[Kind] = field(default_factory=list)
    _listed: list[tuple[Arrays, list[Row]]] = field(default_factory=list)

    @cached_property
    def site(self) -> Site:
        """The site in the request's study; opened when first asked for.

        Raises
        ------
        SiteError
            If the study is not one that this version can run, or that the hospital allows.
        PluginError
            If it needs a plug-in that is not let in, or cannot be used.
        """
        return site_for(self.config, self.request.study, self.let_in)

    @property
    def seed(self) -> int:
        """Of the training that the request belongs to: the study's, or that of one of its repeats."""
        return seeds.of_repeat(self.site.study.seed, self.request.repeat)

    @property
    def of_cohorts(self) -> bool:
        """Whether statistics of the cohort are asked for, in the place of anything of a model."""
        return self.request.model == ENTRY

    def learner(self) -> Learner:
        """What the request's sums are for: the statistics of cohorts, or the request's model."""
        return CohortStatistics(self.site.study, self.site.setting) if self.of_cohorts else self.model()

    @property
    def outline(self) -> Outline:
        """What of the request's model does not change with its weights.

        Raises
        ------
        SiteError
            If it is about none.
        """
        self._check_model()
        return outline_of(self.site, self.request.model, self.request.strategy)

    @property
    def phases(self) -> Sequence[Phase]:
        """Of the learner that the request is about."""
        return self.learner().phases() if self.of_cohorts else self.outline.phases

    def model(self) -> NormativeModel:
        """The request's model with its first weights, made anew.

        Raises
        ------
        SiteError
            If it is about none.
        """
        self._check_model()
        return self.site.model(self.request.model, self.seed)

    def _check_model(self) -> None:
        if self.of_cohorts:
            raise SiteError(SiteCode.BAD_REQUEST, f"{self.request.task}: statistics of cohorts are sums, and no model")

    @cached_property
    def people(self) -> list[tuple[Role, list[Case]]]:
        """Each person whom the request's sums are about, with their visits: of a model those to learn from, of
        statistics everybody who takes part, but for roles of so few that the site does not tell their number."""
        site = self.site
        roles: tuple[Role, ...] = ROLES if self.of_cohorts else ("train",)
        least = site.minimum if self.of_cohorts else 0
        found: list[tuple[Role, list[Case]]] = []
        for role in roles:
            visits: dict[str, list[Case]] = {}
            for case in getattr(site, role):
                visits.setdefault(case.visit.participant.subject, []).append(case)
            if len(visits) >= least:
                found += [(role, of) for of in visits.values()]
        return found

    @property
    def repeats(self) -> bool:
        """Whether the same request is sure to come to the same bits again: on a CPU, with nobody else's code.

        A GPU may add in another order; what a plug-in draws is not ours to say.
        """
        return str(self.site.device) == "cpu" and not self.let_in

    @cached_property
    def origin(self) -> str:
        """A digest of all that the answer is made of, as far as it is about the people to learn from.

        Whatever it is the same for has the same noise and is entered in the ledger once; everything else has noise of
        its own, and its own entry. It is worked out before the answer, which may change what the site keeps.
        """
        site, custody = self.site, self.site.custody
        # What only refuses is left out: a hospital that has raised a limit goes on with the same.
        rules = "" if custody is None else custody.rules.model_dump_json(exclude=set(ONLY_REFUSE))
        software = [*map(version, LIBRARIES), *map(str, self.let_in), str(site.device)]
        whose = [self.config.name, noise_key(site, "whose").hex()]  # two folders may share a ledger
        scans = content(site, [case for _, visits in self.people for case in visits])
        made_of = [self._asked, rules, software, whose, scans, [*self._own_part, *self._said_of_people]]
        received = self.received or digests.of_arrays("", self.arrays)
        return digests.of_arrays(f"{digests.of_json(made_of)}\n{received}", {})

    @property
    def _said_of_people(self) -> list[str]:
        """What statistics are made of beside scans."""
        if not self.of_cohorts:
            return []
        return [f"{role} {visit.visit.participant!r}" for role, visits in self.people for visit in visits]

    @property
    def _asked(self) -> str:
        """The request, but for what the answer does not depend on: the ledger's counter, the server's version, the
        masks of a secure sum, and the run, where the same work comes to the same bits in another."""
        no_part: dict[str, Any] = {**dict.fromkeys(NO_PART, True), "payload": {"secure": True}, "run": self.repeats}
        return self.request.model_dump_json(exclude=no_part)

    @property
    def _own_part(self) -> list[str]:
        """What the site brings to its answer beside scans: its parts of the model, and keys if noise is distributed.

        Distributed noise is drawn anew for every attempt in every run, from keys that nobody has chosen: two sums over
        different sites must not have a site's share in common (see `normfed_common.privacy.distributed`).
        """
        found: list[str] = []
        if isinstance(self.payload, TrainRound):
            found = [self.store.digest(before) for before in (self.payload.round, self.payload.since + 1)]
        if self.noise_share is not None:
            found += [self.request.run, self._own_keys]
        return found

    def noise_key(self, purpose: str) -> bytes:
        """The key of the noise of what this answer releases of the people to learn from: see `origin`."""
        return noise_key(self.site, purpose, self.origin)

    @cached_property
    def noise_share(self) -> NoiseShare | None:
        """What this site adds of the noise of the secure sum that its answer goes into; None where it adds all."""
        payload, study = self.payload, self.site.study
        if not isinstance(payload, Sums | TrainRound) or payload.secure is None or study.privacy.noise_sites == 1:
            return None
        mechanism = self.mechanism(self.phases)
        return None if mechanism is None else NoiseShare.of(mechanism)

    @cached_property
    def secure_sums(self) -> SecureSums:
        """What the site keeps of the secure sums of the request's model."""
        asked = self.request
        return SecureSums(self.config.output, (asked.model, asked.strategy, asked.repeat))

    @property
    def _own_keys(self) -> str:
        """This site's public keys for the attempt at a sum; empty where none were made, and nothing will be masked."""
        step = self.request.step
        kept = None if step is None else self.secure_sums.read(step)
        return "" if kept is None else kept.advert.model_dump_json()

    @cached_property
    def store(self) -> PersonalStore:
        """What the site keeps of the request's model for itself, as this strategy trained it."""
        asked = self.request
        whose = digests.of_json({"model": asked.model, "strategy": asked.strategy, "repeat": asked.repeat})
        return PersonalStore(inside(self.config.output, "personal", asked.arm), whose)

    @cached_property
    def kept(self) -> tuple[Answer, Arrays] | None:
        """The answer, where the same was asked before."""
        return None if self.outbox is None else self.outbox.get(self.key, self.request)

    def keep(self, answer: Answer, arrays: Arrays) -> None:
        """Put the answer where the same request finds it; then throw away what it was made of."""
        if self.outbox is not None:
            self.outbox.put(self.key, self.request, answer, arrays)
        if self.checkpoints is not None:
            self.checkpoints.clear()

    def rows_of(self, arrays: Arrays) -> list[Row]:
        """The rows of what leaves, for the ledger and the audit: of the very same arrays they are worked out once, for
        hashing them is most of what both cost. The process that relays the answer works them out anew."""
        for seen, found in self._listed:
            if seen.keys() == arrays.keys() and all(seen[name] is array for name, array in arrays.items()):
                return found
        self._listed[:] = [(dict(arrays), rows(arrays))]
        return self._listed[0][1]

    def mechanism(self, phases: Sequence[Phase]) -> SampledGaussian | None:
        """By which what is learnt of people leaves with the answer; None where it leaves without noise.

        Raises
        ------
        SiteError
            If a model with these phases has no such training or sums.
        """
        spent = spending(self.site.study, phases)
        if spent is None:
            return None
        found = spent.sums if isinstance(self.payload, Sums) else spent.round
        if found is None:
            raise SiteError(SiteCode.BAD_REQUEST, f"{self.request.task}: the model has nothing of the kind")
        return found

    def release(self, kind: Kind, cases: Sequence[Case]) -> None:
        """The answer is about these people.

        Raises
        ------
        SiteError
            If a hospital must not release it.
        """
        self.site.release(kind, cases, f"{self.request.arm} {kind}")
        self.released.append(kind)
