"""An exception in one line names the place in a plug-in's code, and none in ours or in a library's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from normfed_common.foundation.arrays import check_shapes
from normfed_common.wording.exceptions import story


def raised(work: Callable[[], Any]) -> Exception:
    try:
        work()
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError("nothing was raised")


def load(name: str, code: str, folder: Path) -> dict[str, Any]:
    """The names of a module of that name and code."""
    path = folder / Path(*name.split(".")).with_suffix(".py")
    found: dict[str, Any] = {"__name__": name}
    exec(compile(code, str(path), "exec"), found)
    return found


def test_the_place_is_the_innermost_of_the_package_that_was_called(tmp_path: Path) -> None:
    other = load("elsewhere.deep", "def fail():\n    raise ValueError('too\\n  far')\n", tmp_path)
    model = load(
        "tiny.models.one", "def score(fail):\n    return helped(fail)\n\ndef helped(fail):\n    fail()\n", tmp_path
    )
    ours = load("normfed_client.x", "def call(score, fail):\n    score(fail)\n", tmp_path)
    error = raised(lambda: ours["call"](model["score"], other["fail"]))
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]  # without this test's own
    assert story(error) == "ValueError: too far; tiny/models/one.py:5"


def test_a_package_s_own_file_is_named_with_its_folder(tmp_path: Path) -> None:
    found: dict[str, Any] = {"__name__": "tiny.inner"}
    exec(compile("def boom(x):\n    return x.nothing\n", "/plug/tiny/inner/__init__.py", "exec"), found)
    error = raised(lambda: found["boom"](1))
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]
    assert story(error) == "AttributeError: 'int' object has no attribute 'nothing'; tiny/inner/__init__.py:2"


@pytest.mark.parametrize(
    "work",
    [lambda: check_shapes({}, {"x": ()}), lambda: torch.nn.Linear(2, 2)(torch.zeros(3))],
    ids=["ours", "torch's"],
)
def test_without_a_plug_in_there_is_no_place(work: Callable[[], Any]) -> None:
    error = raised(work)
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]
    assert story(error) == f"{type(error).__name__}: {' '.join(str(error).split())}"
