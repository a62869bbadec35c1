"""Harmonization of each scan by itself: as another library does it, and total whatever a scan holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from contracts.entries import EVERY_TRANSFORM, Entry, every
from contracts.federating import learnt_alone
from intensity_normalization import Modality, WhiteStripeNormalizer, ZScoreNormalizer
from oracles.exact_image import Exact
from synthetic import SHAPE, People, anatomy, scan, setting
from toys import registered

from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.studies import validate_learner
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.catalogue import TRANSFORMS
from normfed_common.transforms.transformed import transformed

T1W, FLAIR = 0, 1
WIDE = [-1000.0, 1000.0]


def made(name: str, where: Setting | None = None, **values: Any) -> ScanTransform:
    return build(TRANSFORMS, validate_learner(TRANSFORMS, {"name": name, **values}, "test"), where or setting())


def tissues(seed: int = 0) -> Scan:
    """A brain of three tissues with noise; white matter is the brightest on T1w, and the most frequent on FLAIR."""
    rng = np.random.default_rng(seed)
    one = scan(rng)
    kind = rng.choice(3, p=[0.15, 0.35, 0.5], size=SHAPE)
    for channel, means in ((T1W, (0.3, 0.6, 0.9)), (FLAIR, (0.2, 0.75, 0.55))):
        one.images[channel] = (np.array(means)[kind] + 0.06 * rng.standard_normal(SHAPE)) * one.mask
    return one


def assert_like(found: Scan, one: Scan, oracle: Callable[[int], Any]) -> None:
    """To 1e-6 as the other library does it, channel by channel."""
    for channel in (T1W, FLAIR):
        expected = oracle(channel)(Exact(one.images[channel]), Exact(one.mask)).get_data()
        np.testing.assert_allclose(found.images[channel][one.mask], expected[one.mask], rtol=1e-6, atol=1e-6)


def test_z_scores_are_those_of_another_library() -> None:
    one = tissues()
    assert_like(transformed(one, [made("z-score", clip=WIDE)]), one, lambda _: ZScoreNormalizer())


@pytest.mark.parametrize("width", [0.05, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_white_stripes_are_those_of_another_library(width: float, seed: int) -> None:
    one, modality = tissues(seed), {T1W: Modality.T1, FLAIR: Modality.FLAIR}
    found = transformed(one, [made("white-stripe", width=width, clip=WIDE)])
    assert_like(found, one, lambda channel: WhiteStripeNormalizer(width, modality=modality[channel]))


def test_the_peak_of_a_white_stripe_can_be_chosen() -> None:
    one = tissues()
    found = transformed(one, [made("white-stripe", peak="largest", clip=WIDE)])
    assert_like(found, one, lambda _: WhiteStripeNormalizer(modality=Modality.FLAIR))


def test_percentiles_and_quartiles_of_the_brain_become_what_they_should() -> None:
    one = tissues()
    found = transformed(one, [made("percentiles", percentiles=[10.0, 60.0], clip=WIDE)])
    np.testing.assert_allclose(np.percentile(found.images[T1W][one.mask], [10, 60]), [0, 1], atol=1e-6)
    found = transformed(one, [made("z-score", robust=True, clip=WIDE)])
    quartiles = np.percentile(found.images[T1W][one.mask], [25, 50, 75])
    np.testing.assert_allclose([quartiles[1], quartiles[2] - quartiles[0]], [0, 1.349], atol=1e-6)


def test_a_lesion_moves_robust_scores_of_other_tissue_less() -> None:
    one = tissues()
    ill = replace(one, images=one.images.copy())
    lesion = np.zeros(SHAPE, bool)
    lesion[12:17, 12:17, 2:4] = True
    ill.images[FLAIR][lesion] = 2.0
    rest = one.mask & ~lesion
    moved = {
        robust: np.abs(
            transformed(ill, [made("z-score", robust=robust)]).images[FLAIR][rest]
            - transformed(one, [made("z-score", robust=robust)]).images[FLAIR][rest]
        ).mean()
        for robust in (False, True)
    }
    assert moved[True] < moved[False] / 2


def test_tissue_is_scaled_by_the_medians_of_the_templates_tissues_and_bright_stays_bright() -> None:
    """Of white and grey matter of one value each a closed form: grey 0, white 1 or, where it is darker, -1."""
    one, template = scan(np.random.default_rng(0)), anatomy()
    for channel, (grey, white) in ((T1W, (0.5, 0.8)), (FLAIR, (0.8, 0.5))):
        volume = grey * template.grey + white * template.white + 0.2 * template.fluid
        one.images[channel] = np.where(one.mask, volume, 0)
    found = transformed(one, [made("tissue", clip=WIDE)]).images
    for channel, white in ((T1W, 1.0), (FLAIR, -1.0)):
        np.testing.assert_allclose(found[channel][one.mask & (template.grey > 0.5)], 0, atol=1e-6)
        np.testing.assert_allclose(found[channel][one.mask & (template.white > 0.5)], white, atol=1e-6)


def test_tissues_that_are_alike_do_not_make_noise_the_unit() -> None:
    one = scan(np.random.default_rng(0))
    assert np.abs(transformed(one, [made("tissue", clip=WIDE)]).images).max() < 20


@pytest.mark.parametrize("name", ["z-score", "white-stripe", "tissue", "percentiles", "nyul", "histogram-template"])
def test_a_scan_on_another_scale_becomes_the_same(name: str) -> None:
    """Of white matter of another brightness: what every harmonization is for. Histograms keep the study's scale."""
    people = People(3)
    people.scans = [tissues(seed) for seed in range(3)]
    transform = made(name)
    learnt_alone(transform, people, "a")
    one = tissues(7)
    other = replace(one, images=np.where(one.mask, 0.2 + 0.5 * one.images, 0).astype(np.float32))
    found, expected = (transformed(each, [transform]).images for each in (other, one))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


REFUSE_PEOPLE = ("combat", "paired-unet")  # of unknown age, or on one scanner, whatever their scans hold


def degenerate() -> dict[str, Scan]:
    one = scan(np.random.default_rng(5))
    nothing, single, two = (np.zeros(SHAPE, bool) for _ in range(3))
    single[13, 14, 3] = two[13, 14, 2:4] = True
    where = {"nobody": nothing, "one voxel": single, "two voxels": two, "constant": one.mask, "mostly one": one.mask}
    found = {}
    for name, mask in where.items():
        images = np.where(mask, one.images, 0)
        if name in ("constant", "mostly one"):
            images = np.where(mask, np.float32(0.7), 0) * np.ones((2, 1, 1, 1), np.float32)
        if name == "mostly one":
            images[:, 13, 14, 3] = 2.0
        index = np.flatnonzero(mask).astype(np.int32)
        found[name] = replace(one, images=images.astype(np.float32), mask=mask, normal_index=index)
    return found


@every([entry for entry in EVERY_TRANSFORM if not entry.label.startswith(("toy", *REFUSE_PEOPLE))])
def test_whatever_a_scan_holds_it_is_learnt_from_and_transformed(entry: Entry) -> None:
    """Within the range and finite, which `transformed` sees to; also of values near the widest."""
    with registered():
        raw = validate_learner(TRANSFORMS, entry.raw, "test")
    people = People(1)
    people.scans += degenerate().values()
    for values in ((0.0, 2.0), (-1e6, 1e6)):
        transform = build(TRANSFORMS, raw, replace(setting(), value_range=values))
        learnt_alone(transform, people, "a")
        with torch.no_grad(), np.errstate(all="raise", under="ignore"):
            for one in people.scans:
                wide = one.images * np.float32(values[1] / 2)
                transformed(replace(one, images=wide), [transform])
