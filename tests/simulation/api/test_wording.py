"""Sentences as whoever calls from Python reads them."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from normfed_common.foundation.errors import RunError, StudyError, UserError
from normfed_simulation.api.wording import as_called, spoken_in_python

PARAMETERS = ("run", "data", "out", "site", "device", "workers", "engine", "attacks", "modalities", "changes")


@pytest.mark.parametrize(
    ("typed", "called"),
    [
        ("Choose another folder with --out.", "Choose another folder with out=."),
        (
            "so it needs a dataset: add --data DIR (a BIDS dataset)",
            "so it needs a dataset: add data=DIR (a BIDS dataset)",
        ),
        ("Say whose with --site: a, b.", "Say whose with site=: a, b."),
        ("try again with --workers 1; then", "try again with workers=1; then"),
        ("or use --engine local.", "or use engine='local'."),
        ("--attack: no site called x.", "attacks=: no site called x."),
        ("give it with --t1w, --flair, ...", "give it with modalities="),
        (
            "or give --set 'data.control_groups=[HC, CN]'.",
            "or give **{'data.control_groups': ['HC', 'CN']}.",
        ),
        ("Finish it: normfed simulate --resume runs/demo-1.", "Finish it: normfed.resume('runs/demo-1')."),
        ("Finish it: normfed simulate --resume '/my runs/demo-1'.", "Finish it: normfed.resume('/my runs/demo-1')."),
        ("Look: normfed inspect my.data --site a, with --site.", "Look: normfed inspect my.data --site a, with site=."),
        ("A range of 3--data points, and --unknown.", "A range of 3--data points, and --unknown."),
    ],
)
def test_options_are_parameters_and_commands_stay_commands(typed: str, called: str) -> None:
    assert as_called(typed, PARAMETERS) == called


def test_what_the_function_does_not_take_stays_an_option() -> None:
    assert as_called("Say whose with --site.", ("run",)) == "Say whose with --site."


def test_an_error_of_ours_names_the_parameter_and_the_function_is_as_it_was() -> None:
    @spoken_in_python
    def opened(run: str, *, site: str | None = None) -> str:
        """Open it."""
        if site is None:
            raise RunError(f"{run}: say whose with --site.")
        if not site:
            raise ValueError("--site")  # our fault stays as it is
        return site

    assert opened("r", site="a") == "a"
    with pytest.raises(RunError, match=r"r: say whose with site=\.$"):
        opened("r")
    with pytest.raises(ValueError, match="--site"):
        opened("r", site="")
    assert (opened.__doc__, list(inspect.signature(opened).parameters)) == ("Open it.", ["run", "site"])


def test_an_error_that_says_nothing_is_passed_on() -> None:
    @spoken_in_python
    def fails(**_: Any) -> None:
        raise UserError

    with pytest.raises(UserError):
        fails()


def failing() -> Callable[[], None]:
    def inner() -> None:
        try:
            int("five")
        except ValueError as error:
            raise StudyError("seed: must be a number.") from error

    return spoken_in_python(inner)


@pytest.mark.parametrize(("whole", "frames", "chained"), [("", 2, False), ("1", 3, True)])
def test_what_a_person_can_fix_has_the_callers_frames_alone(
    monkeypatch: pytest.MonkeyPatch, whole: str, frames: int, chained: bool
) -> None:
    monkeypatch.setenv("NORMFED_TRACEBACK", whole)
    with pytest.raises(StudyError) as raised:
        failing()()
    shown = "".join(traceback.format_exception(raised.value))
    assert len(traceback.extract_tb(raised.value.__traceback__)) == frames  # this one, the wrapper, perhaps inner
    assert ("ValueError" in shown) == chained


def test_a_notebook_shows_the_callers_line_and_the_sentence_and_all_of_it_on_demand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NORMFED_TRACEBACK", raising=False)
    with pytest.raises(StudyError) as raised:
        failing()()
    raised.value.add_note("Go on.")
    *where, sentence, note = raised.value._render_traceback_()
    assert (sentence, note) == ("StudyError: seed: must be a number.", "Go on.")
    assert any("failing()()" in line for line in where)
    assert not any("wording.py" in line and "normfed_simulation" in line for line in where)
    monkeypatch.setenv("NORMFED_TRACEBACK", "1")
    assert any("normfed_simulation" in line for line in raised.value._render_traceback_())
