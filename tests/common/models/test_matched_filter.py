"""The matched filter against its formula voxel by voxel, numerical balls, and the theory of detection."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from learning import sum_up
from scipy import ndimage
from synthetic import People, scan, setting, split

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.models.matched_filter import MatchedFilter
from normfed_common.models.voxelwise.intensities import robust_units, smoothed_inside

RNG = np.random.default_rng(0)
SCALES = (0.0, 2.0, 5.0)


def made(
    modalities: tuple[str, ...] = ("T1w", "FLAIR"), may_lack: tuple[str, ...] = (), **values: Any
) -> MatchedFilter:
    entry = {
        "name": "matched-filter",
        "scales_mm": SCALES,
        "spacing_mm": 8.0,
        "noise": "learnt",
        "beside": 0.5,
        **values,
    }
    found = build(MODELS, entry, replace(setting(modalities), may_lack=may_lack))
    assert isinstance(found, MatchedFilter)
    return found


def features(one: Scan) -> np.ndarray:
    """(d, X, Y, Z): T1 upside down, FLAIR, each after every Gaussian."""
    units = robust_units(one.images, one.mask, one.present)
    return np.stack([smoothed_inside(v, one.mask, s / 2) for v in (-units[0], units[1]) for s in SCALES]).astype(float)


def test_the_score_is_brightness_and_the_largest_filter_output_worked_out_voxel_by_voxel() -> None:
    people, new = People(5), scan(np.random.default_rng(9))
    model = made(prior_voxels=30.0, beside=0.5, normative=0.25)
    sum_up(model, people)
    every = [(one, features(one)) for one in people.scans]
    cell = {tuple(v): tuple(v // 4) for v in np.argwhere(np.ones(new.mask.shape))}
    at: dict[tuple[int, ...], list[np.ndarray]] = {}
    for one, f in every:
        for voxel in np.argwhere(one.mask):
            at.setdefault(cell[tuple(voxel)], []).append(f[(slice(None), *voxel)])
    means = {place: np.mean(found, 0) for place, found in at.items()}
    total = sum(len(found) for found in at.values())
    within = sum((np.array(found) - means[p]).T @ (np.array(found) - means[p]) for p, found in at.items()) / total
    covariances = {
        p: ((np.array(f) - means[p]).T @ (np.array(f) - means[p]) + 30 * within) / (len(f) + 30) for p, f in at.items()
    }
    signatures = model.signatures()
    found, f = model.score([new], RNG).anomaly, features(new)
    centres = [v for v in np.argwhere(new.mask) if (v[0] % 4, v[1] % 4) in {(1, 1), (2, 2)} and cell[tuple(v)] in means]
    checked = 0
    for voxel in centres:
        # Midway between centres of places all eight corners weigh in; here the filter is made of each corner's own.
        corners = np.array(np.meshgrid(*[[0, 1]] * 3, indexing="ij")).reshape(3, -1).T
        middle = (voxel + 0.5) / 4 - 0.5
        low = np.floor(middle).astype(int)
        weights = np.where(corners, middle - low, 1 - (middle - low)).prod(1)
        near = [tuple(np.clip(low + c, 0, np.array(model.gaussians.cells) - 1)) for c in corners]
        known = [place in means for place in near]
        weights = weights * known / (weights * known).sum()
        mean = sum(w * means[p] for w, p, k in zip(weights, near, known, strict=True) if k)
        outputs = []
        for s in signatures:
            corner = [np.linalg.solve(covariances[p], s) for p, k in zip(near, known, strict=True) if k]
            used = [w for w, k in zip(weights, known, strict=True) if k]
            blend = sum(w * h / np.sqrt(h @ s) for w, h in zip(used, corner, strict=True))
            outputs.append(blend @ (f[(slice(None), *voxel)] - mean))
        expected = np.log1p(np.exp(f[(3, *voxel)] + 0.25 * max(outputs)))
        assert found[tuple(voxel)] == pytest.approx(expected, rel=1e-3)
        checked += 1
    assert checked > 50


@pytest.mark.parametrize("beside", [0.0, 0.5])
def test_in_white_noise_only_means_are_learnt_and_the_filter_is_the_ball_itself(beside: float) -> None:
    people, new = People(5), scan(np.random.default_rng(9))
    model = made(noise="white", beside=beside, normative=0.25, spacing_mm=2.0)
    sums = model.statistics("moments", people, RNG)
    assert sorted(sums) == ["between", "count", "sum"]
    sum_up(model, people)
    every = np.stack([features(one) * one.mask for one in people.scans]).sum(0)
    count = np.sum([one.mask for one in people.scans], 0)
    everywhere = every.sum((1, 2, 3)) / count.sum()
    mean = np.where(count > 0, every / np.maximum(count, 1), everywhere[:, None, None, None])
    flair = model.signatures()[:, -len(SCALES) :]
    balls = np.concatenate([beside * flair, flair], 1)
    outputs = np.einsum("rd,dxyz->rxyz", balls / np.linalg.norm(balls, axis=1)[:, None], features(new) - mean)
    expected = np.log1p(np.exp(features(new)[3] + 0.25 * outputs.max(0)))
    np.testing.assert_allclose(model.score([new], RNG).anomaly[new.mask], expected[new.mask], rtol=1e-4)


def test_without_a_share_in_it_t1_is_neither_asked_for_nor_sent() -> None:
    model = made(noise="white", beside=0.0, may_lack=("T1w",))
    people = People(4)
    sum_up(model, people)
    new = scan(np.random.default_rng(4))
    found = model.score([new], RNG).anomaly
    images = new.images.copy()
    images[0] = 0
    without = model.score([replace(new, images=images, present=np.array([False, True]))], RNG).anomaly
    np.testing.assert_array_equal(found, without)
    lacking = People(4)
    lacking.scans = [
        replace(one, images=one.images * [[[[0]]], [[[1]]]], present=np.array([False, True])) for one in lacking.scans
    ]
    assert (
        model.statistics("moments", lacking, RNG)["count"].sum()
        == model.statistics("moments", people, RNG)["count"].sum()
    )


def test_a_ball_leaves_in_its_centre_what_a_fine_grid_says() -> None:
    model = made(modalities=("FLAIR",), radii_mm=(4.0, 9.0))
    axis = np.arange(-60, 61) * 0.5
    distance = np.sqrt(sum(a**2 for a in np.meshgrid(axis, axis, axis, indexing="ij")))
    for radius, signature in zip((4.0, 9.0), model.signatures(), strict=True):
        ball = (distance <= radius).astype(np.float32)
        left = [float(ndimage.gaussian_filter(ball, s / 0.5)[60, 60, 60]) if s else 1.0 for s in SCALES]
        np.testing.assert_allclose(signature, left, atol=0.01)


def test_on_normal_tissue_a_filter_has_unit_variance_and_a_ball_raises_it_where_it_is() -> None:
    people = People(30, channels=1)
    model = made(modalities=("FLAIR",), radii_mm=(4.0,), spacing_mm=60.0)
    sum_up(model, people)
    outputs = [
        model.detector(one, robust_units(one.images, one.mask, one.present), np.flatnonzero(one.mask))
        for one in People(5, seed=8, channels=1).scans
    ]
    pooled = np.concatenate(outputs)
    assert pooled.mean() == pytest.approx(0, abs=0.1)
    assert pooled.std() == pytest.approx(1, abs=0.1)
    ill = People(1, seed=9, channels=1).scans[0]
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in ill.mask.shape], indexing="ij"), -1)
    ball = np.linalg.norm((grid - [13, 14, 3]) * 2.0, axis=-1) <= 4
    bright = replace(ill, images=ill.images + 0.35 * ball[None].astype(np.float32))
    scores = [model.score([one], RNG).anomaly for one in (bright, ill)]
    assert ball.ravel()[np.argmax(scores[0] - scores[1])]


def test_federated_is_pooled_to_the_last_digits() -> None:
    people = People(6)
    alone, together = made(), made()
    sum_up(alone, people)
    parts = [together.statistics("moments", part, RNG) for part in split(people, 1, 2, 3)]
    together.absorb("moments", named.add(parts))
    new = scan(np.random.default_rng(4))
    np.testing.assert_allclose(
        together.score([new], RNG).anomaly, alone.score([new], RNG).anomaly, rtol=1e-5, atol=1e-6
    )


def test_without_weight_the_score_is_the_units_of_flair_and_flair_is_found_by_its_name() -> None:
    new = scan(np.random.default_rng(4))
    model = made(normative=0.0)
    sum_up(model, People(2))
    units = robust_units(new.images, new.mask, new.present)[1]
    np.testing.assert_allclose(model.score([new], RNG).anomaly[new.mask], np.log1p(np.exp(units[new.mask])), rtol=1e-5)


def test_without_t1_the_detector_is_that_of_flair_alone() -> None:
    people, new = People(6), scan(np.random.default_rng(4))
    both, flair = made(may_lack=("T1w",)), made(modalities=("FLAIR",))
    sum_up(both, people)
    only = People(6)
    only.scans = [replace(one, images=one.images[1:], present=np.ones(1, bool)) for one in people.scans]
    sum_up(flair, only)
    images = new.images.copy()
    images[0] = 0
    absent = replace(new, images=images, present=np.array([False, True]))
    np.testing.assert_allclose(
        both.score([absent], RNG).anomaly,
        flair.score([replace(new, images=new.images[1:], present=np.ones(1, bool))], RNG).anomaly,
        rtol=2e-3,
        atol=1e-4,
    )


HEAD = ndimage.gaussian_filter(RNG.standard_normal((26, 28, 6)), 3.0)  # what everybody's brain looks like


def alike(person: int, contrast: float = 6.0) -> Scan:
    """A person whose T1 and FLAIR show one anatomy, as two of an own."""
    one = scan(np.random.default_rng(100 + person))
    own = np.random.default_rng(200 + person)
    images = np.stack([contrast * HEAD / HEAD.std(), -contrast * HEAD / HEAD.std()])
    images += ndimage.gaussian_filter(own.standard_normal(images.shape), (0, 2, 2, 2)) * 6
    return replace(one, images=((images + own.standard_normal(images.shape)) * one.mask).astype(np.float32))


@cache
def learnt(**values: Any) -> MatchedFilter:
    people = People(12)
    people.scans = [alike(person) for person in range(12)]
    model = made(**values)
    sum_up(model, people)
    return model


def changed(one: Scan, channel: int, how: Any) -> Scan:
    images = one.images.copy()
    images[channel] = how(images[channel]) * one.mask
    return replace(one, images=images)


def lacking_t1(one: Scan) -> Scan:
    return replace(one, images=one.images * [[[[0]]], [[[1]]]], present=np.array([False, True]))


UNLIKE: dict[str, Any] = {
    "inverted": lambda t1: -t1,
    "noise": lambda t1: np.random.default_rng(7).standard_normal(t1.shape).astype(np.float32),
    "of a head that is turned round": lambda t1: t1[::-1, ::-1],
}


@pytest.mark.parametrize("noise", ["white", "learnt"])
@pytest.mark.parametrize("how", UNLIKE)
def test_a_t1_unlike_what_was_learnt_counts_as_absent_and_the_map_says_so(how: str, noise: str) -> None:
    model = learnt(noise=noise, may_lack=("T1w",))
    unlike = changed(alike(20), 0, UNLIKE[how])
    found = model.score([unlike], RNG)
    np.testing.assert_array_equal(found.anomaly, model.score([lacking_t1(unlike)], RNG).anomaly)
    (remark,) = found.remarks
    assert remark.startswith("T1w is unlike what the model learnt from, in ")
    assert remark.endswith("it was left out of the map.")
    unchecked = learnt(noise=noise, may_lack=("T1w",), unlike=1.0).score([unlike], RNG)
    assert unchecked.remarks == ()
    assert np.abs(unchecked.anomaly - found.anomaly).max() > 0.01


ALIKE: dict[str, Any] = {
    "as it is": lambda t1: t1,
    "in other units": lambda t1: 40 * t1 + 300,
    "with a steeper contrast in the middle": lambda t1: np.tanh(t1 / 2 / t1[t1 != 0].std()),
    "with a lesion in a twentieth of the brain": lambda t1: np.where(np.indices(t1.shape)[0] < 4, -60, t1),
}


@pytest.mark.parametrize("noise", ["white", "learnt"])
@pytest.mark.parametrize("how", ALIKE)
def test_a_t1_of_the_same_tissue_counts_as_if_nothing_were_checked(how: str, noise: str) -> None:
    for person in (20, 21, 22):
        one = changed(alike(person), 0, ALIKE[how])
        found = learnt(noise=noise).score([one], RNG)
        assert found.remarks == ()
        np.testing.assert_array_equal(found.anomaly, learnt(noise=noise, unlike=1.0).score([one], RNG).anomaly)


def test_a_flair_unlike_what_was_learnt_is_told_and_still_counts() -> None:
    for values in ({"noise": "white", "beside": 0.0}, {}):
        unlike = changed(alike(20), 1, UNLIKE["inverted"])
        found = learnt(**values).score([unlike], RNG)
        (remark,) = found.remarks
        assert remark.startswith("FLAIR is unlike what the model learnt from")
        assert remark.endswith("before you trust the map (a large lesion does this, too).")
        np.testing.assert_array_equal(found.anomaly, learnt(**values, unlike=1.0).score([unlike], RNG).anomaly)


def test_sums_of_a_model_that_could_not_tell_what_is_unlike_are_refused_by_one_that_can() -> None:
    older, model = learnt(unlike=1.0), made()
    with pytest.raises(WireError, match="there is no between"):
        model.load(older.share())
    older.load(learnt().share())  # what it has no use for does not matter


HOSTILE: dict[str, tuple[str, Any]] = {
    "scans out of reach": ("between", lambda a: a + 1e9),
    "scans below their mean": ("between", lambda a: a * 0.5),
    "units out of reach": ("sum", lambda a: a * 0 + 1e9),
    "squares out of reach": ("products", lambda a: a * 1e6),
    "no covariance": ("products", lambda a: -a),
    "nobody": ("count", lambda a: a * 0),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_sums_that_nobody_can_have_are_refused(what: str) -> None:
    model = made()
    sums = model.statistics("moments", People(3), RNG)
    model.check("moments", sums)
    name, change = HOSTILE[what]
    sums[name] = change(sums[name])
    with pytest.raises(WireError):
        model.absorb("moments", sums)
