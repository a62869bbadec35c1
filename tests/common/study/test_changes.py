"""What is given beside a study file does what the same words in the file would have done."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.foundation.errors import StudyError
from normfed_common.study.changes import changed, parsed
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import paths

STUDY = """
name: x
data:
  split: scanner
  phantom:
    sites:
      - {name: a, vendor: ge, field_tesla: 3, controls: 4}
      - {name: b, vendor: ge, field_tesla: 3, controls: 4}
  modalities: [T1w]
model: siamese
strategy: {name: fedprox, mu: 0.5}
transforms: [nyul, {name: z-score}]
privacy: {secure_aggregation: true}
federation: {local_epochs: 3}
"""


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("seed=7", {"seed": 7}),
        ("federation.rounds=5", {"federation": {"local_epochs": 3, "rounds": 5}}),
        ("federation={rounds: 5}", {"federation": {"local_epochs": 3, "rounds": 5}}),
        ("comparisons.local=false", {"comparisons": {"local": False}}),
        ("description='a: b'", {"description": "a: b"}),
        ("data.modalities=[T1w, FLAIR]", {"data": {"modalities": ["T1w", "FLAIR"]}}),
        ("data.modalities.0=FLAIR", {"data": {"modalities": ["FLAIR"]}}),
        ("data.split.seed=3", {"data": {"split": {"by": "scanner", "seed": 3}}}),
        ("strategy=ditto", {"strategy": "ditto"}),
        ("strategy={name: ditto}", {"strategy": {"name": "ditto"}}),
        ("strategy.mu=0.1", {"strategy": {"name": "fedprox", "mu": 0.1}}),
        ("model.latents=32", {"model": {"name": "siamese", "latents": 32}}),
        ("transforms.0.quantiles=9", {"transforms": [{"name": "nyul", "quantiles": 9}, {"name": "z-score"}]}),
        ("transforms[1].robust=true", {"transforms": ["nyul", {"name": "z-score", "robust": True}]}),
        ("privacy.secure_aggregation.minimum_sites=5", {"privacy": {"secure_aggregation": {"minimum_sites": 5}}}),
        ("evaluation.bins=50", {"evaluation": {"bins": 50}}),
        ("comparisons.baselines.0.scale=none", {"comparisons": {"baselines": [
            {"name": "intensity", "scale": "none"}, {"name": "atlas"}, {"name": "atlas", "scale": "none"}]}}),
        ("federation.learning_rate=1e-3", {"federation": {"local_epochs": 3, "learning_rate": 0.001}}),
        ("initial_model=", {"initial_model": None}),
    ],
)  # fmt: skip
def test_a_value_stands_where_its_key_says_and_everything_else_stays(text: str, places: dict[str, Any]) -> None:
    study = yaml.safe_load(STUDY)
    before = copy.deepcopy(study)
    found = changed(study, parsed([text]))
    assert study == before
    for key, value in places.items():
        if key == "data":
            for inner, expected in value.items():
                assert found["data"].pop(inner) == expected
                before["data"].pop(inner, None)
            assert found["data"] == before["data"]
        else:
            assert found.pop(key) == value
            before.pop(key, None)
    assert {k: v for k, v in found.items() if k != "data"} == {k: v for k, v in before.items() if k != "data"}


def test_numbers_lead_into_lists_of_sections() -> None:
    found = changed(yaml.safe_load(STUDY), {"data.phantom.sites.1.controls": 9, "data.phantom.sites[0].native": True})
    assert [site["controls"] for site in found["data"]["phantom"]["sites"]] == [4, 9]
    assert found["data"]["phantom"]["sites"][0]["native"] is True


def test_the_last_value_of_a_key_counts_and_changes_come_in_their_order() -> None:
    assert parsed(["seed=1", "name=y", "seed=2"]) == {"name": "y", "seed": 2}
    first = changed({}, parsed(["strategy=ditto", "strategy.lambda=0.5"]))
    assert first == {"strategy": {"name": "ditto", "lambda": 0.5}}
    assert changed({}, parsed(["strategy.lambda=0.5", "strategy=ditto"])) == {"strategy": "ditto"}


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("federation.round", "federation.round is not a key that a study knows (did you mean federation.rounds?)."),
        ("federaton.rounds", "federaton.rounds is not a key that a study knows (did you mean federation?)."),
        ("rounds", "rounds is not a key that a study knows (did you mean federation.rounds?)."),
        ("clip_norm", "clip_norm is not a key that a study knows (did you mean privacy.clip_norm or "
         "privacy.central.clip_norm?)."),
        ("evaluation.zzz", "evaluation.zzz is not a key that a study knows (known: evaluation.bins, "),
        ("transforms.2.name", "transforms.2.name: the list has no entry '2'; its entries are 0 to 1. Or give the "
         "whole list."),
        ("transforms.first", "transforms.first: the list has no entry 'first'"),
        ("comparisons.strategies.0", "its entries are none: it is empty"),
        ("raounds", "(did you mean federation.rounds?)"),
        ("data.phantom.sites.0.control", "(did you mean data.phantom.sites.0.controls?)"),
    ],
)  # fmt: skip
def test_a_key_that_no_study_has_is_refused_with_the_one_that_was_meant(key: str, sentence: str) -> None:
    with pytest.raises(StudyError) as caught:
        changed(yaml.safe_load(STUDY), {key: 1})
    assert sentence in str(caught.value)


def test_a_value_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(StudyError, match=r"--set federation\.rounds=\[5: not YAML"):
        parsed(["federation.rounds=[5"])


@pytest.mark.parametrize("text", ["federation.rounds", "=5", " = 5"])
def test_what_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="a key, `=` and a value are expected, such as --set "):
        parsed([text])


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_every_number_that_python_writes_is_read_as_that_number(value: float) -> None:
    """YAML 1.1 takes 1e-05 for text."""
    assert parsed([f"seed={value}"]) == {"seed": value}


@pytest.mark.parametrize("path", paths(StudyConfig))
def test_every_key_of_a_study_can_be_set(path: str) -> None:
    found: Any = changed({}, {path: 3})
    for word in path.split("."):
        found = found[word]
    assert found == 3
