"""FedNova against its formula; that it undoes the pull of many steps is in `tests/algorithms/test_quadratics.py`."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from stepping import flat, rounds, run, update, vector

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.base import Update
from normfed_server.steps.progress import Progress


@settings(max_examples=40)
@given(rounds())
def test_the_formula(given: tuple[Arrays, list[list[Update]]]) -> None:
    """Sites that claim no step at all count as having taken one."""
    model, (found,) = given
    now, everybody = flat(model), sum(update.people for update in found)
    shares = [update.people / everybody for update in found]
    taken = [max(update.steps, 1) for update in found]
    normalised = sum(p / k * (flat(u.arrays) - now) for p, k, u in zip(shares, taken, found, strict=True))
    effective = sum(p * k for p, k in zip(shares, taken, strict=True))
    size = max(np.abs(now).max(), *(np.abs(flat(u.arrays)).max() for u in found))
    result = flat(run("fednova", Progress([model]), found))
    np.testing.assert_allclose(result, now + effective * normalised, rtol=1e-4, atol=1e-5 * size)


def test_the_same_number_of_steps_everywhere_is_the_mean() -> None:
    found = [update("a", 1.0, people=1, steps=7), update("b", 5.0, people=3, steps=7)]
    np.testing.assert_allclose(run("fednova", Progress([vector(2.0)]), found)["w"], [4.0], rtol=1e-6)


def test_a_site_of_many_steps_lengthens_the_step_but_does_not_turn_it() -> None:
    """Per step both moved by 1, one of them in each of two coordinates: the way between them."""
    found = [update("a", 9.0, 0.0, steps=9), update("b", 0.0, 1.0, steps=1)]
    np.testing.assert_allclose(run("fednova", Progress([vector(0.0, 0.0)]), found)["w"], [2.5, 2.5], rtol=1e-6)
