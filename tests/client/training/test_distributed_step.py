"""A step with distributed noise: what one person can change of its integers, what noise is in them, what leaves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from averaging import LEAST_P, WIDTH, Averaging, Points, gradients, points, rule
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from normfed_client.training.per_patient import shared_gradients
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.cohort import Cohort
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.distributed import NoiseShare

VALUES = st.integers(-9, 9).map(float) | st.floats(width=32) | st.sampled_from([0.0, 1e30, -1e30, math.nan, math.inf])
PERSON = st.none() | st.lists(st.tuples(*[VALUES] * WIDTH), min_size=1, max_size=4).map(np.float32)
ALIKE = [np.ones((2, WIDTH), np.float32)] * 7
SHARE = NoiseShare(1.1, 3)


def part(cohort: Cohort, model: NormativeModel | None = None, **changes: Any) -> np.ndarray:
    """What a site adds to the sum of a step with distributed noise, in whole steps of the grid."""
    protecting = rule(share=SHARE, **changes)
    gradients(model or Averaging(), cohort, protecting)
    (found,) = protecting.parts
    whole = np.rint(found / SHARE.step)
    np.testing.assert_array_equal(whole * SHARE.step, found)
    return whole.astype(np.int64)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@example(ALIKE, 0, 1, 1.0)
@given(st.lists(PERSON, min_size=1, max_size=7), st.integers(0, 6), st.sampled_from([1, 2]), st.floats(0.01, 100))
def test_no_person_moves_the_integers_of_a_step_with_distributed_noise_by_more_than_the_sensitivity(
    cohort: list[np.ndarray | None], who: int, together: int, clip_norm: float
) -> None:
    """In whole numbers, under the same noise."""
    who %= len(cohort)
    absent = [None if number == who else person for number, person in enumerate(cohort)]
    present, without = (
        part(Points(each), Averaging(together, batch_size=2, gossip=True), clip_norm=clip_norm, q=0.7)
        for each in (cohort, absent)
    )
    squares = sum(int(number) ** 2 for number in present - without)
    step = SHARE.step.as_integer_ratio()
    assert squares * step[0] ** 2 <= step[1] ** 2


def test_whoever_is_far_out_moves_the_integers_by_just_the_sensitivity() -> None:
    """So that the test above can fail."""
    near, far = points(3), points(3)
    far[1], near[1] = np.full((4, WIDTH), 1e6, np.float32), None
    moved = part(Points(far), clip_norm=0.5) - part(Points(near), clip_norm=0.5)
    assert np.linalg.norm(moved.astype(np.float64)) * SHARE.step == pytest.approx(1.0, rel=1e-6)


def test_a_step_with_distributed_noise_is_the_sum_of_clipped_gradients_and_this_site_s_share() -> None:
    cohort = points(5)
    own = [-np.mean(person, 0, np.float64) for person in cohort]  # type: ignore[arg-type]
    clipped = np.sum([g * min(1, 2.0 / np.linalg.norm(g)) for g in own], 0) / 2.0
    left = np.concatenate(
        [part(Points(cohort), clip_norm=2.0, key=bytes([number] * 32)) * SHARE.step - clipped for number in range(150)]
    )
    assert stats.kstest(left / (1.1 / math.sqrt(3)), "norm").pvalue > LEAST_P


def test_distributed_noise_of_more_steps_than_one_does_not_leave() -> None:
    protecting = rule(share=SHARE, times=2)
    gradients(Averaging(), Points(points(3)), protecting)
    with pytest.raises(SiteError) as raised:
        shared_gradients(protecting, {"weight": Averaging().weight.weight})
    assert raised.value.code is SiteCode.STUDY_REFUSED


def test_a_step_over_too_many_people_for_the_grid_of_its_noise_is_refused() -> None:
    with pytest.raises(SiteError) as raised:
        gradients(Averaging(), Points(points(3)), rule(share=NoiseShare(1e-12, 3)))
    assert raised.value.code is SiteCode.OUT_OF_RANGE


def test_what_leaves_of_a_step_has_the_names_and_shapes_of_the_parameters() -> None:
    protecting = rule(share=SHARE)
    model = Averaging()
    gradients(model, Points(points(3)), protecting)
    parameters = dict(model.network.named_parameters())
    found = shared_gradients(protecting, parameters)
    assert {name: array.shape for name, array in found.items()} == {n: tuple(p.shape) for n, p in parameters.items()}
    np.testing.assert_array_equal(np.concatenate([array.ravel() for array in found.values()]), protecting.parts[0])
