"""How long something has gone on, and about how much longer it will: a column beside a bar."""

from __future__ import annotations

from datetime import timedelta

from rich.progress import ProgressColumn, Task
from rich.text import Text

FEW = 3  # steps that say how long one takes; of less than a dozen, a quarter
SECONDS = 10.0  # before which a start, slow or fast, would be taken for the rest
MINUTE, HOUR = 60.0, 3600.0


class Times(ProgressColumn):
    """For how long it has gone on, and about how much longer it will; of what is done, how long it took.

    What is left takes as long, part for part, as what was done since the bar began: while nothing gets done, that
    grows. Fields of a task say more where there is more to say: ``before``, steps that were done when it began, and
    ``share`` of the work that is done since, where steps differ in size.
    """

    def render(self, task: Task) -> Text:
        """``0:01:20, about 3 min left``; nothing of what has not begun."""
        if not task.started:
            return Text("")
        elapsed = (task.finished_time if task.finished else task.elapsed) or 0.0
        left = _left(task, elapsed)
        said = [str(timedelta(seconds=int(elapsed)))]
        if left is not None:
            said.append(about(left))
        return Text(", ".join(said), style="progress.elapsed" if task.finished else "progress.remaining")


def about(seconds: float) -> str:
    """So much is left, as exactly as can be known: ``about 4 min left``."""
    if seconds < 0.75 * MINUTE:
        return "under 1 min left"
    if seconds < 9.5 * MINUTE:
        return f"about {seconds / MINUTE:.0f} min left"
    if seconds < HOUR - 2.5 * MINUTE:
        return f"about {5 * round(seconds / MINUTE / 5)} min left"
    return f"about {round(seconds / HOUR * 2) / 2:g} h left"


def _left(task: Task, elapsed: float) -> float | None:
    """Seconds; None of what is done, and where too little is to say."""
    if task.finished or not task.total:
        return None
    before = task.fields.get("before", 0.0)
    done, to_do = task.completed - before, task.total - before
    if elapsed < SECONDS or done <= 0 or done < min(FEW, to_do / 4):
        return None
    share: float | None = task.fields.get("share")
    share = done / to_do if share is None else share
    return elapsed * (1 - share) / share if share > 0 else None
