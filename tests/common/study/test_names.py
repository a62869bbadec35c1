"""Which names are looked at, in what order, and how many known ones an error lists."""

from __future__ import annotations

from typing import Any

import pytest

from normfed_common.foundation.errors import StudyError
from normfed_common.study.data import DataConfig
from normfed_common.study.names import SHOWN, check_names

SITES = ("ageing-a", "ageing-b", "ms-clinic")


PEOPLE = {"sub-001", "sub-002"}


def error(known: list[str], people: set[str] | None = None, **given: Any) -> str:
    with pytest.raises(StudyError) as caught:
        check_names(DataConfig(modalities=("T1w",), **given), known, people, "the dataset")
    return str(caught.value)


@pytest.mark.parametrize(("known", "rest"), [(SHOWN, "."), (SHOWN + 1, " and 1 more.")])
def test_as_many_names_are_listed_as_are_shown_and_the_rest_is_counted(known: int, rest: str) -> None:
    names = [f"s{number:02d}" for number in range(known)]
    shown = ", ".join(names[:SHOWN])
    assert error(names[::-1], out_of_sample=("zebra",)).endswith(f"(the dataset). Known: {shown}{rest}")


def test_the_first_name_that_is_wrong_is_the_one_that_is_told() -> None:
    wrong = {"sites": ("a", "x"), "train_sites": ("x",), "out_of_sample": ("y",), "exclude": {"z": "?", "sub-9": "?"}}
    told = []
    for key in list(wrong):
        told.append(error(["a"], {"sub-1"}, **wrong).split(" (")[0])
        del wrong[key]
    assert told == [
        "data.sites: no site is called x",
        "data.train_sites: no site is called x",
        "data.out_of_sample: no site is called y",
        "data.exclude: no site is called z",
    ]
    last = error(["a"], {"sub-1"}, exclude={"a": "?", "sub-9": "?"})
    assert last.startswith("data.exclude: no person is called sub-9 ")


def test_a_suggestion_needs_a_likeness_and_somebody_to_be_like() -> None:
    assert "Did you mean" not in error(["clinic"], out_of_sample=("zebra",))
    assert "Did you mean" not in error([], out_of_sample=("zebra",))
    assert " Did you mean Clinic? Known: Clinic." in error(["Clinic"], out_of_sample=("CLINICS",))


def test_a_person_without_the_prefix_is_known_again() -> None:
    assert "Did you mean the person sub-001? Known: 001b." in error(["001b"], PEOPLE, exclude={"001": "moved"})


def data(**given: Any) -> DataConfig:
    return DataConfig(modalities=("T1w",), **given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sites": ("ageing-a", "ms-clinc")}, r"data\.sites: no site is called ms-clinc .*Did you mean ms-clinic\?"),
        ({"train_sites": ("Ageing-A",)}, r"data\.train_sites: .*Did you mean ageing-a\? Known: ageing-a, ageing-b, ms"),
        ({"out_of_sample": ("ageing_b",)}, r"data\.out_of_sample: .*Did you mean ageing-b\?"),
        ({"out_of_sample": ("zebra",)}, r"no site is called zebra \(the dataset\)\. Known: ageing-a"),
        ({"exclude": {"ms-klinik": "follow-up"}}, r"data\.exclude: no site is called ms-klinik .*ms-clinic\?"),
        ({"exclude": {"sub-01": "moved"}}, r"data\.exclude: no person is called sub-01 .*Did you mean sub-0"),
    ],
)
def test_a_name_that_nobody_bears_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StudyError, match=sentence):
        check_names(data(**given), SITES, PEOPLE, "the dataset")


def test_names_that_somebody_bears_pass() -> None:
    known = data(
        sites=SITES, out_of_sample=("ageing-b",), train_sites=("ageing-a",), exclude={"sub-002": "x", "ms-clinic": "y"}
    )
    check_names(known, SITES, PEOPLE, "the dataset")
    check_names(data(), SITES, PEOPLE, "the dataset")


def test_where_only_hospitals_know_their_people_no_answer_depends_on_them() -> None:
    check_names(data(exclude={"sub-999": "x"}), SITES, None, "the members")
    with pytest.raises(StudyError, match="no site is called zebra"):
        check_names(data(exclude={"sub-999": "x", "zebra": "y"}), SITES, None, "the members")


def test_of_many_names_only_some_are_listed() -> None:
    with pytest.raises(StudyError, match=r"and 70 more\.$"):
        check_names(data(out_of_sample=("zebra",)), [f"site-{number:03d}" for number in range(100)], None, "x")
