"""`normfed docs NAME`: what a key, a section, a code or a metric means."""

from __future__ import annotations

import json

import pytest
from commands import normfed

from normfed_common.foundation.errors import SiteCode, UserError
from normfed_common.study.federation import FederationConfig
from normfed_common.study.reference import study_keys


def words(*arguments: str) -> str:
    return " ".join(normfed("docs", *arguments).output.split())


def test_a_key_has_its_type_range_default_and_meaning() -> None:
    field = FederationConfig.model_fields["rounds"]
    said = words("federation.rounds")
    assert field.description is not None
    assert field.description in said
    assert f"default {field.default}" in said
    assert "whole number" in said
    assert "1 to 100000" in said


@pytest.mark.parametrize("path", [key.path for key in study_keys()])
def test_every_key_is_explained(path: str) -> None:
    first = json.loads(normfed("docs", path, "--json").output)["items"][0]
    assert (first["path"], bool(first["description"]), bool(first["default"])) == (path, True, True)


def test_a_section_has_every_key_in_it_and_none_of_another() -> None:
    items = json.loads(normfed("docs", "federation", "--json").output)["items"]
    assert [item["path"] for item in items[1:]] == [f"federation.{name}" for name in FederationConfig.model_fields]
    assert all(f"federation.{name}" in words("federation") for name in FederationConfig.model_fields)


@pytest.mark.parametrize("name", ["OUT_OF_SPACE", "out_of_space", "208"])
def test_a_code_says_what_to_do(name: str) -> None:
    said = words(name)
    assert SiteCode.OUT_OF_SPACE.sentence in said
    assert "what to do fix that there; then `normfed server resume RUN`" in said


@pytest.mark.parametrize("name", ["atlas", "ditto", "nyul", "dice"])
def test_what_a_study_can_name_is_shown_as_its_list_shows_it(name: str) -> None:
    listing = {"atlas": "models", "ditto": "strategies", "nyul": "transforms", "dice": "metrics"}[name]
    assert normfed("docs", name).output == normfed(listing, name).output


def test_a_page_of_the_same_name_is_named_below() -> None:
    assert words("privacy").endswith("privacy.md")
    assert "privacy.epsilon" in words("privacy")


@pytest.mark.parametrize(
    ("typed", "near"),
    [("fedration.quorum", "federation.quorum"), ("ronds", "federation.rounds"), ("OUT_OF_SPCE", "OUT_OF_SPACE")],
)
def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(typed: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"Did you mean {near}"):
        normfed("docs", typed)


def test_the_last_word_of_a_key_is_enough_where_no_other_ends_so() -> None:
    assert words("quorum") == f"{words('federation.quorum')} See also: federation.quorum_subjects"
    with pytest.raises(UserError, match="sites"):  # of splits, of synthetic hospitals
        normfed("docs", "sites")


def test_a_list_is_shown_whole() -> None:
    shown, _, page = normfed("docs", "metrics").output.rpartition("A page:  ")
    assert shown == normfed("metrics").output
    assert page.endswith("reference/metrics.md\n")


def test_what_is_like_nothing_is_told_the_sections() -> None:
    with pytest.raises(UserError, match=r"Sections of a study: data, .*federation"):
        normfed("docs", "xyzzy")
