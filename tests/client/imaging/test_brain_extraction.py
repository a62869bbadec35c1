"""Brains of scans that come without a mask: what a skull-stripped scan says, and what the extra is asked."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from normfed_client.imaging import brain_extraction
from normfed_client.imaging.nifti import Image
from normfed_client.imaging.template import BRAIN_LEVEL, whole


@pytest.fixture
def bare() -> Image:
    """A skull-stripped scan: the template's brain, 0 around it."""
    t1, affine = whole("t1", 4)
    return Image(np.where(t1 > BRAIN_LEVEL, t1, 0).astype(np.float32), affine, Path("x"))


def network(monkeypatch: pytest.MonkeyPatch, mask: np.ndarray | Exception) -> list[nibabel.Nifti1Image]:
    """In the place of deepbet: what it was asked is kept, what it says is given."""
    asked: list[nibabel.Nifti1Image] = []

    class BrainExtraction:
        def __init__(self, no_gpu: bool) -> None:
            assert no_gpu

        def run(self, image: nibabel.Nifti1Image) -> tuple[None, nibabel.Nifti1Image, float]:
            asked.append(image)
            if isinstance(mask, Exception):
                raise mask
            return None, nibabel.Nifti1Image(mask.astype(np.uint8), image.affine), 0.0

    module = ModuleType("deepbet")
    module.BrainExtraction = BrainExtraction  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "deepbet", module)
    monkeypatch.setattr(brain_extraction, "installed", lambda: "deepbet 1.0.2")
    brain_extraction._network.cache_clear()
    return asked


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    brain_extraction._network.cache_clear()


def test_a_skull_stripped_scan_shows_its_brain_with_its_holes(bare: Image) -> None:
    data = bare.data.copy()
    data[25:27, 30:32, 20:22] = 0  # as dark as the background, inside
    data[0, 0, 0] = 0.5  # a speck outside
    found = brain_extraction.stripped(Image(data, bare.affine, bare.path))
    assert found is not None
    np.testing.assert_array_equal(found, ndimage.binary_fill_holes(bare.data > 0))
    assert found[25:27, 30:32, 20:22].all()
    ((source, brain),) = brain_extraction.brains(bare)
    assert source == "background"
    np.testing.assert_array_equal(brain, ndimage.binary_fill_holes(bare.data > 0))


def test_a_whole_head_and_a_piece_are_no_skull_stripped_brain(bare: Image) -> None:
    noise = np.random.default_rng(0).random(bare.data.shape).astype(np.float32)
    grown = ndimage.binary_dilation(bare.data > 0, iterations=3)  # with scalp: 3.5 litres, air set to 0
    piece = np.zeros_like(bare.data)
    piece[20:30, 20:30, 20:30] = 1
    for data in (bare.data + noise, np.where(grown, noise + 0.1, 0).astype(np.float32), piece):
        assert brain_extraction.stripped(Image(data, bare.affine, bare.path)) is None


def test_the_extra_is_asked_for_a_whole_head_alone(bare: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = network(monkeypatch, bare.data > 0)
    assert [source for source, _ in brain_extraction.brains(bare)] == ["background"]
    assert not asked
    head = Image(bare.data + 0.1 * np.random.default_rng(0).random(bare.data.shape, np.float32), bare.affine, bare.path)
    ((source, brain),) = brain_extraction.brains(head)
    assert source == "deepbet 1.0.2"
    np.testing.assert_array_equal(brain, bare.data > 0)
    np.testing.assert_array_equal(asked[0].get_fdata(dtype=np.float32), head.data)
    np.testing.assert_array_equal(asked[0].affine, head.affine)


@pytest.mark.parametrize(
    "said",
    [AssertionError("Not enough foreground"), ValueError("attempt to get argmax of an empty sequence"), None],
    ids=["assertion", "value", "nothing"],
)
def test_where_the_extra_finds_no_brain_there_is_none(
    bare: Image, monkeypatch: pytest.MonkeyPatch, said: Exception | None
) -> None:
    network(monkeypatch, said or np.zeros(bare.data.shape, bool))
    assert brain_extraction.extracted(bare) is None


def test_without_the_extra_a_whole_head_has_no_brain_of_its_own(bare: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert brain_extraction.installed() is None
    noise = np.random.default_rng(0).random(bare.data.shape, np.float32)
    assert list(brain_extraction.brains(Image(bare.data + noise, bare.affine, bare.path))) == []


def test_deepbet_finds_the_brain_on_the_axes_of_the_scan(bare: Image) -> None:
    """Its own arithmetic on a head of shells, turned so that its axes are not those of the world."""
    pytest.importorskip("deepbet")
    t1, affine = whole("t1", 2)
    found = brain_extraction.extracted(Image(t1 + 0.01, affine, Path("x")))
    assert found is not None
    brain = t1 > BRAIN_LEVEL
    assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) > 0.9
