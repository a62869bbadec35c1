"""Arguments of a wrong type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas
import pytest

import normfed
from normfed_common.foundation.errors import UserError
from normfed_simulation.api.arguments import said, takes
from normfed_simulation.api.places import Place
from normfed_simulation.watcher import Silent, Watcher

PLACES = Place | Sequence[Place]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int | None, [1, np.int64(2), None], ["two", True, 1.5]),
        (bool | Watcher, [True, Silent()], ["yes", 1, None]),
        (
            Place | Sequence[Place],
            ["a", Path("a"), ["a", Path("b")], (), pandas.Series(["a"])],
            [1, [1], b"a", {"a": 1}],
        ),
        (Mapping[str, str], [{}, {"a": "b"}], [{"a": 1}, {1: "a"}, ["a"]]),
        (Mapping[str, Any], [{"a": object()}], [{1: 1}]),
        (Literal["local", "ray"], ["local", "other"], [1, None]),  # which there are, the function says
        (type[int], [int, bool], [3, "int"]),
    ],
)
def test_what_annotations_take_is_taken(kind: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not takes(kind, value)] == []
    assert [value for value in bad if takes(kind, value)] == []


def test_what_is_taken_is_said_in_words() -> None:
    assert said(str) == "text"
    assert said(PLACES | None) == "a path, a list of such or None"
    assert said(bool | Watcher) == "True, False or an object with begin, advance, warn and training"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: normfed.simulate("demo", workers="two"),  # type: ignore[arg-type]
            "workers: takes a whole number or None, not 'two'.",
        ),
        (lambda: normfed.simulate(None), "study: takes a path, a mapping or a resolved study, not None."),  # type: ignore[arg-type]
        (lambda: normfed.compare("demo", repeats="3"), "repeats: takes a whole number or None, not '3'."),  # type: ignore[arg-type]
        (lambda: normfed.resume(3), "run: takes a path, not 3."),  # type: ignore[arg-type]
        (lambda: normfed.open_run(3), "run: takes a path, not 3."),  # type: ignore[arg-type]
        (lambda: normfed.OpenRun(3), "folder: takes a path, not 3."),  # type: ignore[arg-type]
        (lambda: normfed.inspect(None), "data: takes a path, not None."),  # type: ignore[arg-type]
        (
            lambda: normfed.example_data(progress=3),
            "progress: takes True, False or an object with begin, advance, warn and training, not 3.",
        ),  # type: ignore[arg-type]
        (lambda: normfed.score("run", [1], out="o"), "inputs: takes a path or a list of such, not [1]."),  # type: ignore[list-item]
        (lambda: normfed.try_model(3, int), "name: takes text, not 3."),  # type: ignore[arg-type]
    ],
)
def test_every_public_function_names_the_parameter_and_what_it_takes(call: Callable[[], Any], sentence: str) -> None:
    """Once these were errors of Python from the depths, such as `'<=' not supported between 'str' and 'int'`."""
    with pytest.raises(UserError) as caught:
        call()
    assert str(caught.value) == sentence


def test_how_many_arguments_there_are_python_says() -> None:
    with pytest.raises(TypeError, match="out"):
        normfed.score("run")  # type: ignore[call-arg]


def test_every_public_function_is_checked() -> None:
    functions = [getattr(normfed, name) for name in normfed.__all__ if name[0].islower() and name[0] != "_"]
    methods = [normfed.OpenRun.__init__, normfed.OpenRun.map, normfed.OpenRun.model, normfed.OpenRun.scan]
    assert [function for function in (*functions, *methods) if not hasattr(function, "__wrapped__")] == []
