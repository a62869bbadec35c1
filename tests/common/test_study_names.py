"""A name in a study that nobody bears is an error that says who was probably meant."""

from __future__ import annotations

from typing import Any

import pytest

from normfed_common.foundation.errors import StudyError
from normfed_common.study.data import DataConfig
from normfed_common.study.names import check_names

SITES = ("ageing-a", "ageing-b", "ms-clinic")
PEOPLE = {"sub-001", "sub-002"}


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
