"""How far the evaluation of a model is: told to whoever listens in this process, and written nowhere."""

from __future__ import annotations

from typing import Literal

from normfed_server.events.kinds import RunEvent


class Scanned(RunEvent):
    """A site is done with one more scan of what it was asked; only engines that run sites on this machine know."""

    event: Literal["scanned"] = "scanned"
    arm: str
    task: str


class Answered(RunEvent):
    """A site answered, the ``done``-th of ``total`` answers that a model's evaluation takes."""

    event: Literal["answered"] = "answered"
    arm: str
    site: str
    done: int
    total: int


Fleeting = Scanned | Answered
