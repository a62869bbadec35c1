"""Transformed scans are checked, laid out as promised, and kept while there is room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import People, setting
from toys import Centring, Retouching

from normfed_common.foundation.errors import PluginError
from normfed_common.learning.cohort import Scan
from normfed_common.study.base import Frozen
from normfed_common.transforms import transformed as module
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.transformed import TransformedCohort, transformed, transformed_visits


class Spoiling(ScanTransform):
    """Does to a scan what it is told, and counts how often."""

    Config = Frozen

    def __init__(self, change: Callable[[Scan], Scan] = lambda scan: scan) -> None:
        super().__init__(Frozen(), setting())
        self.change, self.calls = change, 0

    def transform(self, scan: Scan) -> Scan:
        self.calls += 1
        return self.change(scan)


def with_images(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Scan], Scan]:
    return lambda scan: replace(scan, images=change(scan.images.copy()))


def nan_somewhere(images: np.ndarray) -> np.ndarray:
    images[0, 13, 14, 3] = np.nan
    return images


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_images(lambda images: images[:1]), r"images of shape \(1, 26, 28, 6\), not of \(2, 26, 28, 6\)"),
        (with_images(lambda images: images.astype(np.float64)), "images of float64, not of float32"),
        (with_images(nan_somewhere), "values that are not finite"),
        (with_images(lambda images: images + 1), "values outside the brain that are not 0"),
        (lambda scan: replace(scan, present=np.array([True, False])), "values that are not 0 of a modality"),
        (lambda scan: replace(scan, present=np.array([1, 1])), "`present` of int64"),
    ],
    ids=["shape", "type", "finite", "background", "absent", "present"],
)
def test_a_transform_that_breaks_its_promise_is_named(change: Callable[[Scan], Scan], said: str) -> None:
    cohort, people = TransformedCohort(People(1), [Spoiling(change)]), People(1)
    with pytest.raises(ValueError, match=f"the transform Spoiling returned {said}"):
        cohort.scan(0)
    with pytest.raises(ValueError, match=f"the transform Spoiling returned {said}"):
        transformed_visits(people.scans, [Spoiling(change)])[-1]


class Doubling(Spoiling):
    """Whose values are twice those before it, as it says."""

    @property
    def value_range(self) -> tuple[float, float]:
        low, high = self.setting.value_range
        return 2 * low, 2 * high


def test_values_beyond_the_range_that_a_transform_declares_are_named_with_it_and_what_to_do() -> None:
    one = People(1).scan(0)
    for factor, transform in ((2, Spoiling), (4, Doubling)):
        within, beyond = (
            with_images(lambda images, to=to: images / images.max() * np.float32(to)) for to in (factor, 5)
        )
        transformed(one, [transform(within)])
        said = (
            rf"the transform {transform.__name__} returned values from .* to 5, and declares 0 to {factor}: clip them"
        )
        with pytest.raises(ValueError, match=said):
            transformed(one, [transform(beyond)])


@pytest.mark.parametrize("declared", [(1.0, 1.0), (0.0, np.inf), (np.nan, 1.0), (-1e9, 0.0)], ids=str)
def test_a_range_of_values_that_is_none_is_refused_before_anything_is_learnt(declared: tuple[float, float]) -> None:
    class Declaring(Spoiling):
        value_range = declared  # type: ignore[assignment]

    with pytest.raises(PluginError, match=r"Declaring cannot be used: its value_range, .* does not ascend within"):
        Declaring().validate()


def test_axial_slices_are_contiguous_and_nobody_can_write_to_what_is_kept() -> None:
    images = TransformedCohort(People(1), [Spoiling(with_images(np.ascontiguousarray))]).scan(0).images
    assert images[0, ..., 3].flags.c_contiguous
    np.testing.assert_array_equal(images, People(1).scan(0).images)
    with pytest.raises(ValueError, match="read-only"):
        images[0, 0, 0, 0] = 1


def test_whose_a_scan_is_its_mask_and_what_is_normal_stay() -> None:
    people = People(1)
    one = people.scan(0)
    found = transformed(
        one, [Spoiling(lambda scan: replace(scan, mask=~scan.mask, person=replace(scan.person, index=9)))]
    )
    assert found.mask is one.mask
    assert found.normal_index is one.normal_index
    assert found.person == one.person


def test_scans_are_transformed_once_while_they_fit_and_no_more_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    transform = Spoiling()
    cohort = TransformedCohort(People(6), [transform])
    for _ in range(3):
        for index in range(6):
            cohort.scan(index)
    assert transform.calls == 6
    one = People(1).scan(0)
    monkeypatch.setattr(module, "OPEN_BYTES", 5 * (one.images.nbytes + one.mask.nbytes))
    cohort = TransformedCohort(People(6), [transform])
    transform.calls = 0
    for index in (0, 1, 2, 3, 4, 0, 5, 0, 1):
        cohort.scan(index)
    assert transform.calls == 7  # the second had to make room for the sixth


def test_a_network_transforms_in_evaluation_mode_without_gradients_whatever_is_trained() -> None:
    transform, people = Retouching(Frozen(), setting()), People(1)
    assert transform.network is not None
    transform.network.train()
    with torch.enable_grad():
        found = [transformed(people.scan(0), [transform]).images for _ in range(2)]
    np.testing.assert_array_equal(*found)
    assert not transform.network.training


def test_transforms_are_applied_in_order() -> None:
    first, second = Centring(Frozen(), setting()), Spoiling(with_images(np.square))
    first.mean = np.full(2, 0.5, np.float32)
    one = People(1).scan(0)
    expected = ((one.images - 0.5) * one.mask) ** 2
    np.testing.assert_array_equal(transformed(one, [first, second]).images, expected)
    np.testing.assert_array_equal(TransformedCohort(People(1), [first, second]).scan(0).images, expected)
