"""Keep processes running: start them in order, start them again when they end or no longer answer, log what they say.

What is written here belongs to one machine: `services.json` says what runs, since when, and how often it had to be
started again.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import psutil

from normfed_common.foundation import private
from normfed_common.foundation.errors import UserError
from normfed_common.foundation.files import write_json
from normfed_common.foundation.locks import alone, is_held

SERVICES = "services.json"
LOCK = "lock"
LONGEST_PAUSE_S = 15.0
STEADY_S = 60.0  # a process that ran this long is well again: the next pause is the shortest
HEALTH_EVERY_S = 10.0
UNWELL_S = 60.0  # without an answer, while it is not stopped: what somebody stopped, somebody will continue
# Of processor time between two looks: a process comes up, on a starved machine slowly, and does not hang.
PROGRESS_S = 0.05
END_S = 10.0
LOG_BYTES, LOGS_KEPT = 10_000_000, 3
PR_SET_PDEATHSIG = 1

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Service:
    """One process.

    Parameters
    ----------
    environment
        Added to that of this process.
    healthy
        Asks the process whether it is well; absent where running is all there is to ask.
    needs
        Files that it reads when it starts: it is started again when one of them changes.
    heard
        Told every line that it says, beside its log.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    healthy: Callable[[], bool] | None = None
    needs: tuple[Path, ...] = ()
    heard: Callable[[str], None] | None = None


class Supervisor:
    """Runs services until told to stop.

    Parameters
    ----------
    folder
        Holds `services.json`, and a log per service.
    say
        Told, in a sentence, what a person should know.
    """

    def __init__(self, services: Sequence[Service], folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self._running = [_Running(service, folder) for service in services]

    def run(self, stop: threading.Event) -> None:
        """Start everything and keep it running; call it from the main thread, whose end ends the processes."""
        try:
            while not stop.is_set():
                changed = [running.look(self.say) for running in self._running]
                if any(changed):
                    self._write()
                stop.wait(0.2)
        finally:
            for running in reversed(self._running):
                running.end()
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end what runs
            write_json(self.folder / SERVICES, {r.service.name: r.state() for r in self._running})


class _Running:
    """A service and its process."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        self.last_end: str | None = None
        self._started = self._due = 0.0
        self._since = 0.0
        self._pause_s = 1.0
        self._well = self._asked = self._worked = 0.0
        self._came_up = False
        self._needs: tuple[int, ...] = ()
        self._log = log_file(folder / f"{service.name}.log")

    def look(self, say: Callable[[str], None]) -> bool:
        """Start, or start again, whatever needs it; whether anything changed."""
        now = time.monotonic()
        if self.process is None:
            if now < self._due:
                return False
            self._start(now)
            return True
        code = self.process.poll()
        if code is not None:
            self._ended(now, _ending(code), say)
            return True
        if self._needs != _times(self.service.needs):
            say(f"{self.service.name}: starting again, its files changed.")
            self.end()
            self._due = now
            return True
        if self._unwell(now):
            self.end()
            self._ended(now, f"no answer for {UNWELL_S:.0f} s", say)
            return True
        return False

    def end(self) -> None:
        """Ask the process to end; insist after END_S."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def state(self) -> dict[str, Any]:
        """What a status shows."""
        return {
            "pid": self.process.pid if self.process else None,
            "since": self._since if self.process else None,
            "restarts": self.restarts,
            "last_end": self.last_end,
        }

    def _start(self, now: float) -> None:
        self._needs = _times(self.service.needs)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self.service.environment}
        self.process = subprocess.Popen(
            list(self.service.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is this process's to handle
            preexec_fn=end_with_parent,
        )
        self._started = self._well = self._asked = now
        self._worked, self._came_up = 0.0, False
        self._since = time.time()
        threading.Thread(target=self._pump, args=(self.process,), daemon=True).start()

    def _ended(self, now: float, how: str, say: Callable[[str], None]) -> None:
        self._pause_s = 1.0 if now - self._started > STEADY_S else min(self._pause_s * 2, LONGEST_PAUSE_S)
        self._due = now + self._pause_s
        self.process, self.last_end = None, how
        self.restarts += 1
        say(f"{self.service.name}: ended ({how}); starting again in {self._pause_s:.0f} s.")

    def _unwell(self, now: float) -> bool:
        if self.service.healthy is None or now - self._asked < HEALTH_EVERY_S:
            return False
        self._asked = now
        if self.service.healthy():
            self._well, self._came_up = now, True
        elif self._stopped() or self._comes_up():
            self._well = now
        return now - self._well > UNWELL_S

    def _comes_up(self) -> bool:
        """Whether it has not answered yet and works on it: on a starved machine that takes any time, but no more of the
        processor's than `UNWELL_S`."""
        if self._came_up or self.process is None:
            return False
        try:
            process = psutil.Process(self.process.pid)
            times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        except psutil.NoSuchProcess:
            return False
        before, self._worked = self._worked, sum(one.user + one.system for one in times)
        return before + PROGRESS_S < self._worked < UNWELL_S

    def _stopped(self) -> bool:
        try:
            return self.process is not None and psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False

    def _pump(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None:
            return
        for line in process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            self._log.info(text)
            if self.service.heard is not None:
                with contextlib.suppress(OSError):  # a terminal that is gone must not stop the process
                    self.service.heard(text)


def end_with_parent() -> None:
    """In a new process: be ended by the kernel when the parent is gone, however it went."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def only_one(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder's lock, which the kernel gives back however this process ends.

    Raises
    ------
    UserError
        If another process holds it.
    """
    private.make_folder(folder)
    (folder / LOCK).touch()
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(alone(folder / LOCK))
        except BlockingIOError as error:
            raise UserError(f"{folder}: {what} is running already. Stop it first, or look at its status.") from error
        yield


def is_running(folder: Path) -> bool:
    """Whether somebody holds a folder's lock."""
    try:
        return is_held(folder / LOCK)
    except OSError:
        return False


def read_services(folder: Path) -> dict[str, dict[str, Any]]:
    """What `services.json` says; empty where there is none."""
    try:
        found: dict[str, dict[str, Any]] = json.loads((folder / SERVICES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C and a service manager's TERM set."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _times(paths: Sequence[Path]) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def log_file(path: Path) -> logging.Logger:
    """A log with the time on every line, whose size is bounded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.Logger(f"normfed.log.{path.stem}")  # of its own: nothing else writes there
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(handler)
    return logger
