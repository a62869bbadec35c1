"""What was left out, on a terminal: one line for all that is said alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console

from normfed_client.imaging.bids import Problem
from normfed_common.wording.terminal_text import plain

NUMBER = re.compile(r"(?<!\w)\d+(?:\.\d+)?(?!\w)")


def print_problems(console: Console, problems: Sequence[Problem], title: str, every: bool = False) -> bool:
    """One line per problem; one that many have is told of the first. Returns whether everybody was named."""
    if not problems:
        return True
    console.print(f"[italic]{title}[/]")
    alike: dict[str, list[Problem]] = {}
    for number, problem in enumerate(problems):
        alike.setdefault(str(number) if every else _kind(problem), []).append(problem)
    for first, *others in alike.values():
        more = f" and {len(others)} more" if others else ""
        console.print(f"  {plain(first.what)}{more}: {plain(first.why)}", highlight=False, soft_wrap=True)
    return len(alike) == len(problems)


def _kind(problem: Problem) -> str:
    """What a problem says but for whose it is and for the numbers in it; the numbers of T1w and MNI152 are names."""
    why = problem.why
    for part in filter(None, problem.what.split("_")):
        why = why.replace(part, "*")
    return NUMBER.sub("*", why)
