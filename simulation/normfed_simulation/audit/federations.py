"""Federations that an audit trains beside the run: the same study, by the same code, on people of the audit's choice.

What an attacker at the server sees of them is heard on the way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flwr.app import Message

from normfed_client.evaluating.served import MODEL
from normfed_client.imaging.bids import Visit, read_dataset
from normfed_client.imaging.cohort import Roles, assign, select
from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode
from normfed_common.learning.learner import NETWORK, SUMS
from normfed_common.study.config import StudyConfig
from normfed_common.study.federation import ComparisonConfig
from normfed_common.wire import offers
from normfed_common.wire.answers import Trained
from normfed_common.wire.compression import expand_model, expand_update
from normfed_common.wire.messages import decode_answer, decode_request, error_code
from normfed_common.wire.requests import Sums, TrainRound
from normfed_server.runs.folder import INITIAL, Run, begin
from normfed_simulation import experiment

EVERYBODY = "all sites together"


@dataclass(frozen=True)
class Heard:
    """One answer as an attacker at the server has it.

    Parameters
    ----------
    site
        Whose; `EVERYBODY` where secure aggregation shows sums only.
    what
        The round, or the phase whose sums these are with the number of the turn.
    arrays
        Of a round the update, trained less received; of a phase the sums.
    """

    site: str
    what: int | tuple[str, int]
    arrays: Arrays


@dataclass
class Eavesdropper:
    """Hears a federation's requests and answers, and changes nothing.

    Parameters
    ----------
    secure
        Whether answers are masked, so that nothing but the models that go out tells of them.
    """

    secure: bool = False
    heard: list[Heard] = field(default_factory=list)
    refused: list[tuple[str, SiteCode]] = field(default_factory=list)
    _models: dict[int, Arrays] = field(default_factory=dict)
    _sums: Arrays = field(default_factory=dict)

    def __call__(self, request: Message, reply: Message) -> Message:
        """The reply, as it came."""
        asked, arrays = decode_request(request)
        if asked.arm != FEDERATED or not isinstance(asked.payload, TrainRound | Sums):
            return reply
        if reply.has_error():
            self.refused.append((asked.task, error_code(reply)))
            return reply
        model = dict(offers.decode(arrays).models[0])
        if isinstance(asked.payload, TrainRound):
            network = {name: array for name, array in model.items() if name.startswith(NETWORK)}
            model |= expand_model(network, asked.payload.compression)
            self._models.setdefault(asked.payload.round, model)
        if not self.secure:
            self._hear(asked.payload, model, reply)
        return reply

    def _hear(self, payload: TrainRound | Sums, model: Arrays, reply: Message) -> None:
        answer, sent = decode_answer(reply)
        if isinstance(payload, Sums):
            self.heard.append(Heard(answer.site, (payload.phase, payload.iteration), sent))
            return
        assert isinstance(answer.payload, Trained)
        trained = expand_update(sent, model, payload.compression)
        self.heard.append(Heard(answer.site, payload.round, _less(trained, model)))

    def of_everybody(self, final: Arrays) -> list[Heard]:
        """Of every round how the model changed, from the requests and the final model alone."""
        rounds = sorted(self._models)
        after = [self._models[number] for number in rounds[1:]] + [final] * bool(rounds)
        found = [Heard(EVERYBODY, n, _less(new, self._models[n])) for n, new in zip(rounds, after, strict=True)]
        return [one for one in found if one.arrays]


def _less(after: Arrays, before: Arrays) -> Arrays:
    return {
        name: array - before[name]
        for name, array in after.items()
        if name.startswith(NETWORK) and name in before and array.shape == before[name].shape
    }


@dataclass(frozen=True)
class Federation:
    """One that has been trained: its shared model, who trained at which site, and what was heard."""

    arrays: Arrays
    roles: Mapping[str, Roles]
    heard: Sequence[Heard]
    refused: Sequence[tuple[str, SiteCode]] = ()

    @property
    def members(self) -> frozenset[str]:
        """Who trained."""
        return frozenset(visit.participant.subject for of in self.roles.values() for visit in of.train)

    def sums(self) -> Arrays:
        """What the model tells of the sums over all sites."""
        return {name: array for name, array in self.arrays.items() if name.startswith(SUMS)}


@dataclass(frozen=True)
class Training:
    """How an audit trains federations of a run's study.

    Parameters
    ----------
    data
        The dataset.
    cache
        Of preprocessed scans.
    folder
        Where their run folders are made.
    """

    run: Run
    data: Path
    cache: Path
    folder: Path
    device: str

    def study(self, without: Collection[str], **federation: Any) -> StudyConfig:
        """The run's study with nobody held out, and without these people: nothing stands beside its model."""
        study = self.run.study
        data = study.data.model_copy(
            update={
                "exclude": {**study.data.exclude, **dict.fromkeys(sorted(without), "not in this federation")},
                "held_out_share": 0.0,
                "held_out_people": 0,
                "test_share": 1e-9,  # one patient of each site, where patients are learnt from
            }
        )
        evaluation = study.evaluation.model_copy(update={"bootstrap": 10})
        update = {
            "data": data,
            "comparisons": ComparisonConfig(local=False, pooled=False, baselines=()),
            "evaluation": evaluation,
            "federation": study.federation.model_copy(update={"minimum_cohort": 1, **federation}),
            "initial_model": str(self.run.folder / INITIAL) if study.initial_model is not None else None,
        }
        return study.model_copy(update=update)

    def roles(self, study: StudyConfig) -> dict[str, Roles]:
        """Who trains and who tests, by site that anybody of is left."""
        wanted = study.data.sites
        found = {}
        for site, visits in read_dataset(self.data).sites().items():
            if wanted is not None and site not in wanted:
                continue
            roles = assign(select(visits, site, study.data)[0], site, study)
            if roles.train or roles.test:
                found[site] = roles
        return found

    def one_patient(self) -> frozenset[str]:
        """All patients but one: a federation needs somebody to test on, and no more."""
        if self.run.study.data.normal != "controls":
            return frozenset()
        tested = [visit for roles in self.roles(self.run.study).values() for visit in roles.test]
        return frozenset(visit.participant.subject for visit in tested) - {_name(tested[0])}

    def trained(
        self,
        without: Collection[str],
        secure: bool | None = None,
        **federation: Any,
    ) -> Federation:
        """A federation of everybody else.

        Parameters
        ----------
        secure
            Whether the attacker sees sums only; as the study has it when absent.
        federation
            Changes to the study's `federation`.
        """
        study = self.study(frozenset(without) | self.one_patient(), **federation)
        roles = self.roles(study)
        listening = Eavesdropper(study.privacy.secure_aggregation is not None if secure is None else secure)
        run = begin(study, self.folder)
        experiment.federate(run, self.data, list(roles), self.cache, self.device, tamper=listening)
        arrays, _ = named.read(run.folder / MODEL, foreign=True)
        heard = listening.of_everybody(arrays) if listening.secure else listening.heard
        return Federation(arrays, roles, heard, listening.refused)


def _name(visit: Visit) -> str:
    return visit.participant.subject
