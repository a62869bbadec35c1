"""A run for Weights & Biases, written to a folder and sent nowhere: a person may send it later, by ``wandb sync``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from normfed_server.tracking.telling import Parameter

QUIET = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true", "DO_NOT_TRACK": "1"}
PROJECT = "normfed"


class WandbOffline:
    """A `Tracker` into a folder; what a person may send later does not name the machine or its user."""

    def __init__(self, folder: Path, name: str) -> None:
        os.environ.update(QUIET)
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            mode="offline",
            console="off",
            silent=True,
            symlink=False,  # the files may be gone when a person sends them
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            host=PROJECT,
            username=PROJECT,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
        )
        self._run = wandb.init(dir=str(folder), project=PROJECT, name=name, settings=settings)
        self._wait = wandb.teardown

    def parameters(self, told: Mapping[str, Parameter]) -> None:
        """See `Tracker`."""
        self._run.config.update(dict(told))  # type: ignore[no-untyped-call]

    def scalars(self, told: Mapping[str, float], step: int, time_s: float | None) -> None:
        """See `Tracker`; the round is a figure of its own, since models trained beside each other share steps."""
        self._run.log({**told, "round": step})

    def finals(self, told: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.summary.update(dict(told))

    def artefacts(self, root: Path, paths: list[Path]) -> None:
        """See `Tracker`."""
        for path in paths:
            self._run.save(str(path), base_path=str(root), policy="now")

    def close(self, whole: bool) -> None:
        """See `Tracker`; a process of W&B's own writes the file, and may do so a moment longer than it says."""
        self._run.finish(exit_code=0 if whole else 1)
        self._wait(exit_code=0 if whole else 1)
