"""What a site keeps of a round, against closed forms; what every objective keeps to is in the contract suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import toys
from quadratic import DECODER, STEM, TRAINING, Quadratic, bowls
from stepping import step_of
from synthetic import People, setting
from toys import TwoPhases

from normfed_client.hospital.personal import PersonalStore
from normfed_client.training.gradients import GradientRule, Plain
from normfed_client.training.loop import Settings
from normfed_client.training.objectives import CONTROL, Round, controlled, objective_of
from normfed_client.training.per_patient import PerPatient
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.algorithms.table import configure
from normfed_common.foundation.arrays import Arrays
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.studies import validate_strategy
from normfed_common.study.base import Frozen
from normfed_common.wire.offers import Offer
from normfed_server.steps.progress import Progress

B, RATE, STEPS = np.array([1.0, -2.0], np.float32), 0.1, 3


class OwnDecoder(Quadratic):
    """Whose decoder never leaves a site."""

    personal = ("decoder",)


def scaffold(folder: Path, number: int, model: Arrays, control: Arrays) -> tuple[Arrays, Arrays]:
    """What leaves of a round of SCAFFOLD, and what is kept."""
    learner, strategy = OwnDecoder(), {"name": "scaffold", "server_learning_rate": 1.0}
    job = Round(
        learner,
        bowls((float(B[0]), float(B[1])), steps=STEPS)["a"],
        Settings(TRAINING, 0, "a", number, epochs=1, learning_rate=RATE, optimiser="sgd"),
        Offer((model,), {**step_of("scaffold").beside(Progress([model])), **control}),
        personal_arrays(learner, strategy),
        Frozen(),
        PersonalStore(folder),
        number - 1,
    )
    return controlled(job).arrays, job.store.load(number + 1)


def test_scaffold_controls_what_is_shared_and_lets_the_sites_own_part_go_its_way(tmp_path: Path) -> None:
    """Per step of a bowl, w - b shrinks by 1 - rate; a drift d in its gradient moves where it ends to b - d."""
    start = OwnDecoder().share()
    left, kept = scaffold(tmp_path, 1, start, {})
    shrunk = (1 - RATE) ** STEPS
    own = (start[STEM] - left[STEM]) / (STEPS * RATE)
    np.testing.assert_allclose(left[STEM], B + shrunk * (start[STEM] - B), rtol=1e-5)
    np.testing.assert_allclose(kept[CONTROL + STEM], own, rtol=1e-5)
    np.testing.assert_allclose(kept[DECODER], left[STEM], rtol=1e-5)
    assert CONTROL + DECODER not in kept
    assert DECODER not in left
    c = np.array([0.5, 0.25], np.float32)
    received = {name: array for name, array in start.items() if name != DECODER}
    left, again = scaffold(tmp_path, 2, received, {STEM: c})
    goal = B - (c - own)
    np.testing.assert_allclose(left[STEM], goal + shrunk * (start[STEM] - goal), rtol=1e-5)
    after = own - c + (start[STEM] - left[STEM]) / (STEPS * RATE)
    np.testing.assert_allclose(again[CONTROL + STEM], after, rtol=1e-4)
    np.testing.assert_allclose(again[DECODER], B + shrunk**2 * (start[DECODER] - B), rtol=1e-5)


def of_two_halves(folder: Path, rule: GradientRule, strategy: dict[str, Any]) -> tuple[Round, Arrays, int]:
    """A round of the toy of two phases, whose adapter a site keeps: what leaves, and steps told."""
    with toys.registered():
        learner = TwoPhases(Frozen(), setting())
    phase = learner.phases()[0]
    strategy = validate_strategy(strategy, "test")
    job = Round(
        learner,
        People(4),
        Settings(phase, 0, "a", 1, epochs=2, learning_rate=RATE, optimiser="sgd", rule=rule),
        Offer((learner.share(),)),
        personal_arrays(learner, strategy),
        configure(strategy)[1],
        PersonalStore(folder),
        0,
    )
    outcome = objective_of(strategy)(job)
    return job, outcome.arrays, outcome.progress.steps


def protecting(z: float) -> PerPatient:
    return PerPatient(bytes(32), SampledGaussian(z, 1.0, 6), 1e9, samples=5)


def test_both_halves_of_fedrep_are_private_and_share_the_steps_of_the_round(tmp_path: Path) -> None:
    """Gradients of the shared half go through the personal one, which so must have its noise, too."""
    entry = {"name": "fedrep", "personal": ["adapter"], "personal_epochs": 1}
    kept = []
    for z in (0.0, 1e-12):
        job, left, steps = of_two_halves(tmp_path / str(z), protecting(z), entry)
        assert steps == 4  # and two of the personal half
        mine = job.store.load(2)
        assert mine.keys() & left.keys() == set()
        kept.append(mine)
    assert all((array != kept[1][name]).any() for name, array in kept[0].items())


def test_the_personal_model_of_ditto_is_trained_plainly_and_what_leaves_is_that_of_fedavg(tmp_path: Path) -> None:
    job, left, steps = of_two_halves(tmp_path / "ditto", protecting(0.0), {"name": "ditto", "lambda": 0.0})
    _, expected, _ = of_two_halves(tmp_path / "fedavg", protecting(0.0), {"name": "fedavg"})
    assert steps == 6
    for name, array in expected.items():
        np.testing.assert_array_equal(left[name], array)
    personal = job.store.load(2)
    plain, _, _ = of_two_halves(tmp_path / "plain", Plain(), {"name": "ditto", "lambda": 0.0})
    for name, array in plain.store.load(2).items():
        np.testing.assert_array_equal(personal[name], array)
