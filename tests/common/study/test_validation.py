"""What a person wrote wrongly is one sentence that names the key, what is wrong and what was found there."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
import yaml
from pydantic import Field, model_validator

from normfed_common.foundation.errors import StudyError
from normfed_common.study.base import Frozen
from normfed_common.study.config import StudyConfig
from normfed_common.study.validation import validate


class Inner(Frozen):
    shares: tuple[float, ...] = Field((), examples=["[0.5, 0.5]"])
    people: int = Field(1, gt=0)


class Outer(Frozen):
    name: str
    inner: Inner = Inner()
    others: tuple[Inner, ...] | None = None

    @model_validator(mode="after")
    def _not_nobody(self) -> Outer:
        if self.name == "nobody":
            raise ValueError("Name must be somebody's")
        return self


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({}, "name is missing"),
        ({"name": "x", "nme": 1}, "nme is not a key that a study knows (did you mean name?)"),
        ({"name": "x", "zzz": 1}, "zzz is not a key that a study knows (known: name, inner, others)"),
        ({"name": "x", "name:{y": 1}, "name:{y is not a key that a study knows (a space is missing after the colon)"),
        ({"name": "x", "inner": [1]}, "inner: keys with values are expected (got '[1]')"),
        ({"name": "x", "inner": {"shares": 1}}, "inner.shares: a list is expected, such as [0.5, 0.5] (got '1')"),
        ({"name": "x", "others": [{"x": 1}]}, "others.0.x is not a key that a study knows (known: shares, people)"),
        ({"name": "x", "inner": {"shaers": 1}}, "inner.shaers is not a key that a study knows (did you mean shares?)"),
        ({"name": "x", "inner": {"people": 0}}, "inner.people: input should be greater than 0 (got '0')"),
        ({"name": "x", "inner": {"shares": [1.0, "b"]}}, "inner.shares.1: a number is expected (got 'b')"),
        ({"name": 5}, "name: text is expected (got '5')"),
        ({"name": "nobody"}, "name must be somebody's"),
        ({"inner": {"people": 0}}, "name is missing; inner.people: input should be greater than 0 (got '0')"),
    ],
)  # fmt: skip
def test_every_fault_is_named_with_its_place(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StudyError) as caught:
        validate(Outer, raw, "a.yaml")
    assert str(caught.value) == f"a.yaml: {sentence}."


def test_what_a_key_is_not_is_the_callers_to_say() -> None:
    with pytest.raises(StudyError) as caught:
        validate(Inner, {"poeple": 3}, "a.yaml: model", "a parameter of unet")
    assert str(caught.value) == "a.yaml: model: poeple is not a parameter of unet (did you mean people?)."


def test_of_a_long_value_only_its_beginning_is_repeated() -> None:
    with pytest.raises(StudyError) as caught:
        validate(Outer, {"name": "x", "inner": "y" * 500}, "a.yaml")
    assert f"(got '{'y' * 80}')" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused_like_any_other_value(value: float) -> None:
    with pytest.raises(StudyError, match=r"inner\.shares\.0: input should be a finite number"):
        validate(Outer, {"name": "x", "inner": {"shares": [value]}}, "a.yaml")


def test_lists_are_taken_for_tuples_and_dates_for_text_but_no_text_for_a_number() -> None:
    """YAML reads 2026-01-02 as a date."""
    found = validate(Outer, {"name": datetime.date(2026, 1, 2), "inner": {"shares": [1, 0.5]}}, "a.yaml")
    assert found == Outer(name="2026-01-02", inner=Inner(shares=(1.0, 0.5)))
    with pytest.raises(StudyError, match=r"inner\.people: .* \(got '3'\)"):
        validate(Outer, {"name": "x", "inner": {"people": "3"}}, "a.yaml")


def test_a_key_at_the_wrong_level_is_said_where_it_belongs() -> None:
    with pytest.raises(StudyError) as caught:
        validate(Outer, {"name": "x", "people": 3, "shraes": 1}, "a.yaml")
    assert "people is not a key that a study knows (did you mean inner.people?)" in str(caught.value)
    assert "shraes is not a key that a study knows (did you mean inner.shares?)" in str(caught.value)


@pytest.mark.parametrize("number", ["1e-3", "1e-5", "2E7", "-1e300"])
def test_a_number_that_yaml_takes_for_text_is_said_with_one_that_it_does_not(number: str) -> None:
    """PyYAML follows YAML 1.1, in which 1e-3 is a text, and 1e-05, as Python writes a hundred-thousandth, as well."""
    with pytest.raises(StudyError) as caught:
        validate(Outer, {"name": "x", "inner": {"shares": [number]}}, "a.yaml")
    said = re.search(rf"\(got '{number}', which YAML takes for text: write (.*)\)\.$", str(caught.value))
    assert said is not None
    assert yaml.safe_load(said[1]) == float(number)


def test_a_list_whose_items_are_wrong_is_not_called_too_short_as_well() -> None:
    class Least(Frozen):
        people: tuple[int, ...] = Field(min_length=1)

    with pytest.raises(StudyError) as caught:
        validate(Least, {"people": ["x"]}, "a.yaml")
    assert str(caught.value) == "a.yaml: people.0: a whole number is expected (got 'x')."
    with pytest.raises(StudyError, match="people: tuple should have at least 1 item"):
        validate(Least, {"people": []}, "a.yaml")


def test_what_a_name_may_have_is_said_in_words() -> None:
    with pytest.raises(StudyError) as caught:
        validate(StudyConfig, {"name": "my study", "data": {"modalities": ["T1w"]}}, "a.yaml")
    expected = "name: letters, digits, dots, hyphens and underscores are expected, and no spaces (got 'my study')"
    assert str(caught.value) == f"a.yaml: {expected}."
