"""What a server step is: it takes a round's updates one after another, and makes the next global model of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from normfed_common.foundation.arrays import Arrays
from normfed_common.study.federation import FederationConfig
from normfed_server.steps.progress import Progress


@dataclass(frozen=True)
class Update:
    """What one site sent in a round, checked.

    Parameters
    ----------
    people
        It trained on; fewer where the study bounds its share.
    arrays
        The model as trained, float32.
    received_loss, steps, cluster
        See `normfed_common.wire.answers.Trained`.
    """

    site: str
    people: float
    arrays: Arrays
    received_loss: float | None = None
    steps: int = 1
    cluster: int = 0


class Step(ABC):
    """One round's server side: `begin`, `add` for every update in the order of the sites' names, `end`.

    Parameters
    ----------
    parameters
        The algorithm's.
    """

    linear: ClassVar[bool] = False  # whether of the updates it needs only their weighted sum, and the weights'
    tells_losses: ClassVar[bool] = True  # whether what single sites say of their losses may be passed on
    minimum = 1  # updates without which the step has no meaning
    claims: frozenset[str] = frozenset()  # of an update's received_loss and steps those that it counts with

    def __init__(self, parameters: Any, federation: FederationConfig) -> None:
        self.parameters, self.federation = parameters, federation

    def prepare(self, progress: Progress, another: Callable[[int], Arrays]) -> None:  # noqa: B027  (most have nothing)
        """Before the first round; ``another`` gives first weights from another draw."""

    def named_sites(self) -> frozenset[str]:
        """Sites that the parameters name; all of them must train."""
        return frozenset()

    def beside(self, progress: Progress) -> Arrays:
        """What is sent beside the model, uncompressed, under the names of its arrays."""
        return {}

    @abstractmethod
    def begin(self, progress: Progress, asked: dict[str, int]) -> None:
        """A round begins.

        Parameters
        ----------
        asked
            All sites that train this model to their people, whether or not they are asked in this round.
        """

    def weight(self, update: Update) -> float:
        """By what the next model takes after an update."""
        return update.people

    def reweighted(self, update: Update, weight: float) -> Update:
        """The same update with another weight."""
        return replace(update, people=weight)

    @abstractmethod
    def add(self, update: Update) -> None:
        """Take one update; may keep its arrays."""

    @abstractmethod
    def end(self, progress: Progress) -> None:
        """Put the next models, and what the step remembers, into ``progress``."""


class Gathering(Step):
    """A step that must see all updates at once: its memory grows with the sites."""

    def begin(self, progress: Progress, asked: dict[str, int]) -> None:
        """See `Step`."""
        self.updates: list[Update] = []

    def add(self, update: Update) -> None:
        """See `Step`."""
        self.updates.append(update)
