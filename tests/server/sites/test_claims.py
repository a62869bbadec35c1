"""A site's sums are held against what each of the study's metrics can be, a plug-in's too."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from contracts.entries import EVERY_MODEL, Entry, every, model_of
from synthetic import People, setting
from toy_metric import METRIC

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.learning.bounded import longest, of_size
from normfed_common.learning.entries import build
from normfed_common.metrics.base import Metric
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.groups import EVERYBODY
from normfed_common.metrics.summary import summarise
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.mixture import Mixture, MixtureConfig
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released
from normfed_common.studies import validate_learner
from normfed_common.wire.evaluation import summary_arrays
from normfed_server.sites import claims
from normfed_server.sites.description import SiteDescription

PEOPLE = 6
SITE = SiteDescription(9, 2, PEOPLE, ())
METRICS = (*BUILT_IN, METRIC)
GROUPS = (EVERYBODY,)


def said(metric: str, value: float, metrics: tuple[Metric, ...] = METRICS) -> dict[str, np.ndarray]:
    """Sums of people who all have this figure."""
    rows = [{"auroc": 0.5, metric: value}] * PEOPLE
    return summary_arrays(summarise(rows, ["MS"] * PEOPLE, (EVERYBODY,), 4, 1, "a", metrics=metrics))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_figures_up_to_a_metric_s_bounds_are_believed_and_beyond_them_not(metric: Metric) -> None:
    for value in (metric.lowest, metric.highest):
        found = claims.summary(GROUPS, said(metric.name, value), 4, SITE, METRICS)
        assert found.mean(metric.name) == pytest.approx(value)
    for value in (metric.lowest - 0.01, metric.highest + 0.01):
        with pytest.raises(WireError, match="figures that no person can have"):
            claims.summary(GROUPS, said(metric.name, value), 4, SITE, METRICS)


def test_sums_of_other_metrics_than_the_study_s_are_refused() -> None:
    """A site that has a plug-in which the study does not name, or lacks one that it does."""
    for there, asked in ((METRICS, BUILT_IN), (BUILT_IN, METRICS)):
        with pytest.raises(WireError, match="a summary has shapes"):
            claims.summary(GROUPS, said("auroc", 0.5, there), 4, SITE, asked)


def test_figures_without_an_auroc_are_believed_and_those_of_nobody_are_not() -> None:
    """A hospital leaves out what is one person's: AUROCs are of which all others are 1."""
    rows = [{"auroc": 1.0, "dice": 0.1 * n} for n in range(PEOPLE)]
    rows[0]["auroc"] = 0.7
    for told in (rows, [{} for _ in rows]):
        sums = summary_arrays(summarise(told, ["MS"] * PEOPLE, GROUPS, 4, 1, "a", minimum=3, metrics=METRICS))
        if told is rows:
            assert claims.summary(GROUPS, sums, 4, SITE, METRICS).n("auroc") == 0
            continue
        assert claims.summary(GROUPS, sums, 4, SITE, METRICS, perhaps_nobody=True).n("auroc") == 0
        with pytest.raises(WireError, match="of nobody"):
            claims.summary(GROUPS, sums, 4, SITE, METRICS)


def otherwise(array: np.ndarray) -> Iterator[np.ndarray]:
    """Of other shapes, and of the same with numbers that nobody has."""
    yield from (np.array(1.0), np.zeros(0), np.zeros((0,) * max(array.ndim, 1)), array[..., None], array[None])
    yield from (array.T, array.ravel(), array[..., :-1] if array.ndim else np.zeros(2))
    yield from (np.full_like(array, value) for value in (0.0, 5e-324, 1.0, claims.LARGEST_SUM, -1.0, np.nan))
    for place, value in ((0, claims.LARGEST_SUM), (-1, -claims.LARGEST_SUM)):
        changed = array.copy()
        changed.flat[place] = value
        yield changed


@every(EVERY_MODEL)
def test_whatever_a_site_sends_as_sums_is_taken_or_refused_in_words(entry: Entry) -> None:
    """Anything but a `WireError` would end the run of all sites."""
    people, model, server = People(4), model_of(entry), model_of(entry)
    for phase in (phase.name for phase in model.phases() if phase.kind == "summed"):
        honest = {n: np.asarray(v, float) for n, v in model.statistics(phase, people, np.random.default_rng(0)).items()}
        for name in honest:
            for array in otherwise(honest[name]):
                with suppress(WireError):
                    taken = claims.sums({**honest, name: array}, server, phase, 4)
                    copy.deepcopy(server).absorb(phase, taken)
        for one in (model, server):
            one.absorb(phase, honest)


def test_a_check_that_did_not_think_of_such_sums_costs_its_site_only() -> None:
    class Careless(Mixture):
        def check(self, phase: str, sums: Arrays) -> None:
            sums["count"][3]

    with pytest.raises(WireError, match="none that can be checked"):
        claims.sums({"count": np.ones(2)}, Careless(MixtureConfig(), setting()), "moments", 4)


PRIVATE: tuple[dict[str, object], ...] = ({"name": "atlas"}, {"name": "matched-filter"}, {"name": "mixture"})


def private_sums(entry: dict[str, object], multiplier: float) -> tuple[NormativeModel, str, Arrays]:
    """A server's model, its first phase, and what a site of `PEOPLE` people answers."""
    raw = validate_learner(MODELS, entry, "test")
    here = build(MODELS, raw, replace(setting(), private=True))
    there = build(MODELS, raw, replace(setting(), private=True, shape=(1, 1, 1), open_anatomy=None))
    phase = here.phases()[0].name
    bounded = here.bounded(phase)
    assert bounded is not None
    noise = SecretNoise(bytes(range(32)))
    return there, phase, released(bounded, People(PEOPLE), np.random.default_rng, noise, multiplier)


@pytest.mark.parametrize("multiplier", [0.0, 0.5, 20.0])
@pytest.mark.parametrize("entry", PRIVATE, ids=lambda entry: entry["name"])
def test_noisy_sums_are_believed_and_returned_as_they_are(entry: dict[str, object], multiplier: float) -> None:
    """Noise of sites is to cancel: what is repaired at each would be biased."""
    model, phase, found = private_sums(entry, multiplier)
    for name, array in claims.sums(found, model, phase, PEOPLE, multiplier).items():
        np.testing.assert_array_equal(array, found[name])


@pytest.mark.parametrize("entry", PRIVATE, ids=lambda entry: entry["name"])
def test_noisy_sums_that_are_longer_than_people_and_noise_are_refused(entry: dict[str, object]) -> None:
    """Just below the longest that so many people and ten sigmas of noise can be, and just beyond."""
    model, phase, found = private_sums(entry, 0.0)
    bounded = model.bounded(phase)
    assert bounded is not None
    size = of_size(bounded.shapes())
    most = longest(PEOPLE, 0.7, size)
    for length, believed in ((0.999 * most, True), (1.01 * most, False)):
        each = {name: np.full(shape, length / np.sqrt(size)) for name, shape in bounded.shapes().items()}
        if believed:
            claims.sums(found | each, model, phase, PEOPLE, 0.7)
        else:
            with pytest.raises(WireError, match="parts add up to a length of"):
                claims.sums(found | each, model, phase, PEOPLE, 0.7)


@pytest.mark.parametrize("entry", PRIVATE, ids=lambda entry: entry["name"])
def test_noisy_sums_of_other_shapes_of_more_people_or_that_are_no_numbers_are_refused(entry: dict[str, object]) -> None:
    model, phase, found = private_sums(entry, 0.5)
    name = max(found, key=lambda name: found[name].size)
    strange = (
        {name: found[name][:-1]},
        {name: np.full_like(found[name], np.nan)},
        {name: found[name].astype(np.float32)},
        {"people": np.asarray(PEOPLE + 1.0)},
        {"people": np.asarray(0.0)},
        {"people": np.full(1, 1.0)},
        *({"voxels": found["voxels"] * factor} for factor in (0, 1e9) if "voxels" in found),
    )
    for change in strange:
        with pytest.raises(WireError):
            claims.sums(found | change, model, phase, PEOPLE, 0.5)
    lacking = {other: array for other, array in found.items() if other != name}
    with pytest.raises(WireError):
        claims.sums(lacking, model, phase, PEOPLE, 0.5)
