"""Parameters are told by the name that a study writes, with bounds, defaults and what they mean."""

from __future__ import annotations

import io
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field
from rich.console import Console

from normfed_common.wording.parameters import defaults, parameters, show, show_title


class Inner(BaseModel):
    steps: int = Field(150, ge=1, le=1_000_000_000, description="of descent")


class Example(BaseModel):
    """One parameter of every type that a study may hold."""

    weight: float = Field(0.1, alias="lambda", ge=0, le=1e4, description="pull of the personal model")
    share: float = Field(0.5, gt=0, lt=1)
    least: int = Field(ge=2)
    scale: Literal["rank", "units"] = "rank"
    by: Literal["ranks"] = "ranks"
    online: bool = False
    modality: str | None = Field(None, description="FLAIR when absent")
    sizes: tuple[Annotated[float, Field(gt=0)], ...] = Field((1.0, 2.5), min_length=1, max_length=8)
    pair: tuple[int, Literal["a", "b"]] = (1, "a")
    either: int | tuple[int, ...] = 3
    signs: dict[str, Literal["bright", "dark"]] = Field(default_factory=dict)
    entry: dict[str, object] = Field(default_factory=lambda: {"name": "atlas", "raw": True})
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lambda", "pull of the personal model\nnumber, 0 to 10000; default 0.1"),
        ("share", "number, above 0 and below 1; default 0.5"),
        ("least", "whole number, at least 2; required"),
        ("scale", "rank | units; default rank"),
        ("by", "ranks; default ranks"),
        ("online", "true | false; default false"),
        ("modality", "FLAIR when absent\ntext; may be left out"),
        ("sizes", "list of number, above 0, 1 to 8 of them; default [1, 2.5]"),
        ("pair", "[whole number, a | b]; default [1, a]"),
        ("either", "whole number, or list of whole number; default 3"),
        ("signs", "{name: bright | dark}; default {}"),
        ("entry", "{name: value}; default {name: atlas, raw: true}"),
        ("inner.steps", "of descent\nwhole number, 1 to 1000000000; default 150"),
    ],
)
def test_a_parameter_is_told_with_type_bounds_and_default(name: str, said: str) -> None:
    assert dict(parameters(Example))[name] == said


def test_defaults_stand_on_one_line() -> None:
    assert defaults(Example).startswith("lambda: default 0.1, share: default 0.5, least: required, scale: default rank")


@pytest.mark.parametrize("width", [40, 80, 110])
def test_no_line_is_longer_than_the_terminal_and_brackets_are_no_markup(width: int) -> None:
    written = io.StringIO()
    console = Console(file=written, width=width)
    show_title(console, "location", "Latents of patches judged at their own place.", "[1] A source")
    show(console, [("one", "[bold]" + " word" * 60), ("another", "short")], width=12)
    lines = written.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "[1] A source" in " ".join(written.getvalue().split())
    assert "[bold]" in written.getvalue()
    assert lines[-1].index("short") == next(line for line in lines if "[bold]" in line).index("[bold]")
