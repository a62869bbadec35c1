"""What a study says of a one-class score: which, its own parameters, and nothing of another's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from plugins import Plugins
from synthetic import setting

from normfed_common.foundation.errors import PluginError, StudyError
from normfed_common.models.catalogue import MODELS
from normfed_common.scoring.catalogue import SCORERS, build_head
from normfed_common.studies import validate_learner

# What each score's parameters were before there was a registry, with the published values.
PUBLISHED: dict[str, dict[str, Any]] = {
    "patient": {"nu": 0.03, "samples": 500, "models": 5},
    "federated": {"nu": 0.03, "samples": 500, "features": 1024},
    "location": {"nu": 0.03, "spacing_mm": 6.0, "minimum_subjects": 20},
}
PUBLISHED["combat"] = {
    "then": {"fit_on": "location", **PUBLISHED["location"]},
    "minimum_people": 10,
    "prior": "parametric",
}


def resolved(one_class: object) -> dict[str, Any]:
    found = validate_learner(MODELS, {"name": "siamese", "one_class": one_class}, "model")["one_class"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", list(SCORERS))
def test_a_score_gets_its_own_published_defaults(name: str) -> None:
    assert resolved({"fit_on": name}) == {"fit_on": name, **PUBLISHED[name]}


@pytest.mark.parametrize("name", list(SCORERS))
def test_what_is_resolved_stays_so_and_makes_the_score(name: str) -> None:
    entry = resolved({"fit_on": name, **({"nu": 0.1} if "nu" in PUBLISHED[name] else {"minimum_people": 2})})
    assert resolved(entry) == entry == json.loads(json.dumps(entry))
    assert type(build_head(entry, 16, setting())) is SCORERS[name]


def test_without_a_name_a_person_is_scored_by_their_own_latents() -> None:
    published = resolved({"fit_on": "patient"})
    assert validate_learner(MODELS, {"name": "siamese"}, "model")["one_class"] == published
    assert resolved({}) == published


@pytest.mark.parametrize(
    ("one_class", "sentence"),
    [
        ({"fit_on": "location", "features": 16}, "model: one_class.features is not a key"),
        ({"models": 5, "minimum_subjects": 5}, "model: one_class.minimum_subjects is not a key"),
        ({"fit_on": "federated", "features": 3}, "model: one_class.features: input should be greater than"),
        ({"fit_on": "combat", "then": {"fit_on": "combat"}}, "combat stands before another score: name that one"),
        ({"nu": 0}, "model: one_class.nu: input should be greater than 0"),
        ({"nu": float("nan")}, "model: one_class.nu"),
        (
            {"fit_on": "moon"},
            "one_class.fit_on: no one-class score is called 'moon'. Known: combat, federated, location, patient",
        ),
        (
            {"fit_on": "locations"},
            "called 'locations'. Did you mean location? Known: combat, federated, location, patient.",
        ),
        ({"fit_on": 3}, "model: one_class.fit_on"),
        ("patient", "model: one_class"),
    ],
    ids=["another's", "unnamed", "bound", "combat twice", "nu", "nan", "unknown", "near", "number", "text"],
)
def test_a_wrong_key_or_value_is_named(one_class: object, sentence: str) -> None:
    with pytest.raises(StudyError) as caught:
        resolved(one_class)
    assert sentence in str(caught.value)


def test_what_is_no_score_is_refused_with_its_plug_in(plugins: Plugins) -> None:
    plugins.install("bad-score", "2", {"normfed.scorers": {"bad": "bad_score:Bad"}}, "class Bad: pass")
    with pytest.raises(
        PluginError, match=r"'bad' of the plug-in bad-score 2 .* it is not a subclass of normfed_common"
    ):
        resolved({"fit_on": "bad"})
