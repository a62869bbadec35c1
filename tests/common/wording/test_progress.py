"""How much longer something will take, by what was done of it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from normfed_common.wording.progress import Times, about


def shown(total: int, seconds: tuple[float, ...], done: tuple[float, ...], **fields: float) -> str:
    """What stands beside a bar in the end, on a clock of its own."""
    clock = [0.0]
    progress = Progress(console=Console(file=io.StringIO()), get_time=lambda: clock[0])
    progress.add_task("", total=total, **fields)
    (task,), column = progress.tasks, Times()
    said = ""
    for clock[0], completed in zip(seconds, done, strict=True):
        progress.update(task.id, completed=completed)
        said = column(task).plain  # type: ignore[union-attr]  # as the display calls it, which may remember
    return said


@pytest.mark.parametrize(
    ("total", "seconds", "done", "said"),
    [
        (4, (0, 50), (0, 0), "0:00:50"),  # nobody knows yet
        (4, (0, 60), (0, 1), "0:01:00, about 3 min left"),  # a minute a step
        (94, (0, 60), (0, 2), "0:01:00"),  # two of many may be the fast ones
        (94, (0, 8), (0, 8), "0:00:08"),  # and the first seconds are no measure
        (94, (0, 232), (0, 43), "0:03:52, about 5 min left"),  # 232 s / 43 x 51 = 275 s
        (4, (0, 60, 240), (0, 1, 4), "0:04:00"),
    ],
)
def test_what_is_left_takes_as_long_as_what_was_done(
    total: int, seconds: tuple[float, ...], done: tuple[float, ...], said: str
) -> None:
    assert shown(total, seconds, done) == said


def test_while_nothing_gets_done_more_is_left() -> None:
    assert shown(4, (0, 60, 120, 400), (0, 2, 2, 2)) == "0:06:40, about 7 min left"  # 400 s / 2 x 2


def test_fast_steps_at_the_end_do_not_make_the_rest_fast() -> None:
    seconds, done = (0, 600, 601, 602, 603), (0, 5, 6, 7, 8)
    assert shown(16, seconds, done) == "0:10:03, about 10 min left"  # of the last seconds alone: 8 s


def test_what_an_earlier_process_did_took_this_one_no_time() -> None:
    assert shown(100, (0, 60), (90, 95), before=90) == "0:01:00, about 1 min left"
    assert shown(100, (0, 60), (90, 90), before=90) == "0:01:00"


def test_steps_of_different_size_count_by_their_work() -> None:
    assert shown(4, (0, 60), (0, 3), share=0.25) == "0:01:00, about 3 min left"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "under 1 min"),
        (44, "under 1 min"),
        (46, "about 1 min"),
        (275, "about 5 min"),
        (9.4 * 60, "about 9 min"),
        (9.6 * 60, "about 10 min"),
        (23 * 60, "about 25 min"),
        (57 * 60, "about 55 min"),
        (58 * 60, "about 1 h"),
        (80 * 60, "about 1.5 h"),
        (26 * 3600, "about 26 h"),
    ],
)
def test_what_is_left_is_rounded_to_what_can_be_known(seconds: float, said: str) -> None:
    assert about(seconds) == f"{said} left"


def test_what_has_not_begun_has_no_time() -> None:
    progress = Progress(console=Console(file=io.StringIO()))
    progress.add_task("", start=False, total=4)
    assert Times().render(progress.tasks[0]).plain == ""
