"""What a step is where it says nothing else, as a plug-in's may."""

from __future__ import annotations

import numpy as np
from stepping import FEDERATION, update, vector

from normfed_server.steps.base import Gathering, Update
from normfed_server.steps.progress import Progress


class Last(Gathering):
    """The last site's model."""

    def end(self, progress: Progress) -> None:
        progress.models[0] = self.updates[-1].arrays


def test_a_step_needs_one_update_weighs_by_people_and_sends_nothing_beside() -> None:
    step, progress = Last({}, FEDERATION), Progress([vector(0.0)])
    assert (step.minimum, step.linear, step.claims, step.named_sites()) == (1, False, frozenset(), frozenset())
    assert step.weight(update("a", 1.0, people=7)) == 7
    assert step.weight(step.reweighted(update("a", 1.0, people=7), 2.5)) == 2.5
    assert step.beside(progress) == {}


def test_a_step_that_gathers_has_the_updates_of_its_round_alone() -> None:
    step, progress = Last({}, FEDERATION), Progress([vector(0.0)])
    for value in (1.0, 2.0):
        step.begin(progress, {"a": 1})
        step.add(update("a", value))
        step.end(progress)
        assert len(step.updates) == 1
        np.testing.assert_array_equal(progress.models[0]["w"], [value])


def test_an_update_that_does_not_say_more_is_of_one_step_of_the_first_cluster() -> None:
    found = Update("a", 3, vector(1.0))
    assert (found.steps, found.cluster, found.received_loss) == (1, 0, None)
