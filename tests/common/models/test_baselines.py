"""The baselines that learn little or nothing, against their formulas."""

import numpy as np
import pytest
from scipy.stats import rankdata
from synthetic import People, setting, split

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import StudyError
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS


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
    model = build(MODELS, {"name": "atlas", "prior_subjects": 0.0}, setting(("T1w",)))
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


def test_intensity_of_a_modality_that_the_study_lacks_is_refused() -> None:
    with pytest.raises(StudyError, match="the study has no T2w, only T1w, FLAIR"):
        build(MODELS, {"name": "intensity", "modality": "T2w"}, setting())
