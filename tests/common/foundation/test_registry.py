"""A registry knows each name once, says which ones it knows, and imports nothing that nobody asked for or let in."""

from __future__ import annotations

import re
from fractions import Fraction
from importlib.metadata import version

import pytest
from plugins import Plugins

from normfed_common.foundation import registry
from normfed_common.foundation.errors import PluginError, StudyError
from normfed_common.foundation.registry import Plugin, Registry, admitting, recorded

GROUP = "normfed.numbers"


@pytest.fixture
def models() -> Registry[int]:
    found: Registry[int] = Registry("model")
    found.add("siamese", 1)
    found.add("atlas", 2)
    return found


@pytest.fixture
def numbers() -> Registry[type[int]]:
    """Classes of whole numbers, which plug-ins may add to."""
    found: Registry[type[int]] = Registry("number", GROUP, subclass_of="builtins:int")
    found.add("whole", "builtins:int")
    return found


def refusal(registry: Registry[type[int]], name: str) -> str:
    with pytest.raises(PluginError) as caught:
        registry[name]
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_what_was_registered_is_found_and_listed_in_order(models: Registry[int]) -> None:
    assert (models["siamese"], models["atlas"]) == (1, 2)
    assert list(models) == ["atlas", "siamese"]
    assert "atlas" in models
    assert "unet" not in models


def test_an_unknown_name_is_a_users_error_that_lists_the_known_ones(models: Registry[int]) -> None:
    with pytest.raises(StudyError) as caught:
        models["unet"]
    assert str(caught.value) == "No model is called 'unet'. Known: atlas, siamese."


@pytest.mark.parametrize("name", ["atlass", "Atlas", "at_las"])
def test_the_name_that_was_probably_meant_is_said(models: Registry[int], name: str) -> None:
    with pytest.raises(StudyError) as caught:
        models[name]
    assert str(caught.value) == f"No model is called {name!r}. Did you mean atlas? Known: atlas, siamese."


def test_what_a_plug_in_may_have_is_said_to_be_not_installed(numbers: Registry[type[int]]) -> None:
    with pytest.raises(StudyError) as caught:
        numbers["big"]
    assert str(caught.value) == (
        "No number is called 'big'. Known: whole. If a plug-in has it: that is not installed here."
    )
    with pytest.raises(StudyError, match=r"Did you mean whole\? Known: whole\.$"):
        numbers["hole"]


def test_an_entry_of_a_study_is_the_thing_that_it_names_and_the_rest(models: Registry[int]) -> None:
    entry = {"name": "atlas", "size": 3}
    assert models.chosen(entry, "x.yaml: model") == (2, {"size": 3})
    assert models.chosen({"kind": "siamese", "name": "x"}, "x.yaml", key="kind") == (1, {"name": "x"})
    assert entry == {"name": "atlas", "size": 3}
    with pytest.raises(StudyError, match=r"^x\.yaml: model: No model is called 'unet'"):
        models.chosen({"name": "unet"}, "x.yaml: model")


@pytest.mark.parametrize("entry", [{}, {"size": 3}, {"name": None}, {"name": 3}, {"name": ["atlas"]}])
def test_an_entry_without_a_name_is_named_by_where_it_is(models: Registry[int], entry: dict[str, object]) -> None:
    with pytest.raises(StudyError) as caught:
        models.chosen(entry, "x.yaml: model")
    assert str(caught.value) == "x.yaml: model: name is missing. Known: atlas, siamese."


def test_a_name_is_taken_once_and_stays_its_first_owners(models: Registry[int]) -> None:
    with pytest.raises(ValueError, match="model 'atlas' is registered twice"):
        models.add("atlas", 3)
    assert models["atlas"] == 2


def test_a_reference_is_imported_when_it_is_asked_for(plugins: Plugins) -> None:
    plugins.install("ours", "1", {}, "class Big(int): pass")
    found: Registry[type[int]] = Registry("number")
    found.add("big", "ours:Big")
    assert list(found) == ["big"]
    assert not plugins.imported("ours")
    assert found["big"].__name__ == "Big"


def test_a_plug_in_is_listed_without_being_imported_and_says_where_it_is_from(
    plugins: Plugins, numbers: Registry[type[int]]
) -> None:
    plugins.install("Big_Numbers", "1.2", {GROUP: {"big": "big:Big"}, "normfed.other": {"x": "big:X"}}, BIG, "big")
    assert list(numbers) == ["big", "whole"]
    assert numbers.origin("big") == Plugin("big-numbers", "1.2")
    assert numbers.origin("whole") is None
    assert not plugins.imported("big")
    assert numbers["big"](3) == 3
    assert numbers["whole"] is int


BIG = "class Big(int): pass"


def test_a_plug_in_that_was_uninstalled_since_it_was_listed_is_not_there(
    plugins: Plugins, numbers: Registry[type[int]]
) -> None:
    plugins.install("big", "1", {GROUP: {"huge": "big:Huge"}})
    assert "huge" in list(numbers)
    (metadata,) = plugins.folder.glob("big-*/METADATA")
    metadata.unlink()  # first of all that goes, as it happens
    assert "huge" not in list(numbers)
    with pytest.raises(StudyError, match="No number is called 'huge'"):
        numbers["huge"]


def test_a_plug_in_cannot_take_a_name_of_ours(plugins: Plugins, numbers: Registry[type[int]]) -> None:
    plugins.install("bad", "3", {GROUP: {"whole": "bad:Big", "big": "bad:Big"}}, BIG)
    text = refusal(numbers, "whole")
    assert text.startswith(f"The number 'whole' is provided by normfed {version('normfed')} and by bad 3, but")
    assert not plugins.imported("bad")
    assert numbers["big"](1) == 1  # what else it has is as good as any


def test_two_plug_ins_cannot_have_one_name(plugins: Plugins, numbers: Registry[type[int]]) -> None:
    plugins.install("one", "1", {GROUP: {"big": "one:Big"}}, BIG)
    plugins.install("two", "2", {GROUP: {"big": "two:Big"}}, BIG)
    text = refusal(numbers, "big")
    assert re.match(r"The number 'big' is provided by (one 1 and by two 2|two 2 and by one 1), but", text)
    assert not plugins.imported("one")
    assert not plugins.imported("two")
    with admitting({"one": "1"}):  # the other one is nothing to this site
        assert numbers["big"].__module__ == "one"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('no GPU')", "RuntimeError: no GPU"),
        ("x = 1", "AttributeError: module 'broken' has no attribute 'Big'"),
        ("class Big(str): pass", "it is not a subclass of builtins.int"),
        ("Big = 3", "it is not a subclass of builtins.int"),
    ],
    ids=["import", "raise", "missing", "subclass", "instance"],
)
def test_a_plug_in_that_cannot_be_used_is_named_with_its_version_and_the_cause(
    plugins: Plugins, numbers: Registry[type[int]], code: str, cause: str
) -> None:
    plugins.install("broken", "0.3", {GROUP: {"big": "broken:Big"}}, code)
    text = refusal(numbers, "big")
    assert text.startswith(
        f"The number 'big' of the plug-in broken 0.3 (entry point big = broken:Big) cannot be used: {cause}."
    )
    assert numbers["whole"] is int


@pytest.mark.parametrize("name", ["big_one", "big.one", "big one", "Big", "-big", "big-", "big--one", "größe"])
def test_a_plug_in_whose_name_is_no_name_is_refused(plugins: Plugins, numbers: Registry[type[int]], name: str) -> None:
    plugins.install("big", "1.1", {GROUP: {name: "big:Big", "big-1": "big:Big"}}, BIG)
    text = refusal(numbers, name)
    assert text.startswith(
        f"The number {name!r} of the plug-in big 1.1 (entry point {name} = big:Big) cannot be used: "
    )
    assert "a number's name has lower-case letters and digits, with a hyphen between words." in text
    assert not plugins.imported("big")
    assert numbers["big-1"](3) == 3


def test_where_names_become_keys_an_underscore_joins_their_words(plugins: Plugins) -> None:
    keys: Registry[type[int]] = Registry("number", GROUP, subclass_of="builtins:int", joined_by="_")
    plugins.install("big", "1.1", {GROUP: {"big_one": "big:Big", "big-one": "big:Big"}}, BIG)
    assert keys["big_one"](3) == 3
    assert "with an underscore between words" in refusal(keys, "big-one")


def test_an_instance_is_asked_for_where_things_are_no_classes(plugins: Plugins) -> None:
    shares: Registry[Fraction] = Registry("share", GROUP, instance_of=Fraction)
    plugins.install("parts", "1", {GROUP: {"half": "parts:half", "some": "parts:some"}}, HALF)
    assert shares["half"] == Fraction(1, 2)
    with pytest.raises(PluginError, match=r"it is not a fractions\.Fraction"):
        shares["some"]


HALF = "from fractions import Fraction\nhalf, some = Fraction(1, 2), 0.3"


@pytest.mark.parametrize("listed", [{}, {"big": "1.0"}, {"bigger": "1.1"}], ids=["nothing", "version", "another"])
def test_what_is_not_admitted_in_exactly_its_version_is_never_imported(
    plugins: Plugins, numbers: Registry[type[int]], listed: dict[str, str]
) -> None:
    plugins.install("big", "1.1", {GROUP: {"big": "big:Big", "whole": "big:Big"}}, BIG)
    with admitting(listed):
        assert list(numbers) == ["whole"]
        assert numbers["whole"] is int  # nor does it stand in anybody's way
        text = refusal(numbers, "big")
        with pytest.raises(StudyError, match=r"Known: whole\."):
            numbers["unet"]
    assert "plug-in big 1.1 is installed here, but site.yaml " in text
    assert ("site.yaml lists version 1.0 under plugins" in text) == ("big" in listed)
    assert ("site.yaml does not list it under plugins" in text) == ("big" not in listed)
    assert text.endswith("add big: '1.1'")
    assert not plugins.imported("big")


def test_what_is_admitted_is_imported_however_its_name_is_spelled(
    plugins: Plugins, numbers: Registry[type[int]]
) -> None:
    plugins.install("Big.Numbers", "1.1", {GROUP: {"big": "big:Big"}}, BIG, "big")
    with admitting({"big_numbers": "1.1"}):
        assert numbers["big"](2) == 2


def test_a_process_that_imported_one_version_does_not_pass_for_another(
    plugins: Plugins, numbers: Registry[type[int]]
) -> None:
    """A hospital's process stays for weeks, whatever is installed meanwhile."""
    plugins.install("big", "1.1", {GROUP: {"big": "big:Big"}}, BIG)
    with admitting({"big": "1.1"}):
        numbers["big"]
    plugins.uninstall("big")
    plugins.install("big", "1.2", {GROUP: {"big": "big:Big"}}, BIG)
    with admitting({"big": "1.2"}):
        assert "has already imported 1.1. Restart it" in refusal(numbers, "big")


def test_what_a_piece_of_work_used_of_plug_ins_is_on_record(plugins: Plugins, numbers: Registry[type[int]]) -> None:
    plugins.install("big", "1.1", {GROUP: {"big": "big:Big"}}, BIG)
    plugins.install("small", "0.1", {GROUP: {"small": "small:Big"}}, BIG)
    with recorded() as used:
        assert numbers["whole"] is int
        numbers["big"]
        list(numbers)
    numbers["small"]
    assert used == {"big": "1.1"}


def test_what_is_tried_out_is_found_in_this_process_and_may_be_changed(
    numbers: Registry[type[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_tried_out", set())
    assert registry.tried_out() == []
    for kind in (bool, type("Own", (int,), {})):
        numbers.try_out("my-own", kind)
        assert numbers["my-own"] is kind
        assert "my-own" in numbers
    assert registry.tried_out() == ["my-own"]
    assert numbers.origin("my-own") is None


@pytest.mark.parametrize(
    ("name", "thing", "why"),
    [
        ("whole", bool, r"there is one of this name already\. Take another\."),
        ("odd", Fraction, r"it is not a subclass of builtins\.int\."),
        ("odd", 3, r"it is not a subclass of builtins\.int\."),
        ("My_Own", bool, "a number's name has lower-case letters and digits, with a hyphen between words"),
    ],
)
def test_what_cannot_be_tried_out_is_said(
    numbers: Registry[type[int]], monkeypatch: pytest.MonkeyPatch, name: str, thing: type[int], why: str
) -> None:
    monkeypatch.setattr(registry, "_tried_out", set())
    with pytest.raises(PluginError, match=why):
        numbers.try_out(name, thing)
    assert registry.tried_out() == []
