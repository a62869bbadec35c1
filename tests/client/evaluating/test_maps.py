"""Maps are what a model promises, or none; and the model is the one that the site was served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import synthetic
import toys

from normfed_client.evaluating import maps
from normfed_client.hospital.site import Case, Site
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import Pipeline, assemble
from normfed_common.studies import validate_learner
from normfed_common.transforms.catalogue import TRANSFORMS

SETTING = synthetic.setting()
SCAN = synthetic.scan(np.random.default_rng(0))
NOBODY = {SiteCode.NO_TRAINING_SUBJECTS, SiteCode.COHORT_TOO_SMALL}


class Learning:
    """A model with a part that stays at the site."""

    keeps_to_site = True

    def __init__(self) -> None:
        self.setting = SETTING
        self.learnt_from: list[Any] = []

    def personalise(self, cohort: Any, rng: np.random.Generator) -> None:
        self.learnt_from.append((cohort, rng.random()))


def site(cohort: Callable[[], Any]) -> Site:
    config, recorded = SimpleNamespace(name="a"), list[Any]()
    found = SimpleNamespace(
        training_cohort=lambda openable: cohort(),
        config=config,
        train=["people"],
        recorded=recorded,
        release=lambda kind, cases, what: recorded.append((kind, cases)),
    )
    return cast(Site, found)


def refusing(code: SiteCode) -> Callable[[], Any]:
    def cohort() -> Any:
        raise SiteError(code, "why")

    return cohort


def test_a_model_learns_its_sites_part_anew_and_the_same_every_time() -> None:
    first, again = Learning(), Learning()
    for model in (first, again):
        here = site(lambda: "people")
        maps.personalise(cast(NormativeModel, model), here)
        assert here.recorded == [("learning", ["people"])]  # type: ignore[attr-defined]
    assert first.learnt_from[0][0] == "people"
    assert first.learnt_from == again.learnt_from


@pytest.mark.parametrize("code", sorted(NOBODY))
def test_a_site_with_nobody_to_learn_from_scores_with_what_all_share(code: SiteCode) -> None:
    model = Learning()
    maps.personalise(cast(NormativeModel, model), site(refusing(code)))
    assert model.learnt_from == []


@pytest.mark.parametrize("code", sorted(set(SiteCode) - NOBODY), ids=lambda code: code.name)
def test_a_site_that_refuses_to_say_who_trains_does_not_score_with_another_model(code: SiteCode) -> None:
    with pytest.raises(SiteError) as caught:
        maps.personalise(cast(NormativeModel, Learning()), site(refusing(code)))
    assert (caught.value.code, caught.value.detail) == (code, "why")


def test_nobody_is_looked_for_where_a_model_has_no_part_of_the_sites() -> None:
    model = SimpleNamespace(keeps_to_site=False)
    maps.personalise(cast(NormativeModel, model), site(refusing(SiteCode.RECORD_UNUSABLE)))


def unseen(people: synthetic.People, cases: list[str]) -> Site:
    """A site that does not train, whose transforms may learn from people who do not."""
    found = site(refusing(SiteCode.NO_TRAINING_SUBJECTS))
    found.unseen_cohort = lambda: (people, cases)  # type: ignore[method-assign, assignment, return-value]
    return found


def centred() -> Pipeline:
    """Scans less a mean that stays at the site, before a model that keeps nothing to it."""
    with toys.registered():
        centring = validate_learner(TRANSFORMS, {"name": "site-centring"}, "test")
        return cast(Pipeline, assemble([centring], {"name": "intensity"}, SETTING))


@pytest.mark.parametrize("cases", [[], ["held out"]], ids=["nobody", "some"])
def test_transforms_adapt_to_a_site_that_never_trains_where_the_study_says_so(cases: list[str]) -> None:
    people, model = synthetic.People(3), centred()
    here = unseen(people, cases)
    before = model.transforms[0].transform(SCAN).images
    maps.personalise(model, here)
    assert np.array_equal(model.transforms[0].transform(SCAN).images, before) == (not cases)
    assert here.recorded == [("figures", cases)] * bool(cases)  # type: ignore[attr-defined]


def test_transforms_that_too_few_people_would_adapt_stay_as_they_are_and_the_sites_log_says_so(said: list[str]) -> None:
    model = assemble([validate_learner(TRANSFORMS, {"name": "combat"}, "test")], {"name": "intensity"}, SETTING)
    here = unseen(synthetic.People(3), ["held out"])
    maps.personalise(model, here)
    (line,) = said
    assert line.startswith("the transforms did not adapt to this site (the scanner without a name has 3 people")
    assert here.recorded == []  # type: ignore[attr-defined]


def giving(**changed: Callable[[np.ndarray], np.ndarray]) -> NormativeModel:
    """A model whose maps are 0.5 in the brain, those named changed."""

    def score(visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        whole = np.where(visits[-1].mask, np.float32(0.5), np.float32(0))
        found = {name: change(whole.copy()) for name, change in changed.items()}
        anomaly = found.pop("anomaly", whole)
        return Score(anomaly, found.pop("uncertainty", None), found)

    return cast(NormativeModel, SimpleNamespace(score=score, setting=SETTING))


def with_value(value: float, inside: bool = True) -> Callable[[np.ndarray], np.ndarray]:
    """A map with one voxel of this value, in the brain or outside."""

    def change(values: np.ndarray) -> np.ndarray:
        values.flat[np.flatnonzero(SCAN.mask == inside)[0]] = value
        return values

    return change


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"anomaly": with_value(np.nan)}, "sub-1: the anomaly map is not finite"),
        ({"anomaly": with_value(-np.inf)}, "sub-1: the anomaly map is not finite"),
        ({"anomaly": with_value(-0.25)}, "sub-1: the anomaly map is negative, -0.25 at the lowest"),
        ({"anomaly": with_value(0.1, inside=False)}, "sub-1: the anomaly map is not 0 outside the brain"),
        ({"anomaly": lambda values: values[:-1]}, "sub-1: the anomaly map has shape (25, 28, 6), the scan (26, 28, 6)"),
        ({"uncertainty": with_value(-0.5)}, "sub-1: the uncertainty map is negative, -0.5 at the lowest"),
        ({"residual": with_value(np.inf)}, "sub-1: the residual map is not finite"),
        ({"residual": with_value(-0.1, inside=False)}, "sub-1: the residual map is not 0 outside the brain"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_map_that_breaks_a_models_promise_is_refused_with_the_reason(
    changed: dict[str, Callable[[np.ndarray], np.ndarray]], why: str
) -> None:
    with pytest.raises(SiteError) as caught:
        maps.score(giving(**changed), [SCAN], "sub-1")  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.detail) == (SiteCode.MAP_UNUSABLE, why)
    assert "sub-1" not in str(caught.value)  # which is what leaves


def test_a_model_that_returns_its_bare_map_is_told_what_is_wanted() -> None:
    bare = cast(NormativeModel, SimpleNamespace(score=lambda visits, rng: SCAN.images[0], setting=SETTING))
    with pytest.raises(SiteError) as caught:
        maps.score(bare, [SCAN], "sub-1")  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.detail) == (
        SiteCode.MAP_UNUSABLE,
        "sub-1: the model returned a ndarray, not a Score",
    )


def test_a_map_that_keeps_the_promise_passes_as_it_is() -> None:
    found = maps.score(giving(residual=with_value(-3.0), uncertainty=with_value(0.0)), [SCAN], "sub-1")  # type: ignore[arg-type]
    assert found.extras["residual"].min() == -3  # what a model has to show beside may be negative
    assert found.anomaly.max() == 0.5


def test_a_person_is_shown_up_to_the_visit_that_is_scored() -> None:
    def case(subject: str, number: int) -> Case:
        participant = SimpleNamespace(subject=subject)
        found = SimpleNamespace(visit=SimpleNamespace(participant=participant), scan=lambda: (subject, number))
        return cast(Case, found)

    cases = [case("x", 1), case("y", 1), case("x", 2), case("x", 3)]
    assert list(maps.until(cases[2], cases)) == [("x", 1), ("x", 2)]
    assert list(maps.until(cases[1], cases)) == [("y", 1)]
