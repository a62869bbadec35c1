import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import iqr, norm
from synthetic import SHAPE, scan, setting

from normfed_common.foundation.errors import StudyError
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.models.intensity import Intensity
from normfed_common.models.matched_filter import MatchedFilter
from normfed_common.models.slicewise.slices import signs_of
from normfed_common.models.voxelwise.intensities import UNITS, main_modality, robust_units, smoothed_inside
from normfed_common.studies import validate_learner

BOTH = np.ones(2, bool)
one = scan(np.random.default_rng(5))


def test_units_are_those_of_a_robust_scaler() -> None:
    found = robust_units(one.images, one.mask, BOTH)
    for channel in range(2):
        values = one.images[channel][one.mask].astype(np.float64)
        expected = (values - np.median(values)) / iqr(values, scale="normal")
        np.testing.assert_allclose(found[channel][one.mask], np.clip(expected, *UNITS), rtol=1e-3, atol=1e-6)


def test_units_of_normally_distributed_tissue_are_standard_deviations() -> None:
    mask = np.ones((50, 50, 40), bool)
    values = norm.ppf((np.arange(mask.size) + 0.5) / mask.size).reshape(mask.shape)
    found = robust_units(100 + 7 * values[None], mask, BOTH[:1])
    np.testing.assert_allclose(found[0], np.clip(values, *UNITS), rtol=1e-3, atol=1e-3)


def test_units_do_not_depend_on_the_scanners_scale_and_offset() -> None:
    expected = robust_units(one.images, one.mask, BOTH)
    np.testing.assert_allclose(robust_units(40 * one.images + 7, one.mask, BOTH), expected, atol=1e-4)


def test_units_are_clipped_and_what_is_outside_is_as_asked() -> None:
    images = one.images.copy()
    first, second = np.argwhere(one.mask)[:2]
    images[(0, *first)], images[(0, *second)] = 1e4, -1e4
    found = robust_units(images, one.mask, BOTH, outside=-5)
    assert (found[(0, *first)], found[(0, *second)]) == (8, -5)
    assert (found[:, ~one.mask] == -5).all()


def test_absent_and_constant_modalities_are_zero_in_the_brain() -> None:
    images = one.images.copy()
    images[0] = 0.3
    assert not robust_units(images, one.mask, np.array([True, False]))[:, one.mask].any()


def test_a_modality_of_which_most_is_one_value_is_measured_in_standard_deviations() -> None:
    mask = np.ones((10, 10, 10), bool)
    images = np.zeros((1, 10, 10, 10))
    images[0, 0] = 1.0
    found = robust_units(images, mask, BOTH[:1])
    assert found[0, 0] == pytest.approx(1 / images.std())
    assert not found[0, 1:].any()


def test_units_of_an_empty_brain_are_those_outside() -> None:
    assert not robust_units(one.images, np.zeros(SHAPE, bool), BOTH).any()


def test_units_stay_laid_out_as_the_images() -> None:
    images = np.asfortranarray(one.images)
    assert robust_units(images, one.mask, BOTH).strides == images.strides


def test_smoothing_is_the_weighted_mean_of_a_truncated_gaussian() -> None:
    values, sigma = one.images[0], 0.8
    x, y, z = np.argwhere(one.mask).T
    place = (13, 14, 3)
    square = np.stack([(axis - at) ** 2 for axis, at in zip((x, y, z), place, strict=True)])
    reach = int(3 * sigma + 0.5)
    weights = np.exp(-square.sum(0) / (2 * sigma**2)) * (square <= reach**2).all(0)
    expected = (weights * values[x, y, z]).sum() / weights.sum()
    assert smoothed_inside(values, one.mask, sigma)[place] == pytest.approx(expected, rel=1e-4)


def test_volumes_are_smoothed_together_as_each_alone() -> None:
    found = smoothed_inside(one.images, one.mask, 1.2)
    for volume, alone in zip(found, one.images, strict=True):
        np.testing.assert_array_equal(volume, smoothed_inside(alone, one.mask, 1.2))


def test_smoothing_keeps_constants_up_to_the_border_and_nothing_outside() -> None:
    found = smoothed_inside(np.where(one.mask, 3.0, np.nan), one.mask, 1.5)
    np.testing.assert_allclose(found[one.mask], 3, rtol=1e-5)
    assert not found[~one.mask].any()


def test_a_voxel_of_little_weight_says_little() -> None:
    values, weights = np.zeros((9, 9, 9)), np.ones((9, 9, 9))
    values[4, 4, 4] = 1.0
    heavy = smoothed_inside(values, weights, 1)[4, 4, 5]
    weights[4, 4, 4] = 0.01
    assert 0 < smoothed_inside(values, weights, 1)[4, 4, 5] < 0.02 * heavy


@pytest.mark.parametrize("weights", [one.mask, one.mask * np.linspace(0.1, 1, SHAPE[0])[:, None, None]])
def test_several_volumes_are_smoothed_alike_and_as_on_the_whole_grid(weights: np.ndarray) -> None:
    def plain(volume: np.ndarray) -> np.ndarray:
        both = (
            gaussian_filter(v.astype(np.float32), 2, mode="constant", truncate=3) for v in (volume * weights, weights)
        )
        return np.divide(*both, out=np.zeros(SHAPE, np.float32), where=one.mask)

    found = smoothed_inside(one.images, weights, 2)
    for volume, smoothed in zip(one.images, found, strict=True):
        np.testing.assert_allclose(smoothed, plain(volume), rtol=1e-5)
        np.testing.assert_array_equal(smoothed, smoothed_inside(volume, weights, 2))


def test_no_smoothing_leaves_the_volume() -> None:
    np.testing.assert_array_equal(smoothed_inside(one.images[0], one.mask, 0), np.where(one.mask, one.images[0], 0))


@pytest.mark.parametrize(
    ("modalities", "main"),
    [
        (("T1w", "T2w", "FLAIR"), "FLAIR"),
        (("T1w", "T2w"), "T2w"),
        (("T1w", "ce-gad_T1w"), "T1w"),
        (("pet", "T1w"), "pet"),
    ],
)
def test_every_model_takes_the_same_modality_for_the_main_one(modalities: tuple[str, ...], main: str) -> None:
    assert main_modality(None, modalities) == main
    assert main_modality("x", modalities) == "x"
    for model in (Intensity, MatchedFilter):
        assert model.needs(model.Config(), modalities) == (main,)
    bright = {main: "positive"} if main in ("FLAIR", "T2w") else dict.fromkeys(modalities, "absolute")
    assert signs_of(None, modalities) == bright


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        ("intensity", "modality", "T2w"),
        ("matched-filter", "modality", "T2w"),
        ("synthetic-anomalies", "modality", "T2w"),
        ("atlas", "suspicious", {"FLAIR": "bright", "T2w": "bright"}),
        ("matched-filter", "suspicious", {"FLAIR": "bright", "T2w": "bright"}),
        ("synthetic-anomalies", "suspicious", {"FLAIR": "bright", "T2w": "bright"}),
    ],
)
def test_every_model_refuses_a_modality_that_the_study_lacks_in_the_same_words(
    model: str, key: str, value: object
) -> None:
    with pytest.raises(StudyError) as refused:
        build(MODELS, {"name": model, key: value}, setting())
    assert str(refused.value) == (
        f"{model}: `{key}` names T2w, but the study has no T2w, only T1w, FLAIR. Change `{key}`, or leave it out."
    )


@pytest.mark.parametrize("model", ["matched-filter", "synthetic-anomalies"])
def test_a_model_that_looks_to_one_side_refuses_both(model: str) -> None:
    with pytest.raises(
        StudyError, match=r"^model: suspicious\.FLAIR: input should be 'bright' or 'dark' \(got 'both'\)"
    ):
        validate_learner(MODELS, {"name": model, "suspicious": {"FLAIR": "both"}}, "model")
