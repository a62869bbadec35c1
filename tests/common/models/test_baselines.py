"""The baselines that learn little or nothing, against their formulas."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import iqr, rankdata
from synthetic import People, setting, split

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import build
from normfed_common.models.atlas import Atlas
from normfed_common.models.catalogue import MODELS
from normfed_common.models.intensity import Intensity, IntensityConfig
from normfed_common.models.voxelwise.intensities import smoothed_inside


def test_federated_atlas_equals_pooled_atlas() -> None:
    people = People(7)
    federated, pooled = build(MODELS, {"name": "atlas"}, setting()), build(MODELS, {"name": "atlas"}, setting())
    rng = np.random.default_rng(0)
    federated.absorb("moments", named.add([federated.statistics("moments", p, rng) for p in split(people, 2, 4, 1)]))
    pooled.absorb("moments", pooled.statistics("moments", people, rng))
    maps = [model.score([people.scan(3)], rng).anomaly for model in (federated, pooled)]
    assert np.abs(maps[0] - maps[1]).max() < 1e-8 * max(1.0, np.abs(maps[1]).max())


def test_atlas_is_the_textbook_z_score_without_a_prior() -> None:
    people = People(9, channels=1)
    model = build(MODELS, {"name": "atlas", "prior_subjects": 0.0, "score": "rms"}, setting(("T1w",)))
    model.absorb("moments", model.statistics("moments", people, np.random.default_rng(0)))
    item = people.scan(2)
    everywhere = np.logical_and.reduce([v.mask for v in people.scans])
    stack = np.stack([v.images[0] for v in people.scans]).astype(float)
    expected = np.abs(item.images[0] - stack.mean(0)) / stack.std(0)
    found = model.score([item], np.random.default_rng(0)).anomaly
    np.testing.assert_allclose(found[everywhere], expected[everywhere], rtol=1e-4)


def test_atlas_knows_nothing_where_nobody_had_brain() -> None:
    people = People(3)
    for item in people.scans:
        object.__setattr__(item, "normal_index", item.normal_index[item.normal_index > 2000])
    model = build(MODELS, {"name": "atlas"}, setting())
    model.absorb("moments", model.statistics("moments", people, np.random.default_rng(0)))
    found = model.score([people.scan(0)], np.random.default_rng(0)).anomaly
    assert np.isfinite(found).all()
    assert (found.ravel()[:2000] == 0).all()


def without(people: People, channel: int, *numbers: int) -> People:
    """The same people, of whom some lack a modality."""
    for number in numbers:
        one = people.scans[number]
        images, present = one.images.copy(), one.present.copy()
        images[channel], present[channel] = 0, False
        people.scans[number] = replace(one, images=images, present=present)
    return people


def atlas(may_lack: tuple[str, ...] = (), modalities: tuple[str, ...] = ("T1w", "FLAIR"), **values: object) -> Atlas:
    made = build(MODELS, {"name": "atlas", **values}, replace(setting(modalities), may_lack=may_lack))
    assert isinstance(made, Atlas)
    return made


def test_each_modality_of_an_atlas_is_the_atlas_of_those_who_have_it() -> None:
    people = without(People(8), 1, 0, 3, 4)
    whole = atlas(("FLAIR",))
    sums = whole.statistics("moments", people, np.random.default_rng(0))
    assert sums["count"].shape == sums["sum"].shape
    whole.absorb("moments", sums)
    for channel, modality in enumerate(("T1w", "FLAIR")):
        alone, those = atlas(modalities=(modality,)), People(0)
        those.scans = [
            replace(one, images=one.images[[channel]], present=one.present[[channel]])
            for one in people.scans
            if one.present[channel]
        ]
        alone.absorb("moments", alone.statistics("moments", those, np.random.default_rng(0)))
        for found, expected in zip(whole.mean_and_variance(), alone.mean_and_variance(), strict=True):
            np.testing.assert_array_equal(found[channel], expected[0])


def test_a_scan_is_scored_by_the_modalities_that_it_has() -> None:
    people = without(People(8), 1, 0, 3, 4)
    made, rng = atlas(("FLAIR",), prior_subjects=1.0, score="rms"), np.random.default_rng(0)
    made.absorb("moments", made.statistics("moments", people, rng))
    mean, variance = made.mean_and_variance()
    z = {n: np.nan_to_num(np.abs(people.scan(n).images - mean) / np.sqrt(variance)) for n in (0, 1)}
    expected = {0: z[0][0], 1: np.sqrt((z[1][0] ** 2 + z[1][1] ** 2) / 2)}
    everywhere = np.isfinite(mean).all(0)
    for number, values in expected.items():
        one = people.scan(number)
        found = made.score([one], rng).anomaly
        np.testing.assert_allclose(found[everywhere & one.mask], values[everywhere & one.mask], rtol=1e-4)
        assert (found[~one.mask] == 0).all()


def test_an_atlas_of_a_site_where_nobody_has_a_modality_knows_the_others() -> None:
    people, both, rng = without(People(4), 1, *range(4)), People(1, seed=9), np.random.default_rng(0)
    made, alone = atlas(("FLAIR",)), atlas(modalities=("T1w",))
    made.absorb("moments", made.statistics("moments", people, rng))
    people.scans = [replace(one, images=one.images[:1], present=one.present[:1]) for one in people.scans]
    alone.absorb("moments", alone.statistics("moments", people, rng))
    one = both.scan(0)
    expected = alone.score([replace(one, images=one.images[:1], present=one.present[:1])], rng).anomaly
    np.testing.assert_array_equal(made.score([one], rng).anomaly, expected)
    assert expected.any()


def test_an_atlas_scores_the_same_whether_or_not_scans_that_lack_nothing_might() -> None:
    people, rng = People(5), np.random.default_rng(0)
    found = []
    for may_lack in ((), ("FLAIR",), ("T1w",)):
        made = atlas(may_lack)
        made.absorb("moments", made.statistics("moments", people, rng))
        found.append(made.score([people.scan(2)], rng).anomaly)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_sums_of_a_modality_that_nobody_counted_are_nobodys() -> None:
    made = atlas(("FLAIR",))
    sums = made.statistics("moments", without(People(4), 1, *range(4)), np.random.default_rng(0))
    sums["sum"] = sums["sum"].copy()
    sums["sum"][1] = 1.0
    with pytest.raises(WireError):
        made.absorb("moments", sums)
    with pytest.raises(WireError, match="count is of shape"):
        made.absorb("moments", {**sums, "count": sums["count"][0]})


@pytest.mark.parametrize(
    ("modality", "channel", "expected"),
    [("FLAIR", 1, lambda r: r), ("T1w", 0, lambda r: 2 * abs(r - 0.5))],
)
def test_intensity_is_the_rank_inside_the_brain(modality: str, channel: int, expected) -> None:  # type: ignore[no-untyped-def]
    item = People(1).scan(0)
    model = build(MODELS, {"name": "intensity", "modality": modality}, setting())
    found = model.score([item], np.random.default_rng(0)).anomaly[item.mask]
    values = item.images[channel][item.mask]
    np.testing.assert_allclose(found, expected((rankdata(values) - 0.5) / len(values)), rtol=1e-6)


def measured(item: Scan, **values: object) -> np.ndarray:
    model = build(MODELS, {"name": "intensity", **values}, setting())
    return model.score([item], np.random.default_rng(0)).anomaly[item.mask]


@pytest.mark.parametrize(("suspicious", "sign"), [("bright", 1), ("dark", -1), ("both", 0)])
def test_intensity_in_units_is_their_softplus_to_the_suspicious_side(suspicious: str, sign: int) -> None:
    item = People(1).scan(0)
    values = item.images[1][item.mask].astype(float)
    units = (values - np.median(values)) / iqr(values, scale="normal")
    expected = np.log1p(np.exp(sign * units if sign else np.abs(units)))
    np.testing.assert_allclose(measured(item, scale="units", suspicious=suspicious), expected, rtol=1e-3)


def test_intensity_in_units_of_one_voxel_does_not_change_with_a_lesion_elsewhere_as_its_rank_does() -> None:
    item = People(1).scan(0)
    bright, lesion = np.argwhere(item.mask)[-1], np.argwhere(item.mask)[:40]
    healthy, ill = item.images.copy(), item.images.copy()
    healthy[(1, *bright)] = ill[(1, *bright)] = 1.2
    ill[(1, *lesion.T)] = 2.0
    found = {
        scale: [measured(replace(item, images=images), scale=scale)[-1] for images in (healthy, ill)]
        for scale in ("units", "rank")
    }
    assert found["rank"][0] > 0.999 > 0.98 > found["rank"][1]
    assert found["units"][1] == pytest.approx(found["units"][0], rel=0.05)


def test_smoothed_intensity_is_ranked_after_smoothing_inside_the_brain() -> None:
    item = People(1).scan(0)
    values = smoothed_inside(item.images[1], item.mask, 1.5)[item.mask]
    expected = (rankdata(values) - 0.5) / len(values)
    np.testing.assert_allclose(measured(item, smoothing_mm=3.0), expected, rtol=1e-6)


def test_variants_of_intensity_have_names_of_their_own() -> None:
    names = {
        Intensity.title(IntensityConfig(scale=scale, smoothing_mm=smoothing), ("T1w", "FLAIR"))
        for scale in ("rank", "units")
        for smoothing in (0.0, 2.0)
    }
    assert names == {
        "flair-intensity",
        "flair-intensity-smoothed",
        "flair-intensity-units",
        "flair-intensity-units-smoothed",
    }
