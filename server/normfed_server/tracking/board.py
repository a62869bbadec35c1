"""A run for TensorBoard, as its event files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from normfed_server.tracking.telling import Parameter


class Board:
    """A `Tracker` into a folder: scalars, the study and the final figures as hyper-parameters, figures as images."""

    def __init__(self, folder: Path, name: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / name))
        self._told: dict[str, Parameter] = {}

    def parameters(self, told: Mapping[str, Parameter]) -> None:
        """See `Tracker`."""
        self._told = dict(told)
        lines = "\n".join(f"    {key}: {value}" for key, value in told.items())
        self._writer.add_text("study", lines)
        self._writer.flush()

    def scalars(self, told: Mapping[str, float], step: int, time_s: float | None) -> None:
        """See `Tracker`."""
        for name, value in told.items():
            self._writer.add_scalar(name, value, step, walltime=time_s)
        self._writer.flush()

    def finals(self, told: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._writer.add_hparams(self._told, dict(told), run_name=".")

    def artefacts(self, root: Path, paths: list[Path]) -> None:
        """The figures among them: TensorBoard keeps no files."""
        for path in paths:
            if path.suffix == ".png":
                with Image.open(path) as image:
                    pixels = np.asarray(image.convert("RGB"))
                self._writer.add_image(path.relative_to(root).with_suffix("").as_posix(), pixels, dataformats="HWC")

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()
