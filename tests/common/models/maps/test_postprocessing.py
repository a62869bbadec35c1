"""What is done to maps, against kernels written out and distances measured one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from learning import sum_up
from scipy import ndimage
from synthetic import SHAPE, People, anatomy, scan, setting

from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.learning.setting import Setting
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import Pipeline, assemble
from normfed_common.models.maps.area_opening import area_opening
from normfed_common.models.maps.postprocessing import postprocessed, weights
from normfed_common.studies import validate_learner
from normfed_common.study.config import StudyConfig
from normfed_common.study.postprocessing import OFF, PostprocessingConfig


def one() -> tuple[Score, Scan]:
    rng = np.random.default_rng(5)
    person = scan(rng)
    anomaly, doubt = ((person.mask * rng.random(SHAPE)).astype(np.float32) for _ in range(2))
    return Score(anomaly, doubt, {"first": person.images[0]}), person


def after(**values: Any) -> Score:
    return postprocessed(*one(), PostprocessingConfig(**values), setting())


def test_by_default_nothing_happens() -> None:
    score, person = one()
    assert postprocessed(score, person, OFF, setting()) is score
    assert postprocessed(score, person, PostprocessingConfig(edge_mm=9.0, edge_factor=1.0), setting()) is score


def test_smoothing_is_the_mean_weighted_by_a_gaussian_over_the_voxels_inside() -> None:
    """Every weight of the kernel written out, at every voxel of the brain; 3 mm at voxels of 2 mm."""
    score, person = one()
    inside = np.argwhere(person.mask).astype(float)
    values = score.anomaly[person.mask].astype(float)
    apart = inside[:, None] - inside[None]
    kernel = np.exp(-(apart**2).sum(2) / (2 * 1.5**2)) * (np.abs(apart).max(2) <= 5)  # cut at 3 deviations
    found = after(smoothing_mm=3.0).anomaly
    np.testing.assert_allclose(found[person.mask], kernel @ values / kernel.sum(1), rtol=1e-5)
    assert not found[~person.mask].any()


def test_a_constant_map_stays_constant_inside_to_its_border() -> None:
    _, person = one()
    flat = Score(2.5 * person.mask.astype(np.float32))
    found = postprocessed(flat, person, PostprocessingConfig(smoothing_mm=4.0), setting())
    np.testing.assert_allclose(found.anomaly, flat.anomaly, rtol=1e-6)


def test_an_edge_of_one_voxel_is_an_erosion_and_a_factor_softens_it() -> None:
    score, person = one()
    eroded = ndimage.binary_erosion(person.mask)
    np.testing.assert_array_equal(after(edge_mm=1.5).anomaly, score.anomaly * eroded)
    half = after(edge_mm=1.5, edge_factor=0.5).anomaly
    np.testing.assert_array_equal(half, np.where(eroded, score.anomaly, score.anomaly / 2))


def test_fluid_of_the_template_is_0_and_spreads_into_no_tissue() -> None:
    score, person = one()
    fluid = anatomy().fluid > 0.5
    assert (fluid & person.mask).any()
    np.testing.assert_array_equal(after(fluid="template").anomaly, np.where(fluid, 0, score.anomaly))
    loud = Score(np.where(fluid & person.mask, 1e6, score.anomaly).astype(np.float32))
    config = PostprocessingConfig(fluid="template", smoothing_mm=3.0)
    quiet, other = (postprocessed(each, person, config, setting()).anomaly for each in (score, loud))
    np.testing.assert_allclose(other, quiet, rtol=1e-6)


def test_a_patients_fluid_is_told_from_the_scan_itself() -> None:
    _, person = one()
    dark = person.mask & (np.arange(SHAPE[0]) < 10)[:, None, None]
    person.images[0] = np.where(dark, 0.1, 0.8) * person.mask + 0.05 * person.images[0]
    found = weights(person, PostprocessingConfig(fluid="patient"), setting())
    np.testing.assert_array_equal(found, person.mask & ~dark)


def test_small_peaks_are_cut_after_the_smoothing() -> None:
    smooth, found = after(smoothing_mm=1.4), after(smoothing_mm=1.4, minimum_cluster_mm3=64.0)
    np.testing.assert_array_equal(found.anomaly, area_opening(smooth.anomaly, 8))
    assert (found.anomaly < smooth.anomaly).any()


def test_the_uncertainty_of_a_smoothed_score_is_the_most_it_can_be_and_extras_stay() -> None:
    """Errors of neighbours that go together, the worst there is, give a smoothed map of that standard deviation."""
    score, person = one()
    assert score.uncertainty is not None
    config = PostprocessingConfig(smoothing_mm=3.0, edge_mm=1.5, edge_factor=0.5)
    error = np.random.default_rng(0).standard_normal(400)  # one per repetition, the same everywhere
    shaken = [
        postprocessed(Score((100 * person.mask + e * score.uncertainty).astype(np.float32)), person, config, setting())
        for e in error
    ]
    found = postprocessed(score, person, config, setting())
    assert found.uncertainty is not None
    spread = np.std([each.anomaly for each in shaken], axis=0)
    np.testing.assert_allclose(found.uncertainty, spread / error.std(), rtol=1e-2, atol=1e-4)
    np.testing.assert_array_equal(found.extras["first"], score.extras["first"])


@pytest.mark.parametrize("fluid", ["keep", "template", "patient"])
def test_whatever_is_chosen_maps_stay_finite_float32_never_negative_and_0_outside(fluid: Any) -> None:
    _, person = one()
    found = after(fluid=fluid, smoothing_mm=1.0, edge_mm=3.0, edge_factor=0.3, minimum_cluster_mm3=40.0)
    for values in (found.anomaly, found.uncertainty):
        assert values is not None
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert not values[~person.mask].any()
    assert found.anomaly.any()


def entry(**values: Any) -> dict[str, Any]:
    return validate_learner(MODELS, {"name": "atlas", **values}, "test")


def test_an_entrys_own_post_processing_takes_the_place_of_the_studys() -> None:
    study = replace(setting(), postprocessing=PostprocessingConfig(smoothing_mm=3.0))
    assert not isinstance(assemble((), entry(), setting()), Pipeline)
    assert not isinstance(assemble((), entry(postprocessing={}), study), Pipeline)
    for where, chosen, smoothing in ((study, entry(), 3.0), (study, entry(postprocessing={"smoothing_mm": 1.0}), 1.0)):
        made = assemble((), chosen, where)
        assert isinstance(made, Pipeline)
        assert made.postprocessing.smoothing_mm == smoothing


def test_the_studys_post_processing_reaches_every_model_by_its_setting(study: StudyConfig) -> None:
    smoothed = study.model_copy(update={"postprocessing": PostprocessingConfig(smoothing_mm=3.0)})
    for name in MODELS:
        chosen = validate_learner(MODELS, {"name": name}, "test")
        made = assemble((), chosen, Setting.of(smoothed))
        assert isinstance(made, Pipeline)
        assert made.postprocessing.smoothing_mm == 3.0
        assert not isinstance(assemble((), chosen, Setting.of(study)), Pipeline)


def test_a_model_learns_the_same_and_its_maps_alone_are_changed() -> None:
    people = People(3)
    plain, made = assemble((), entry(), setting()), assemble((), entry(postprocessing={"smoothing_mm": 3.0}), setting())
    for model in (plain, made):
        sum_up(model, people)
    for name, array in plain.share().items():
        np.testing.assert_array_equal(made.share()[name], array)
    person = people.scan(0)
    scores = [model.score([person], np.random.default_rng(0)) for model in (plain, made)]
    config = PostprocessingConfig(smoothing_mm=3.0)
    np.testing.assert_array_equal(scores[1].anomaly, postprocessed(scores[0], person, config, setting()).anomaly)
    assert (scores[1].anomaly != scores[0].anomaly).any()


def test_grey_matter_weighs_less_by_its_distance_from_the_white_matter_of_the_template() -> None:
    score, person = one()
    found = after(grey_factor=0.4).anomaly
    white = anatomy().white.astype(float)
    voxels = np.argwhere(np.ones(SHAPE)).astype(float)
    shares = np.zeros(SHAPE)
    for voxel in np.argwhere(person.mask)[::40]:
        kernel = np.exp(-((voxels - voxel) ** 2).sum(1) / (2 * 2.5**2)).reshape(SHAPE)
        shares[tuple(voxel)] = (kernel * white).sum() / kernel.sum()
    # Deep inside, where no kernel reaches beyond the grid, the ratio of factors is that of the kernels' means.
    here = (shares > 0) & (ndimage.distance_transform_edt(np.pad(np.ones(SHAPE), 1))[1:-1, 1:-1, 1:-1] > 2.9)
    factor = found[here] / score.anomaly[here]
    share = (factor - 0.4) / 0.6
    assert share.max() <= 1
    order = np.argsort(shares[here])
    assert np.corrcoef(share, shares[here])[0, 1] > 0.95
    assert factor[order[-1]] > factor[order[0]]
    np.testing.assert_array_equal(after(grey_factor=1.0).anomaly, score.anomaly)
    assert PostprocessingConfig(grey_factor=0.4, edge_mm=5).title == "edge-5mm+grey-x0.4"


def test_an_edge_without_a_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="edge_factor says nothing without edge_mm"):
        PostprocessingConfig(edge_factor=0.5)
