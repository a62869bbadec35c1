"""SCAFFOLD's server side against its formula over rounds; with sites in `tests/algorithms/test_quadratics.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stepping import FEDERATION, assert_same_bits, flat, rounds, run, step_of, update, vector

from normfed_common.foundation.arrays import Arrays
from normfed_server.steps.base import Update
from normfed_server.steps.progress import Progress

RATE = FEDERATION.learning_rate


@settings(max_examples=40)
@given(rounds(count=3), st.sampled_from((0.5, 1.0, 2.0)), st.integers(0, 50))
def test_the_formulas_over_rounds(given: tuple[Arrays, list[list[Update]]], server_rate: float, absent: int) -> None:
    """Of the sites of the federation some are never asked, who are ``absent`` people."""
    model, answers = given
    entry = {"name": "scaffold", "server_learning_rate": server_rate}
    progress = Progress([model])
    c = np.zeros(flat(model).size)
    for found in answers:
        now = flat(progress.models[0])
        size = max(np.abs(now).max(), *(np.abs(flat(u.arrays)).max() for u in found))
        everybody = sum(u.people for u in found) + absent
        changes = [(u.people / everybody) * ((now - flat(u.arrays)) / (max(u.steps, 1) * RATE) - c) for u in found]
        mean = sum(u.people * flat(u.arrays) for u in found) / sum(u.people for u in found)
        asked = {u.site: int(u.people) for u in found} | {"absent": absent}
        result = flat(run(entry, progress, found, asked))
        np.testing.assert_allclose(result, now + server_rate * (mean - now), rtol=1e-4, atol=1e-5 * size)
        c = c + sum(changes)
        np.testing.assert_allclose(flat(progress.memory), c, rtol=1e-3, atol=1e-4 * (size / RATE + np.abs(c).max()))


def test_the_control_variate_goes_out_beside_the_model_and_is_zero_at_first() -> None:
    progress, step = Progress([vector(4.0)]), step_of("scaffold")
    assert_same_bits(step.beside(progress), {"w": np.zeros(1, np.float32)})
    run("scaffold", progress, [update("a", 3.0, steps=2)])
    np.testing.assert_allclose(step.beside(progress)["w"], [(4 - 3) / (2 * RATE)], rtol=1e-6)


def test_all_sites_of_a_round_are_measured_against_the_same_control_variate() -> None:
    """What is remembered changes when the round ends, not while updates come; a round without an end leaves it."""
    progress, step = Progress([vector(4.0)]), step_of("scaffold")
    run("scaffold", progress, [update("a", 3.0)])
    before = progress.memory["w"].copy()
    step.begin(progress, {"a": 1})
    step.add(update("a", 100.0))
    np.testing.assert_array_equal(progress.memory["w"], before)
    np.testing.assert_array_equal(step.beside(progress)["w"], before)


@pytest.mark.parametrize("fields", [{"steps": 0}, {"steps": 1}])
def test_no_step_counts_as_one(fields: dict[str, Any]) -> None:
    progress = Progress([vector(1.0)])
    run("scaffold", progress, [update("a", 0.0, **fields)])
    np.testing.assert_allclose(progress.memory["w"], [1 / RATE], rtol=1e-6)
