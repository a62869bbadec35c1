"""q-FedAvg against its formula; against Flower's in `tests/algorithms/test_steps.py`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stepping import FEDERATION, flat, rounds, run, step_of, update, vector

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.base import Update
from normfed_server.steps.progress import Progress


@settings(max_examples=40)
@given(rounds(), st.sampled_from((0.0, 0.5, 1.0, 3.0)), st.sampled_from((0.1, 1.0, 20.0)))
def test_the_formula_over_all_arrays_together(
    given: tuple[Arrays, list[list[Update]]], q: float, smoothness: float
) -> None:
    model, (found,) = given
    now = flat(model)
    losses = [update.received_loss or 0 for update in found]
    gradients = [smoothness * (now - flat(update.arrays)) for update in found]
    above = sum(f**q * g for f, g in zip(losses, gradients, strict=True))
    below = sum(q * f ** (q - 1) * (g @ g) + smoothness * f**q for f, g in zip(losses, gradients, strict=True))
    result = run({"name": "qfedavg", "q": q, "smoothness": smoothness}, Progress([model]), found)
    size = max(np.abs(now).max(), *(np.abs(flat(u.arrays)).max() for u in found))
    np.testing.assert_allclose(flat(result), now - above / below, rtol=1e-4, atol=1e-5 * size)


def test_without_fairness_it_is_the_mean_of_sites_whatever_their_people_and_losses() -> None:
    found = [update("a", 1.0, people=99, received_loss=5.0), update("b", 4.0, received_loss=0.1)]
    for smoothness in (0.5, 7.0):
        result = run({"name": "qfedavg", "q": 0, "smoothness": smoothness}, Progress([vector(10.0)]), found)
        np.testing.assert_allclose(result["w"], [2.5], rtol=1e-6)


def test_the_site_with_the_higher_loss_pulls_harder() -> None:
    found = [update("a", 1.0, received_loss=4.0), update("b", -1.0, received_loss=1.0)]
    assert run("qfedavg", Progress([vector(0.0)]), found)["w"] > 0
    assert run("qfedavg", Progress([vector(0.0)]), [found[0], replace(found[1], received_loss=9.0)])["w"] < 0


def test_smoothness_is_one_over_the_rate_of_sgd_unless_the_study_says() -> None:
    found, rate = [update("a", 3.0, received_loss=2.0)], FEDERATION.learning_rate

    def moved(smoothness: float | None) -> np.ndarray:
        return run({"name": "qfedavg", "smoothness": smoothness}, Progress([vector(0.0)]), found)["w"]

    np.testing.assert_allclose(moved(None), moved(1 / rate), rtol=1e-6)
    assert moved(None) < moved(1.0)


@pytest.mark.parametrize("loss", [0.0, None])
@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 2.0])
def test_a_loss_of_nothing_is_no_division_by_zero(loss: float | None, q: float) -> None:
    found = [update("a", 1.0, received_loss=loss), update("b", 3.0, received_loss=1.0)]
    with np.errstate(all="raise", under="ignore"):
        assert 0 <= float(run({"name": "qfedavg", "q": q}, Progress([vector(0.0)]), found)["w"][0]) <= 3


def test_a_loss_that_is_not_told_weighs_as_one_of_nothing() -> None:
    step = step_of({"name": "qfedavg", "q": 2.0})
    assert step.weight(update("a", 1.0)) == step.weight(update("a", 1.0, received_loss=0.0)) < 1e-12


@given(st.floats(0.5, 10), st.floats(0.1, 5), st.floats(0.01, 100))
def test_an_update_can_be_given_any_weight(q: float, loss: float, weight: float) -> None:
    step = step_of({"name": "qfedavg", "q": q})
    given = update("a", 1.0, received_loss=loss)
    assert step.weight(given) == pytest.approx(loss**q)
    assert step.weight(step.reweighted(given, weight)) == pytest.approx(weight, rel=1e-6)


def test_without_fairness_all_weights_are_one_and_stay() -> None:
    step, given = step_of({"name": "qfedavg", "q": 0}), update("a", 1.0, received_loss=7.0)
    assert step.weight(given) == 1
    assert step.reweighted(given, 0.5) == given
