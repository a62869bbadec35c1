"""A run for TensorBoard, as an event file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from normfed_server.tracking.telling import Parameter

FILE = "events.out.tfevents.{:020d}.normfed"  # TensorBoard's own writer would name the machine and the process
FORMAT = "brain.Event:2"  # of the file


class Board:
    """A `Tracker` into a folder: scalars, the study and the final figures as hyper-parameters, figures as images."""

    def __init__(self, folder: Path, name: str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        (folder / name).mkdir(parents=True, exist_ok=True)
        file = open(folder / name / FILE.format(time.time_ns()), "xb")  # noqa: SIM115  (closed with the tracker)
        self._records = RecordWriter(file)
        self._event, self._made = Event, summary
        self._told: dict[str, Parameter] = {}
        self._write(file_version=FORMAT)

    def parameters(self, told: Mapping[str, Parameter]) -> None:
        """See `Tracker`."""
        self._told = dict(told)
        lines = "\n".join(f"    {key}: {value}" for key, value in told.items())
        self._write(summary=self._made.text("study", lines))

    def scalars(self, told: Mapping[str, float], step: int, time_s: float | None) -> None:
        """See `Tracker`."""
        for name, value in told.items():
            self._write(time_s, step=step, summary=self._made.scalar(name, value))

    def finals(self, told: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for summary in self._made.hparams(self._told, dict(told)):
            self._write(summary=summary)
        self.scalars(told, 0, None)

    def artefacts(self, root: Path, paths: list[Path]) -> None:
        """The figures among them: TensorBoard keeps no files."""
        for path in paths:
            if path.suffix == ".png":
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert("RGB"))
                name = path.relative_to(root).with_suffix("").as_posix()
                self._write(summary=self._made.image(name, pixels, dataformats="HWC"))

    def close(self, whole: bool) -> None:
        """See `Tracker`; TensorBoard knows no state of a run."""
        self._records.close()

    def _write(self, time_s: float | None = None, **what: Any) -> None:
        event = self._event(wall_time=time.time() if time_s is None else time_s, **what)
        self._records.write(event.SerializeToString())
        self._records.flush()
