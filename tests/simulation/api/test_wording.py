"""Sentences as whoever calls from Python reads them."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from normfed_common.foundation.errors import RunError, UserError
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
