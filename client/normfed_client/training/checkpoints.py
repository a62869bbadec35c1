"""Training in the middle of a round, on disk: after a crash it goes on, and gives the same weights."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import torch

from normfed_common.foundation import arrays as named
from normfed_common.foundation.damage import put_aside
from normfed_common.foundation.errors import DamagedError
from normfed_common.foundation.files import DAMAGED

NETWORK, OPTIMISER = "network/", "optimiser/"


class TrainingCheckpoints:
    """Those of one request, which may train several times (a global and a personal model).

    Parameters
    ----------
    folder
        Named after all that the request says, so that nothing else ever goes on from here.
    every_s
        Between two checkpoints; nothing is written before so long.
    """

    def __init__(self, folder: Path, every_s: float) -> None:
        self.folder, self.every_s = folder, every_s
        self._trainings = 0

    def next(self) -> Checkpoint:
        """That of the next training of this request."""
        self._trainings += 1
        return Checkpoint(self.folder / f"training-{self._trainings}.safetensors", self.every_s)

    def clear(self) -> None:
        """The request is answered; what was damaged stays as long as answers do."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if DAMAGED not in path.name:
                    path.unlink(missing_ok=True)
            self.folder.rmdir()


class Checkpoint:
    """One training: network, optimiser, and how far it is."""

    def __init__(self, path: Path, every_s: float) -> None:
        self.path, self.every_s = path, every_s
        self._last = time.monotonic()

    def load(self, network: torch.nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Put both back where they were; returns what `save` was told, None where there is nothing to go on from."""
        if not self.path.exists():
            return None
        try:
            arrays, header = named.read(self.path)
        except DamagedError as error:
            put_aside(self.path, error.why, "this training begins again")
            return None
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        network.load_state_dict({n.removeprefix(NETWORK): t for n, t in tensors.items() if n.startswith(NETWORK)})
        state = optimiser.state_dict()
        state["state"] = _nested({n.removeprefix(OPTIMISER): t for n, t in tensors.items() if n.startswith(OPTIMISER)})
        optimiser.load_state_dict(state)
        progress: dict[str, Any] = header["progress"]
        return progress

    def due(self) -> bool:
        """Whether it is time for another."""
        return time.monotonic() - self._last > self.every_s

    def save(self, network: torch.nn.Module, optimiser: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
        """Write network, optimiser and progress; on a disk that is full the one before stays, and training goes on."""
        tensors = {NETWORK + name: tensor for name, tensor in network.state_dict().items()}
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"{OPTIMISER}{index}/{key}": torch.as_tensor(value) for key, value in state.items()}
        self._last = time.monotonic()
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        with contextlib.suppress(OSError):
            named.save(self.path, arrays, {"progress": progress})


def _nested(tensors: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    found: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        found.setdefault(int(index), {})[key] = tensor
    return found
