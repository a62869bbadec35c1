"""The one Flower Strategy: makes a round's requests from the study and the next model from the answers.

What differs between algorithms is a row of `normfed_common.algorithms.table`, not a subclass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.arrays import Arrays
from normfed_common.errors import WireError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import Request, decode_answer, requests
from normfed_server.plan import Arm
from normfed_server.steps.mean import mean

STEPS: dict[str, Callable[[Mapping[str, tuple[int, Arrays]]], Arrays]] = {"mean": mean}


class RoundStrategy(Strategy):
    """One arm's rounds.

    Parameters
    ----------
    nodes
        Node ids of the sites that train this arm.

    Attributes
    ----------
    notes
        What each site said of the method in the last round.
    """

    def __init__(self, study: StudyConfig, arm: Arm, nodes: Mapping[str, int]) -> None:
        self.study, self.arm, self.nodes = study, arm, nodes
        self.step = STEPS[ALGORITHMS[study.federation.algorithm].server_step]
        self.notes: dict[str, tuple[str, ...]] = {}
        self._sent: Arrays = {}

    def summary(self) -> None:
        """Nothing to log: the study says it all."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The same request to every training site."""
        self._sent = to_arrays(arrays)
        header = Request(
            study=self.study.model_dump_json(), arm=self.arm.name, model=self.arm.model, round=server_round
        )
        return requests("train.round", {s: self.nodes[s] for s in self.arm.train}, header, self._sent).values()

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The next global model, and the loss of every site under its name."""
        updates: dict[str, tuple[int, Arrays]] = {}
        losses: dict[str, float] = {}
        for reply in replies:
            answer, arrays = decode_answer(reply)
            self._check(answer.site, arrays)
            updates[answer.site] = (answer.subjects, arrays)
            self.notes[answer.site] = answer.notes
            losses[answer.site] = float("nan") if answer.loss is None else answer.loss
        return to_record(self.step(updates)), MetricRecord(dict(sorted(losses.items())))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Models are evaluated once, after the last round, in three steps of their own: nothing here."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """See `configure_evaluate`."""
        return None

    def _check(self, site: str, arrays: Arrays) -> None:
        if set(arrays) != set(self._sent):
            strange = sorted(set(arrays) ^ set(self._sent))
            raise WireError(f"site {site} sent other arrays than the model has: {', '.join(strange[:5])}")
        for name, array in arrays.items():
            if array.shape != self._sent[name].shape:
                raise WireError(f"site {site} sent {name} of shape {array.shape}, not {self._sent[name].shape}")


def to_record(arrays: Arrays) -> ArrayRecord:
    """Our arrays as Flower's."""
    return ArrayRecord({name: Array(np.asarray(array, order="C")) for name, array in arrays.items()})


def to_arrays(record: ArrayRecord) -> Arrays:
    """Flower's arrays as ours."""
    return {name: array.numpy() for name, array in record.items()}
