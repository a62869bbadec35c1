"""What a site keeps of a round, against closed forms; what every objective keeps to is in the contract suite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from quadratic import DECODER, STEM, TRAINING, Quadratic, bowls
from stepping import step_of

from normfed_client.hospital.personal import PersonalStore
from normfed_client.training.loop import Settings
from normfed_client.training.objectives import CONTROL, Round, controlled
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.foundation.arrays import Arrays
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
