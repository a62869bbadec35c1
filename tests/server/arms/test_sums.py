"""The sums of all sites are the sums over all their people; who sends others is left out, and said."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import ScriptedGrid
from synthetic import People, setting, split

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, SiteCode
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.entries import build
from normfed_common.learning.learner import named_sums
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released
from normfed_common.privacy.spending import spending
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import NONE, PrivacyConfig
from normfed_common.wire.answers import Answer, Summed
from normfed_server.arms.context import RunContext
from normfed_server.arms.in_training import ArmInTraining
from normfed_server.arms.plan import Arm
from normfed_server.arms.sums import add_up
from normfed_server.events.kinds import Event, Missing, Noted
from normfed_server.events.log import EventLog, subscribe
from normfed_server.sites.asking import Asker, SiteFailed
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.roster import Roster
from normfed_server.steps.progress import Progress
from normfed_simulation.engines.local import identify

ATLAS = {"name": "atlas"}
COHORTS = dict(zip("abcd", split(People(14), 6, 4, 3, 1), strict=True))
SIZES = {site: len(cohort) for site, cohort in COHORTS.items()}


def atlas() -> NormativeModel:
    return build(MODELS, ATLAS, setting())


def sums_of(cohort: People) -> Arrays:
    return atlas().statistics("moments", cohort, np.random.default_rng(0))


def private_atlas() -> NormativeModel:
    return build(MODELS, ATLAS, replace(setting(), private=True))


def bounded() -> Bounded:
    found = private_atlas().bounded("moments")
    assert found is not None
    return found


def private_sums(cohort: People, multiplier: float, key: int = 0) -> Arrays:
    return released(bounded(), cohort, np.random.default_rng, SecretNoise(bytes([key] * 32)), multiplier)


HONEST = {site: sums_of(cohort) for site, cohort in COHORTS.items()}
Job = Callable[..., ArmInTraining]


@pytest.fixture
def job(study: StudyConfig, tmp_path: Path) -> Job:
    """An atlas whose sites answer with their sums; ``instead`` says what some of them answer."""

    def made(
        forgiving: bool = True,
        notes: tuple[str, ...] = (),
        federation: dict[str, Any] | None = None,
        privacy: PrivacyConfig = NONE,
        **instead: Any,
    ) -> ArmInTraining:
        def behaviour(site: str, _: int) -> Any:
            found = instead.get(site, HONEST[site])
            if not isinstance(found, dict):
                return found
            return lambda name, _: (Answer(site=name, payload=Summed(), notes=notes), found)

        identify()
        grid = ScriptedGrid(behaviour, SIZES)
        asker = Asker(grid, threading.Event(), forgiving=forgiving)
        roster = Roster(grid, asker, Letterhead(study))
        roster.wait_for(len(SIZES))
        federated = study.federation.model_copy(update=federation or {})
        told = study.model_copy(update={"federation": federated, "privacy": privacy})
        context = RunContext(Letterhead(told), roster, asker, EventLog(tmp_path / "events.jsonl"))
        model = atlas() if privacy is NONE else private_atlas()
        return ArmInTraining(Arm("atlas", ATLAS, tuple(SIZES), {}), model, context, Progress([{}]))

    return made


def add(made: ArmInTraining) -> list[Event]:
    """One round; returns the events that it said."""
    heard: list[Event] = []
    stop = subscribe(heard.append)
    try:
        assert add_up(made, atlas().phases()[0]) is False
    finally:
        stop()
    return heard


def assert_are(made: ArmInTraining, sites: str) -> None:
    """The sums are those of all people of these sites in one place, and the model has made of them what it can."""
    everybody = People(0)
    everybody.scans = [scan for site in sites for scan in COHORTS[site].scans]
    expected = named_sums("moments", sums_of(everybody))
    assert made.progress.sums.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(made.progress.sums[name], array, rtol=1e-12)
        np.testing.assert_array_equal(made.model.share()[name], made.progress.sums[name])


def test_the_sum_over_sites_is_the_sum_over_all_their_people(job: Job) -> None:
    made = job()
    assert add(made) == []
    assert_are(made, "abcd")
    assert made.progress.missed == {}


def shares_of(made: ArmInTraining, site_sums: dict[str, Arrays]) -> dict[str, float]:
    """Whose the total is: the factors by which the sites' sums make it up, times their people, by least squares."""
    given = np.stack([sums["squares"].ravel() for sums in site_sums.values()], 1)
    total = made.progress.sums["sums.moments.squares"].ravel()
    factors, left, *_ = np.linalg.lstsq(given, total, rcond=None)
    assert left < 1e-12 * (total**2).sum()
    return {site: factor * SIZES[site] for site, factor in zip(site_sums, factors, strict=True)}


def test_by_site_every_site_weighs_alike_and_the_total_is_of_as_many_people(job: Job) -> None:
    made = job(federation={"sums": "by-site"})
    assert add(made) == []
    assert shares_of(made, HONEST) == pytest.approx(dict.fromkeys("abcd", 14 / 4))


def test_by_site_the_mean_is_the_mean_of_the_sites_means(job: Job) -> None:
    made = job(federation={"sums": "by-site"})
    add(made)
    total, everywhere = made.progress.sums, np.logical_and.reduce([HONEST[s]["count"] == SIZES[s] for s in "abcd"])
    means = [HONEST[site]["sum"][:, everywhere] / SIZES[site] for site in "abcd"]
    found = total["sums.moments.sum"][:, everywhere] / total["sums.moments.count"][everywhere]
    np.testing.assert_allclose(found, np.mean(means, axis=0), rtol=1e-12)


def test_no_sites_sums_have_more_than_the_largest_share(job: Job) -> None:
    """Of 6, 4, 3 and 1 people none has more than three tenths if the two largest count as 3."""
    made = job(federation={"largest_share": 0.3})
    add(made)
    assert shares_of(made, HONEST) == pytest.approx({s: w * 14 / 10 for s, w in zip("abcd", (3, 3, 3, 1), strict=True)})


@pytest.mark.parametrize("federation", [{"sums": "by-site"}, {"largest_share": 0.4}], ids=str)
def test_whoever_is_left_out_has_no_weight(job: Job, federation: dict[str, Any]) -> None:
    made = job(c=SiteCode.DATA_UNUSABLE, a={**HONEST["a"], "more": np.zeros(1)}, federation=federation)
    add(made)
    assert shares_of(made, {site: HONEST[site] for site in "bd"}) == pytest.approx({"b": 2.5, "d": 2.5})


def test_a_site_alone_is_not_weighted(job: Job) -> None:
    for federation in ({"sums": "by-site"}, {"largest_share": 0.3}):
        made = job(**dict.fromkeys("acd", SiteCode.DATA_UNUSABLE), federation=federation)
        add(made)
        assert_are(made, "b")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (SiteCode.DATA_UNUSABLE, "cannot be used as they are"),
        ({**HONEST["c"], "count": -HONEST["c"]["count"]}, "its answer cannot be used: count is between"),
        ({**HONEST["c"], "more": np.zeros(1)}, "other names or shapes than those of most sites"),
    ],
    ids=["refused", "impossible", "laid out otherwise"],
)
def test_a_site_without_sums_that_can_be_added_is_left_out_and_said(job: Job, answer: Any, why: str) -> None:
    made = job(c=answer)
    (event,) = add(made)
    assert isinstance(event, Missing)
    assert (event.site, event.round, event.outcome) == ("c", 0, "not in the sums")
    assert why in event.why
    assert made.progress.missed == {"c": event.why}
    assert_are(made, "abd")


def test_what_most_sites_send_counts_not_what_the_first_sends(job: Job) -> None:
    made = job(a={**HONEST["a"], "more": np.zeros(1)})
    (event,) = add(made)
    assert isinstance(event, Missing)
    assert event.site == "a"
    assert_are(made, "bcd")


def test_of_two_layouts_that_as_many_sites_have_none_is_taken(job: Job) -> None:
    other = {site: {**HONEST[site], "more": np.zeros(1)} for site in "bd"}
    made = job(**other)
    with pytest.raises(RunError, match=r"other names or shapes at a, c than at b, d, and the server cannot know"):
        add(made)
    assert made.progress.sums == {}


def test_without_any_sums_a_run_stops_with_every_sites_reason(job: Job) -> None:
    made = job(**dict.fromkeys("abc", SiteCode.DATA_UNUSABLE), d=SiteCode.OUT_OF_SPACE)
    with pytest.raises(RunError, match=r"no site sent sums of moments\. a: .* b: .* c: .* d: the site's disk is full"):
        add(made)


def test_a_run_that_forgives_nobody_stops_at_the_first_site_without_sums(job: Job) -> None:
    made = job(forgiving=False, b=SiteCode.OUT_OF_SPACE)
    with pytest.raises(SiteFailed, match="Site b"):
        add(made)
    assert made.progress.sums == {}


def test_what_sites_say_of_their_sums_is_kept_and_said_once(job: Job) -> None:
    made = job(notes=("as means of cubes",))
    said = [event for event in add(made) + add(made) if isinstance(event, Noted)]
    assert [(event.site, event.text) for event in said] == [(site, "as means of cubes") for site in "abcd"]
    assert made.progress.notes == {site: ["as means of cubes"] for site in "abcd"}


WEIGHTS = pytest.mark.parametrize(
    ("federation", "factors"),
    [
        ({}, {"a": 1, "b": 1, "c": 1, "d": 1}),
        ({"sums": "by-site"}, {site: 14 / 4 / people for site, people in SIZES.items()}),
        ({"largest_share": 0.3}, {"a": 3 * 14 / 60, "b": 3 * 14 / 40, "c": 1.4, "d": 1.4}),
    ],
    ids=["by people", "by site", "largest share"],
)


@WEIGHTS
def test_noisy_sums_are_added_first_and_repaired_once_by_the_noise_that_is_in_the_total(
    job: Job, federation: dict[str, Any], factors: dict[str, float]
) -> None:
    """Independent noises add up as the squares of their weights do."""
    privacy = PrivacyConfig(epsilon=6)
    made = job(federation=federation, privacy=privacy)
    spent = spending(made.study, made.model.phases())
    assert spent is not None
    assert spent.sums is not None
    z = spent.sums.noise_multiplier
    noisy = {site: private_sums(cohort, z, key) for key, (site, cohort) in enumerate(COHORTS.items())}
    made = job(federation=federation, privacy=privacy, **noisy)
    assert add(made) == []
    names = noisy["a"]
    total = {name: np.sum([factors[site] * sums[name] for site, sums in noisy.items()], 0) for name in names}
    expected = bounded().repaired(total, z * np.sqrt(sum(factor**2 for factor in factors.values())))
    for name, array in expected.items():
        np.testing.assert_allclose(made.progress.sums[f"sums.moments.{name}"], array, rtol=1e-8, atol=1e-9)


def test_a_site_whose_private_sums_are_longer_than_its_people_and_noise_are_is_left_out(job: Job) -> None:
    honest = {site: private_sums(cohort, 0.0) for site, cohort in COHORTS.items()}
    loud = {**honest["b"], "mean": honest["b"]["mean"] + 10.0}
    made = job(privacy=PrivacyConfig(epsilon=8), **honest | {"b": loud})
    (missing,) = add(made)
    assert isinstance(missing, Missing)
    assert missing.site == "b"
    assert "parts add up to a length of" in missing.why
    assert made.progress.sums["sums.moments.count"].sum() == pytest.approx(10 * honest["a"]["voxels"].sum() / 6)
