"""Which names are looked at, in what order, and how many known ones an error lists."""

from __future__ import annotations

from typing import Any

import pytest

from normfed_common.foundation.errors import StudyError
from normfed_common.study.data import DataConfig
from normfed_common.study.names import SHOWN, check_names


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
