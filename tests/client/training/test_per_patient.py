"""Training that protects people: what one person can change, and who is left out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from averaging import WIDTH, Averaging, Points, gradients, points, rule, settings
from hypothesis import example, given
from hypothesis import strategies as st

from normfed_client.training.loop import train
from normfed_common.foundation.damage import told
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.batch import Batch

VALUES = st.integers(-9, 9).map(float) | st.floats(width=32) | st.sampled_from([0.0, 1e30, -1e30, math.nan, math.inf])
PERSON = st.none() | st.lists(st.tuples(*[VALUES] * WIDTH), min_size=1, max_size=4).map(np.float32)


ALIKE = [np.ones((2, WIDTH), np.float32)] * 7


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@example(ALIKE, 0, 1, "patient", 1.0)
@example(ALIKE, 0, 1, "sample", 1.0)
@example([np.eye(WIDTH, dtype=np.float32)[[0]] * (2 + number) for number in range(7)], 3, 2, "patient", 1.0)
@given(
    st.lists(PERSON, min_size=1, max_size=7),
    st.integers(0, 6),
    st.sampled_from([1, 2]),
    st.sampled_from(["patient", "sample"]),
    st.floats(0.01, 100),
)
def test_no_person_moves_the_sum_by_more_than_the_norm_whatever_their_scans_are(
    cohort: list[np.ndarray | None], who: int, together: int, unit: Any, clip_norm: float
) -> None:
    """Beside the same cohort in which nothing of the person is there; of samples each one moves it."""
    who %= len(cohort)
    absent = [None if number == who else person for number, person in enumerate(cohort)]
    protecting = rule(times=6, clip_norm=clip_norm, q=0.7, unit=unit)
    present, without = (
        gradients(Averaging(together, batch_size=2, gossip=True), Points(each), replace(protecting))  # type: ignore[arg-type]
        for each in (cohort, absent)
    )
    groups = max(len(cohort) // min(together, len(cohort)), 1)
    expected = 0.7 * groups * (1 if unit == "patient" else 1000 * min(together, len(cohort)))
    most = 1 if unit == "patient" else 4 * together
    moved = np.linalg.norm(present.astype(np.float64) - without, axis=1) * expected
    assert np.isfinite(present).all()
    assert (moved <= most * clip_norm * (1 + 1e-6)).all()


def test_a_person_who_is_far_out_moves_the_sum_by_just_the_norm() -> None:
    """So that the test above can fail."""
    near, far = points(3), points(3)
    far[1], near[1] = np.full((4, WIDTH), 1e6, np.float32), None
    present, without = (gradients(Averaging(), Points(each), rule(clip_norm=0.5)) for each in (far, near))
    assert np.linalg.norm(3 * (present - without).astype(np.float64)) == pytest.approx(0.5, rel=1e-5)


@given(st.integers(1, 5), st.floats(0.1, 30), st.integers(0, 99))
def test_a_step_is_the_mean_of_what_people_say_each_clipped_as_one(people: int, clip_norm: float, seed: int) -> None:
    cohort = points(people, seed=seed)
    own = [-np.mean(person, 0, np.float64) for person in cohort]  # type: ignore[arg-type]
    clipped = [g * min(1, clip_norm / (np.linalg.norm(g) or 1)) for g in own]
    found = gradients(Averaging(batch_size=3), Points(cohort), rule(clip_norm=clip_norm))[0]
    np.testing.assert_allclose(found, np.mean(clipped, 0), rtol=1e-5, atol=1e-6)


def test_gradients_are_divided_by_how_many_people_are_expected_not_by_how_many_came() -> None:
    cohort = Points([np.ones((1, WIDTH), np.float32)] * 8)
    model = Averaging()
    found = gradients(model, cohort, rule(q=0.5, times=20))
    came = 8 * 0.5 * -found[:, 0]
    assert set(np.rint(came)) > {3.0, 4.0, 5.0}
    np.testing.assert_allclose(came, np.rint(came))
    assert sum(came) == len(model.shown)


@pytest.mark.parametrize(
    "broken", [None, np.full((4, WIDTH), math.nan, np.float32), np.full((4, WIDTH), 1e30, np.float32)]
)
@pytest.mark.parametrize("unit", ["patient", "sample"])
def test_whose_gradient_cannot_be_made_or_is_not_finite_counts_as_nobody_and_nothing_shows(
    broken: np.ndarray | None, unit: Any
) -> None:
    cohort = points(3, samples=2)
    cohort[1] = broken
    others = [cohort[0], cohort[2]]
    protecting = rule(unit=unit, samples=2)

    class Infinite(Averaging):
        def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
            return super().loss(phase, batch, rng) * (1 + 1e30 * (batch.data["x"].abs().max() > 1e29))

    found, without = (gradients(Infinite(), Points(each), replace(protecting))[0] for each in (cohort, others))
    np.testing.assert_allclose(found, without * 2 / 3, rtol=1e-6)


def test_the_site_s_own_people_are_told_of_groups_that_were_left_out() -> None:
    said: list[str] = []
    with told(said.append):
        gradients(Averaging(), Points([None, *points(2)]), rule())
    assert said == ["step 0: 1 of 3 groups of people were left out (the scan is damaged)"]


def test_what_a_model_s_author_got_wrong_is_an_error_all_the_same() -> None:
    class Wrong(Averaging):
        def loss(self, phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
            return super().loss(phase, batch, rng).mean()

    with pytest.raises(TypeError, match="it must be one number per sample"):
        gradients(Wrong(), Points(points(2)), rule())


@given(st.lists(st.integers(1, 20), min_size=1, max_size=3), st.integers(1, 40))
def test_trainings_that_are_one_round_together_take_its_steps_and_have_noise_of_their_own(
    epochs: list[int], steps: int
) -> None:
    whole = rule(times=steps)
    parts = whole.divided(epochs)
    counts = [part.release.times for part in parts]
    assert sum(counts) == steps
    assert counts[-1] >= 1
    assert min(counts) >= (1 if steps >= len(epochs) else 0)
    assert len({part.key for part in parts}) == len(epochs)
    if steps == sum(epochs):
        assert counts == epochs
    ideal = [steps * share / sum(epochs) for share in epochs]
    assert all(abs(one - other) < len(epochs) for one, other in zip(counts, ideal, strict=True))


def test_a_rule_is_for_the_one_training_that_is_accounted_for() -> None:
    protecting = rule()
    gradients(Averaging(), Points(points(2)), protecting)
    with pytest.raises(TypeError, match="accounts for one training of a round"):
        gradients(Averaging(), Points(points(2)), protecting)
    divided = rule(times=4)
    for part in divided.divided([1, 1]):
        assert len(gradients(Averaging(), Points(points(2)), part)) == 2
    with pytest.raises(TypeError, match="accounts for one training of a round"):
        divided.divided([1, 1])


def test_a_hospital_bounds_how_often_everybody_is_gone_through() -> None:
    protecting = rule(1.0, 0.3, 10, 1.0)  # each is expected three times
    assert train(Averaging(), Points(points(2)), settings(replace(protecting), most_epochs=3)).steps == 10
    with pytest.raises(SiteError) as caught:
        train(Averaging(), Points(points(2)), settings(protecting, most_epochs=2))
    assert caught.value.code is SiteCode.TOO_MUCH_ASKED
