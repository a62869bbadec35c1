"""How long something has gone on, and about how much longer it will: a column beside a bar."""

from __future__ import annotations

from datetime import timedelta

from rich.progress import ProgressColumn, Task
from rich.table import Column
from rich.text import Text


class Times(ProgressColumn):
    """For how long it has gone on, and about how much longer it will; of what is done, how long it took.

    Parameters
    ----------
    even
        Whether all steps take about as long, some minutes each: then what is left is estimated from all steps so far,
        as soon as the first is done. Otherwise it is estimated from the last half minute.
    """

    def __init__(self, table_column: Column | None = None, even: bool = False) -> None:
        super().__init__(table_column)
        self._even = even
        self._latest: dict[int, tuple[float, float]] = {}  # by task: how many steps were done, and after how long

    def render(self, task: Task) -> Text:
        """``0:01:20, 0:02:30 left``."""
        elapsed = (task.finished_time if task.finished else task.elapsed) or 0.0
        left = self._left(task, elapsed)
        said = [str(timedelta(seconds=int(elapsed)))]
        if left is not None and not task.finished:
            said.append(f"{timedelta(seconds=int(left))} left")
        return Text(", ".join(said), style="progress.elapsed" if task.finished else "progress.remaining")

    def _left(self, task: Task, elapsed: float) -> float | None:
        if not self._even:
            return task.time_remaining
        if not task.completed or task.remaining is None:
            return None
        done, at = self._latest.get(task.id, (0.0, 0.0))
        if done != task.completed:
            self._latest[task.id] = done, at = task.completed, elapsed
        return max(at / done * task.remaining - (elapsed - at), 0.0)
