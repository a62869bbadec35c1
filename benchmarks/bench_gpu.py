"""A GPU against the same machine's processor: training in every precision, scoring, the same weights twice.

Needs a CUDA device. Training goes through the one loop with batches made as at a site; `steps alone` repeats one batch
that is on the device already, so what is between the two is the making and moving of batches. Sites take only kernels
that repeat (`repeatable`); `torch's own choice` is what that costs.
"""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from common import Brains, machine, median_seconds, setting

from normfed_client.hospital.machine import repeatable
from normfed_client.training.loop import Settings, TrainingFigures, train
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.study.federation import Precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")
MIB = 2**20
MODELS_MEASURED: dict[str, dict[str, Any]] = {
    "siamese, the demo's": {"name": "siamese", "patch_size": 9, "pairs_per_subject": 800, "batch_size": 50},
    "siamese, published": {"name": "siamese", "patch_size": 15, "pairs_per_subject": 10_000, "batch_size": 1000},
    "auto-encoder": {"name": "autoencoder", "batch_size": 8},
    "auto-encoder, 64 slices": {"name": "autoencoder", "batch_size": 64},
}
PEOPLE, STEPS, WARM = 8, 40, 10


def rounds(model: NormativeModel, people: Brains, most: int) -> tuple[TrainingFigures, float]:
    """A round of the loop, and its seconds."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    settings = Settings(model.phases()[0], seed=1, site="a", round=1, epochs=100, learning_rate=1e-3, most_steps=most)
    progress = train(model, people, settings)
    torch.cuda.synchronize()
    return progress, time.perf_counter() - begin


def steps_alone(model: NormativeModel, people: Brains) -> float:
    """Samples a second when batches cost nothing."""
    assert model.network is not None
    network, optimiser = model.network.train(), torch.optim.Adam(model.network.parameters(), lr=1e-3, fused=True)
    [batch] = itertools.islice(model.batches("training", people, np.random.default_rng(0)), 1)
    batch, rng = batch.to(model.setting.device), torch.Generator()

    def step() -> None:
        network.zero_grad(set_to_none=True)
        with model.setting.autocast():
            error = model.loss("training", batch, rng)
        error.mean().backward()
        optimiser.step()

    for _ in range(WARM):
        step()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize()
    return STEPS * len(batch) / (time.perf_counter() - begin)


def made(entry: dict[str, Any], device: torch.device, precision: Precision = "float32") -> NormativeModel:
    """A model of the demo's setting."""
    where: Setting = replace(setting(), device=device, precision=precision)
    return build(MODELS, entry, where)


def difference(one: Arrays, other: Arrays) -> float:
    """Relative, of all weights as one vector."""
    first, second = (np.concatenate([weights[name].ravel() for name in sorted(one)]) for weights in (one, other))
    return float(np.linalg.norm(first - second) / np.linalg.norm(first))


def measure(title: str, entry: dict[str, Any], people: Brains) -> None:
    """Print what one model does on both devices."""
    model = made(entry, CPU)
    rounds(made(entry, CPU), people, WARM)
    progress, seconds = rounds(model, people, WARM)
    processor = progress.samples / seconds
    print(f"{title}, processor: {processor:,.0f} samples/s", flush=True)
    for precision in ("float32", "bf16", "fp16"):
        with repeatable(GPU):
            measure_gpu(f"{title}, GPU {precision}", entry, precision, people, processor)
    measure_gpu(f"{title}, GPU float32, torch's own choice", entry, "float32", people, processor)
    begin, batches = time.perf_counter(), model.batches("training", people, np.random.default_rng(0))
    count = sum(len(batch) for batch in itertools.islice(batches, STEPS))
    print(f"{title}, batches alone: {count / (time.perf_counter() - begin):,.0f} samples/s", flush=True)
    with repeatable(GPU):
        few = made(entry, GPU)
        rounds(few, people, WARM)
    apart = difference(model.share(), few.share())
    print(f"{title}, GPU against processor after {WARM} steps: weights differ by {apart:.1e}", flush=True)


def measure_gpu(title: str, entry: dict[str, Any], precision: Precision, people: Brains, processor: float) -> None:
    """Print how fast a training is, and if it repeats."""
    rounds(made(entry, GPU, precision), people, WARM)
    torch.cuda.reset_peak_memory_stats()
    first, again = made(entry, GPU, precision), made(entry, GPU, precision)
    progress, seconds = rounds(first, people, STEPS)
    rounds(again, people, STEPS)
    rate = progress.samples / seconds
    print(
        f"{title}: {rate:,.0f} samples/s, {rate / processor:.1f} times the processor; "
        f"steps alone {steps_alone(made(entry, GPU, precision), people):,.0f}; loss {progress.loss:.4f}; "
        f"peak {torch.cuda.max_memory_allocated() / MIB:.0f} MiB; "
        f"trained twice, weights differ by {difference(first.share(), again.share()):.1e}",
        flush=True,
    )


def measure_scoring(title: str, entry: dict[str, Any], people: Brains) -> None:
    """Print how long one scan takes."""
    maps, seconds = {}, {}
    for device in (CPU, GPU):
        model = made(entry, device)

        def score(model: NormativeModel = model) -> np.ndarray:
            return model.score([people.scan(0)], np.random.default_rng(0)).anomaly

        with repeatable(device):
            maps[device], seconds[device] = score(), median_seconds(score)
    apart = np.abs(maps[CPU] - maps[GPU]).max() / np.abs(maps[CPU]).max()
    print(
        f"{title}, a scan: {seconds[CPU]:.3f} s on the processor, {seconds[GPU]:.3f} s on the GPU, "
        f"maps differ by {apart:.1e}",
        flush=True,
    )


def main() -> None:
    if not torch.cuda.is_available():
        print("This machine has no usable CUDA device: nothing measured.")
        return
    torch.set_num_threads(min(8, os.cpu_count() or 1))
    print(f"{machine()}, {torch.cuda.get_device_name()}")
    people = Brains(PEOPLE)
    for title, entry in MODELS_MEASURED.items():
        measure(title, entry, people)
    patient = {"one_class": {"fit_on": "patient"}}
    for title, entry in MODELS_MEASURED.items():
        measure_scoring(title, entry | (patient if entry["name"] == "siamese" else {}), people)


if __name__ == "__main__":
    main()
