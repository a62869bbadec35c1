"""Which versions work together, said in a table and not by the rule itself."""

from __future__ import annotations

import pytest

from normfed_common.foundation import versions
from normfed_common.foundation.versions import apart, installed_version, last_server, release, short, together

TOGETHER = [
    ("0.1.0", "0.1.0"),
    ("0.1.0", "0.1.7"),
    ("0.1.0", "0.2.0"),
    ("0.2.5", "0.1.9"),
    ("0.9.0", "0.10.0"),
    ("0.2.0rc1", "0.1.0.post1"),
    ("1.4.0", "1.5.0"),
    ("0.2.dev0+local", "0.1"),
    ("unknown", "unknown"),
]
APART = [
    ("0.1.0", "0.3.0"),
    ("0.1.9", "0.3.0"),
    ("0.10.0", "0.1.0"),
    ("1.0.0", "0.9.0"),
    ("1.2.0", "2.2.0"),
    ("", ""),
    ("0.1.0", ""),
    ("0.1.0", "unknown"),
    ("unknown", "other"),
]


@pytest.mark.parametrize(("one", "other"), TOGETHER)
def test_versions_of_neighbouring_minor_numbers_work_together_either_way(one: str, other: str) -> None:
    assert together(one, other)
    assert together(other, one)
    assert apart(one, other) == apart(other, one) == ""


@pytest.mark.parametrize(("one", "other"), APART)
def test_all_others_are_refused_either_way_and_in_words(one: str, other: str) -> None:
    assert not together(one, other)
    assert not together(other, one)
    assert "versions work together whose minor numbers are at most 1 apart" in apart(one, other)


def test_the_older_of_the_two_is_to_be_updated() -> None:
    assert apart("0.1.0", "0.3.1").endswith("has normfed 0.1.0, the server 0.3.1: versions work together whose minor "
        "numbers are at most 1 apart; update the site")  # fmt: skip
    assert apart("0.3.1", "0.1.0").endswith("update the server")
    assert apart("1.0.0", "0.9.0").endswith("update the server")
    assert apart("0.1.0", "") == (
        "has normfed 0.1.0, the server says none: versions work together whose minor numbers are at most 1 apart; "
        "update the older one"
    )


def test_strangers_and_tables_read_major_and_minor_numbers() -> None:
    assert (short("0.12.3"), last_server("0.12.3"), release("1.2")) == ("0.12", "0.13", (1, 2))
    assert (short("x"), last_server(""), release("1")) == ("", "", None)


def test_what_is_installed_here_has_numbers_that_the_rule_can_read() -> None:
    assert together(installed_version(), installed_version())
    assert release(installed_version()) is not None


def test_the_metadata_are_read_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    here = installed_version()
    monkeypatch.setattr(versions, "version", lambda _: "9.9.9")
    assert installed_version() == here
