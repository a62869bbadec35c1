"""Whom one stranger is, and what is written of the many."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_server.superlink.refusals import COUNTED, LINES, WINDOW_S, Refusals, network


class Log:
    """A log of refusals with a clock that is set by hand."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, 0.0
        self.refusals = Refusals(path, lambda: self.now)

    def lines(self) -> list[str]:
        """Without their times."""
        return [line.split(maxsplit=2)[2] for line in self.path.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "door.log")


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:cb00:7107", "203.0.113.7"),
        ("2001:db8:0:1:ffff::9", "2001:db8:0:1::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::9", "2001:db8:0:2::/64"),
        ("", ""),
        ("testclient", "testclient"),
        ("203.0.113.07", "203.0.113.07"),
    ],
)
def test_an_address_is_that_of_one_line(address: str, whose: str) -> None:
    assert network(address) == whose


def test_a_reason_is_written_once_per_line_and_minute_and_the_rest_is_counted(log: Log) -> None:
    for host in (1, 2, 3):
        log.refusals.note(f"2001:db8::{host}", "asked without a key for", f"/{host}")
    log.refusals.note("2001:db8::1", "spoke no TLS")
    log.refusals.note("2001:db8:1::1", "spoke no TLS")
    assert log.lines() == [
        "2001:db8::1: asked without a key for '/1'",
        "2001:db8::1: spoke no TLS",
        "2001:db8:1::1: spoke no TLS",
    ]
    log.now = WINDOW_S
    log.refusals.flush()
    assert log.lines()[3:] == ["and 2 times more within a minute: 2001:db8::/64 asked without a key for (2)"]


@pytest.mark.parametrize(("seconds", "times"), [(WINDOW_S - 0.001, 1), (WINDOW_S, 2)])
def test_after_a_minute_the_same_is_written_again(log: Log, seconds: float, times: int) -> None:
    for now in (0.0, seconds):
        log.now = now
        log.refusals.note("203.0.113.7", "spoke no TLS")
    assert log.lines() == ["203.0.113.7: spoke no TLS"] * times


def test_the_minute_begins_anew_with_its_summary(log: Log) -> None:
    log.now = 50 * WINDOW_S
    log.refusals.note("a", "x")
    log.now += WINDOW_S - 1
    log.refusals.note("a", "x")
    log.now += 2
    log.refusals.flush()
    log.refusals.flush()
    assert log.lines() == ["a: x", "and 1 times more within a minute: a x (1)"]


def test_a_minute_in_which_all_was_written_has_no_summary(log: Log) -> None:
    log.refusals.note("a", "x")
    log.now = 2 * WINDOW_S
    log.refusals.flush()
    assert log.lines() == ["a: x"]


def test_a_summary_names_the_three_that_came_most_often(log: Log) -> None:
    for address, times in (("a", 2), ("b", 5), ("c", 1201), ("d", 3), ("e", 1)):
        for _ in range(times):
            log.refusals.note(address, "x")
    log.now = WINDOW_S
    log.refusals.flush()
    assert log.lines()[-1] == "and 1,207 times more within a minute: c x (1,200), b x (4), d x (2)"


def test_more_addresses_than_lines_are_counted_and_more_than_are_counted_are_many(log: Log) -> None:
    for number in range(COUNTED + 50):
        log.refusals.note(f"s{number}", "x")
    assert len(log.lines()) == LINES
    assert len(log.refusals._counts) == COUNTED
    log.refusals.note(f"s{COUNTED + 40}", "x")  # not among the counted: of the sum alone
    log.refusals.note("s7", "x")
    log.now = WINDOW_S
    log.refusals.flush()
    left_out = COUNTED + 50 + 2 - LINES
    assert log.lines()[-1].startswith(f"and {left_out:,} times more within a minute: ")
    assert f"s{COUNTED + 40}" not in log.lines()[-1]


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("", "a: x"),
        ("/" + "y" * 79 + "z", "a: x '/" + "y" * 79 + "'"),
        ("/\n\x1b[2J'ü", r"""a: x "/\n\x1b[2J'\xfc" """.rstrip()),
    ],
)
def test_what_was_asked_for_is_cut_and_written_in_plain_letters(log: Log, path: str, written: str) -> None:
    log.refusals.note("a", "x", path)
    assert log.lines() == [written]
