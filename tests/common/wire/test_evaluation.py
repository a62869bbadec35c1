"""Figures as named arrays, there and back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from summaries import PER_SCAN

from normfed_common.foundation.errors import WireError
from normfed_common.metrics.groups import EVERYBODY
from normfed_common.metrics.summary import Summary, summarise
from normfed_common.wire.evaluation import (
    COUNTS,
    CommonEdges,
    ScoreRange,
    measured_arrays,
    summary_arrays,
    to_summary,
)

GROUPS = (EVERYBODY, "MS")


def summary(resamplings: int = 5) -> Summary:
    rows = [{"dice": 0.25, "froc": 0.5}, {"dice": 0.75}]
    return summarise(rows, ["MS", "WMH"], GROUPS, resamplings, 1, "a")


@dataclass(frozen=True)
class Measured:
    """Counts of two bins."""

    image_auroc: float
    summary: Summary = field(default_factory=summary)
    normal: np.ndarray = field(default_factory=lambda: np.array([3, 4], np.int32))
    lesion: np.ndarray = field(default_factory=lambda: np.array([1, 2], np.uint64))
    regions: np.ndarray = field(default_factory=lambda: np.array([0.5, 0.5], np.float32))
    normal_people: np.ndarray = field(default_factory=lambda: np.array([1, 0]))
    patients: np.ndarray = field(default_factory=lambda: np.array([0, 1]))


@pytest.mark.parametrize("resamplings", [5, 0])
def test_a_summary_comes_back_as_it_was(resamplings: int) -> None:
    """A hospital sends no resamplings, whatever the study asks for."""
    sent = summary(resamplings)
    found = to_summary(list(GROUPS), summary_arrays(sent), 5)
    assert found.groups == GROUPS
    np.testing.assert_array_equal(found.moments, sent.moments)
    np.testing.assert_array_equal(found.bootstrap, sent.bootstrap)


SHORT = summary_arrays(summary())


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({}, "lacks"),
        ({"moments": SHORT["moments"]}, "lacks"),
        ({"bootstrap": SHORT["bootstrap"]}, "lacks"),
        ({"moments": SHORT["moments"], "normal": np.zeros(2)}, "lacks"),
        ({"bootstrap": SHORT["bootstrap"], "normal": np.zeros(2)}, "lacks"),
        (SHORT | {"moments": SHORT["moments"][:1]}, "shapes"),
        (SHORT | {"moments": SHORT["moments"][..., :2]}, "shapes"),
        (SHORT | {"bootstrap": SHORT["bootstrap"][..., :4]}, "shapes"),
        (SHORT | {"bootstrap": SHORT["bootstrap"][:, :, :1]}, "shapes"),
        (SHORT | {"bootstrap": SHORT["bootstrap"][:, :-1]}, "shapes"),
    ],
)
def test_a_summary_of_another_form_is_refused(arrays: dict[str, np.ndarray], sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        to_summary(GROUPS, arrays, 5)


def test_counts_go_out_as_whole_numbers_and_weights_as_floats() -> None:
    measured = Measured(image_auroc=0.75)
    found = measured_arrays(measured)
    assert set(found) == {"moments", "bootstrap", "image_auroc", *COUNTS}
    assert {name: str(found[name].dtype) for name in COUNTS} == dict.fromkeys(COUNTS, "int64") | {"regions": "float64"}
    for name in COUNTS:
        np.testing.assert_array_equal(found[name], getattr(measured, name))
    assert found["image_auroc"].shape == ()
    assert found["image_auroc"] == 0.75
    assert to_summary(GROUPS, found, 5).n("dice") == 2
    assert found["moments"].shape == (2, len(PER_SCAN), 3)


def test_an_image_auroc_that_is_not_defined_is_not_sent() -> None:
    assert "image_auroc" not in measured_arrays(Measured(image_auroc=float("nan")))


@pytest.mark.parametrize(("low", "high"), [(-1.5, 2.5), (0.0, 0.0), (-1e300, 1e300)])
def test_a_range_comes_back_digit_for_digit(low: float, high: float) -> None:
    assert ScoreRange.decode(ScoreRange(low, high).arrays()) == ScoreRange(low, high)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"range": np.array([1.0, 0.0])},
        {"range": np.array([0.0, np.nan])},
        {"range": np.zeros(3)},
        {"range": np.zeros((1, 2))},
        {"range": np.zeros(2, np.float32)},
        {"range": np.zeros(2, np.int64)},
        {"range": np.zeros(2), "more": np.zeros(2)},
    ],
    ids=["nothing", "turned", "nan", "three", "nested", "float32", "int64", "more"],
)
def test_what_is_no_range_is_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(WireError):
        ScoreRange.decode(arrays)


EDGES, PEOPLE = np.array([0.0, 0.5, 1.0]), np.array([0, 3, 0, 1])
VOXELS, LEVELS = np.arange(16).reshape(4, 4), np.array([0.1, 0.2, 0.3, 0.4])
WHOLE = {"edges": EDGES, "held_out_people": PEOPLE, "held_out": VOXELS, "thresholds": LEVELS}


def test_edges_and_what_belongs_to_them_come_back_digit_for_digit() -> None:
    found = CommonEdges.decode(CommonEdges(EDGES, PEOPLE, VOXELS, LEVELS).arrays()).arrays()
    assert found.keys() == WHOLE.keys()
    for name, array in WHOLE.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    "change",
    [
        {"edges": None},
        {"held_out_people": None},
        {"more": EDGES},
        {"edges": EDGES[::-1]},
        {"edges": np.array([0.0, 0.0, 1.0])},
        {"edges": np.array([0.0, np.nan, 1.0])},
        {"edges": EDGES[None]},
        {"edges": np.array(0.5)},
        {"edges": np.zeros(0), "held_out_people": np.zeros(1, np.int64)},
        {"edges": EDGES.astype(np.float32)},
        {"edges": np.array([0, 1, 2])},
        {"held_out_people": PEOPLE[:-1]},
        {"held_out_people": PEOPLE[None]},
        {"held_out_people": PEOPLE.astype(np.float64)},
        {"held_out_people": np.array([0, -1, 0, 0])},
        {"held_out": None},
        {"held_out": VOXELS[:3]},
        {"held_out": VOXELS[:, :3]},
        {"held_out": VOXELS.astype(np.float64)},
        {"held_out": VOXELS - 1},
        {"thresholds": None},
        {"thresholds": LEVELS[:1]},
        {"thresholds": np.array([0.1, 0.2, 0.3, np.nan])},
        {"thresholds": LEVELS.astype(np.float32)},
    ],
    ids=range(24),
)
def test_what_are_no_edges_no_counts_or_no_thresholds_is_refused(change: dict[str, np.ndarray | None]) -> None:
    arrays = WHOLE | change
    with pytest.raises(WireError):
        CommonEdges.decode({name: array for name, array in arrays.items() if array is not None})
