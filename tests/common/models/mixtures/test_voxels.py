"""Classes of few people's voxels: their sums go to the largest class, so that all of them stay what voxels can have."""

from __future__ import annotations

import numpy as np
import pytest

from normfed_common.foundation.arrays import add
from normfed_common.models.mixtures import voxels
from normfed_common.models.mixtures.classes import Classes
from normfed_common.models.mixtures.gaussian import Gaussian
from normfed_common.models.mixtures.multiple_scale_t import MultipleScaleT

MEANS = np.array([[0.3, 0.3], [0.7, 0.6], [0.95, 0.05]])
PLACE = (np.full(3, 1 / 3), MEANS, np.tile(np.eye(2), (3, 1, 1)), np.full((3, 2), 1e-3))


@pytest.mark.parametrize("classes", [Gaussian(*PLACE), MultipleScaleT(*PLACE, np.full((3, 2), 200.0))])
def test_a_class_that_is_one_persons_is_counted_to_the_largest(classes: Classes) -> None:
    rng = np.random.default_rng(0)
    people = [MEANS[rng.integers(0, 2, 400)].T + 0.03 * rng.standard_normal((2, 400)) for _ in range(5)]
    people[2] = np.concatenate([people[2][:, 1:], MEANS[2:].T], 1)
    parts = [voxels.summed({3: classes.sums}, y) for y in people]
    shares = np.stack([part["3.responsibility"] for part in parts])
    total = add(parts)
    assert total["3.responsibility"][2] == pytest.approx(1, abs=0.1)
    found = voxels.of_enough_people(total, shares, "3.", 3)
    largest = int(total["3.responsibility"].argmax())
    for name in ("responsibility", "first", "second"):
        before, after = total[f"3.{name}"], found[f"3.{name}"]
        assert not after[2].any()
        np.testing.assert_allclose(after[largest], before[largest] + before[2])
        np.testing.assert_array_equal(after[1 - largest], before[1 - largest])
    for name in ("likelihood", "axes"):
        np.testing.assert_array_equal(found.get(f"3.{name}", 0), total.get(f"3.{name}", 0))
    type(classes).check(voxels.part(found, "3."), float(found["count"]), 3, (0.0, 1.2))


def test_classes_that_all_have_enough_of_are_left_as_they_are() -> None:
    sums = {"2.responsibility": np.array([4.0, 6.0]), "count": np.array(10.0)}
    found = voxels.of_enough_people(sums, np.array([[2.0, 3.0], [2.0, 3.0]]), "2.", 2)
    np.testing.assert_array_equal(found["2.responsibility"], sums["2.responsibility"])


def test_of_few_people_one_class_is_left() -> None:
    sums = {"3.responsibility": np.array([1.0, 2.0, 3.0]), "count": np.array(6.0)}
    found = voxels.of_enough_people(sums, np.diag([1.0, 2.0, 3.0]), "3.", 5)
    np.testing.assert_array_equal(found["3.responsibility"], [0, 0, 6])
