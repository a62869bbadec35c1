"""Rounds of server steps without messages, and updates for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from normfed_common.foundation.arrays import Arrays
from normfed_common.studies import validate_strategy
from normfed_common.study.federation import FederationConfig
from normfed_server.steps.base import Step, Update
from normfed_server.steps.catalogue import make_step
from normfed_server.steps.progress import Progress

FEDERATION = FederationConfig(rounds=10, optimiser="sgd", learning_rate=0.05)


def step_of(entry: str | dict[str, Any], federation: FederationConfig = FEDERATION) -> Step:
    """The server step of a study's entry."""
    return make_step(validate_strategy(entry if isinstance(entry, dict) else {"name": entry}, "test"), federation)


def run(
    entry: str | dict[str, Any],
    progress: Progress,
    found: Sequence[Update],
    asked: dict[str, int] | None = None,
    federation: FederationConfig = FEDERATION,
) -> Arrays:
    """One round by a new step, as after a restart, and its first model; ``found`` stays as it is."""
    step = step_of(entry, federation)
    step.begin(progress, asked or {update.site: int(update.people) for update in found})
    for update in copied(found):
        step.add(update)
    step.end(progress)
    progress.round += 1
    return progress.models[0]


def copied(found: Sequence[Update]) -> list[Update]:
    """Updates with arrays of their own: a step may keep and change those that it is given."""
    return [replace(update, arrays={name: array.copy() for name, array in update.arrays.items()}) for update in found]


def update(site: str, *values: float, people: float = 1, **fields: Any) -> Update:
    """An update of one array ``w``."""
    return Update(site, people, vector(*values), **fields)


def vector(*values: float) -> Arrays:
    """A model of one array ``w``."""
    return {"w": np.array(values, np.float32)}


def flat(arrays: Arrays) -> np.ndarray:
    """All values, in float64, in the order of the names."""
    return np.concatenate([np.ravel(arrays[name]).astype(float) for name in sorted(arrays)])


@st.composite
def rounds(draw: st.DrawFn, least: int = 1, most: int = 12, count: int = 1) -> tuple[Arrays, list[list[Update]]]:
    """A model of any shapes, of float32 or float64, and ``count`` rounds of updates of the same sites.

    Half of them are of small whole numbers, among which many are alike.
    """
    names = st.sampled_from(("b", "scale", "w"))
    shapes = draw(st.dictionaries(names, array_shapes(min_dims=0, max_dims=3, max_side=4), min_size=1))
    dtype = np.dtype(draw(st.sampled_from(("float32", "float64"))))
    rng, whole = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.booleans())
    size, sites = 10.0 ** draw(st.integers(-4, 4)), draw(st.integers(least, most))

    def arrays() -> Arrays:
        return {
            name: np.asarray(rng.integers(-2, 3, shape) if whole else size * rng.standard_normal(shape), dtype)
            for name, shape in shapes.items()
        }

    def answers() -> list[Update]:
        return [
            Update(f"s{i:02d}", int(rng.integers(1, 100)), arrays(), float(rng.uniform(0.1, 3)), int(rng.integers(9)))
            for i in range(sites)
        ]

    return arrays(), [answers() for _ in range(count)]


def assert_same_bits(found: Arrays, expected: Arrays) -> None:
    """Names, types, shapes and bytes."""
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes(), name
