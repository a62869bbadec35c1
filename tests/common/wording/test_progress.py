"""How much longer something will take, by what was done of it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from normfed_common.wording.progress import Times


@pytest.mark.parametrize(
    ("seconds", "done", "said"),
    [
        ((0, 50), (0, 0), "0:00:50"),  # nobody knows yet
        ((0, 60), (0, 1), "0:01:00, 0:03:00 left"),  # a minute a step
        ((0, 60, 100), (0, 1, 1), "0:01:40, 0:02:20 left"),
        ((0, 60, 400), (0, 1, 1), "0:06:40, 0:00:00 left"),
        ((0, 60, 200), (0, 1, 2), "0:03:20, 0:03:20 left"),
        ((0, 60, 240), (0, 1, 4), "0:04:00"),
    ],
)
def test_of_even_steps_what_is_left_follows_from_all_and_becomes_less(
    seconds: tuple[int, ...], done: tuple[int, ...], said: str
) -> None:
    clock = [0.0]
    progress = Progress(console=Console(file=io.StringIO()), get_time=lambda: clock[0])
    progress.add_task("", total=4)
    (task,), column = progress.tasks, Times(even=True)
    for clock[0], completed in zip(seconds, done, strict=True):
        progress.update(task.id, completed=completed)
        shown = column.render(task).plain
    assert shown == said
