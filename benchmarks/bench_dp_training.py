"""What protecting people costs in training, at the same number of samples: limit 1.3 times plain training.

Beside it opacus' hooks, which make a gradient of every sample; a clipped mean gradient of each person does without.
Every model takes its own batches of people's scans through the one loop; noise and lots are drawn as at a site. With
``--device cuda`` on a GPU, by kernels that repeat as at a site; and whether one noise gives the same weights twice.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from common import Brains, machine, setting
from opacus import GradSampleModule

from normfed_client.hospital.machine import repeatable
from normfed_client.imaging.template import anatomy
from normfed_client.training.gradients import Draws as Drawn
from normfed_client.training.gradients import GradientRule, Plain, Scaled
from normfed_client.training.loop import Settings, train
from normfed_client.training.per_patient import PerPatient
from normfed_common.learning.batch import Batch
from normfed_common.learning.entries import build
from normfed_common.learning.learner import Learner
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.studies import validate_learner

LIMIT = 1.3
PEOPLE, REPEATS = 8, 3
MEASURED: dict[str, dict[str, Any]] = {
    "siamese, the demo's": {"name": "siamese", "pairs_per_subject": 800, "batch_size": 50},
    "siamese, isbi": {"name": "siamese", "architecture": "isbi", "pairs_per_subject": 800, "batch_size": 50},
    "auto-encoder": {"name": "autoencoder", "slices_per_subject": 8},
    "variational": {"name": "vae", "slices_per_subject": 8},
    "planted anomalies": {"name": "synthetic-anomalies"},
}


class Hooked(Plain):
    """Sample by sample, by opacus' hooks: clipped, added up, with noise."""

    def _step(
        self, draws: Drawn, batch: Batch, number: int, parameters: Sequence[torch.nn.Parameter], scaled: Scaled
    ) -> None:
        for parameter in parameters:
            parameter.grad_sample = None  # type: ignore[attr-defined]
        torch.autograd.backward(draws.loss(batch, number, 0).sum(), inputs=list(parameters))
        each = [parameter.grad_sample for parameter in parameters]  # type: ignore[attr-defined]
        each = [grads.unflatten(0, (len(batch), -1)).sum(1) for grads in each]
        lengths = torch.stack([grads.flatten(1).norm(dim=1) for grads in each]).norm(dim=0)
        factors = (1 / (lengths + 1e-6)).clamp(max=1)
        for parameter, grads in zip(parameters, each, strict=True):
            total = torch.einsum("i,i...", factors, grads)
            parameter.grad = (total + torch.randn_like(total)) / len(batch)


def made(entry: dict[str, Any], device: torch.device) -> Learner:
    """A model of the demo's setting."""
    where = replace(setting(), device=device, open_anatomy=lambda: anatomy(2))
    return build(MODELS, validate_learner(MODELS, entry, "benchmark"), where)


def seconds_per_sample(learner: Learner, people: Brains, rule: Callable[[], GradientRule]) -> float:
    """Of a training of one pass, whose weights are on the processor when it ends."""
    counts: list[int] = []
    loss = learner.loss

    def counting(phase: str, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        counts.append(len(batch))
        return loss(phase, batch, rng)

    learner.loss = counting  # type: ignore[method-assign]
    phase = next(phase for phase in learner.phases() if phase.kind == "averaged")
    settings = Settings(phase, seed=1, site="a", round=1, epochs=1, learning_rate=1e-3, rule=rule())
    begin = time.perf_counter()
    train(learner, people, settings)
    learner.share()
    seconds = time.perf_counter() - begin
    learner.loss = loss  # type: ignore[method-assign]
    return seconds / sum(counts)


def protecting(learner: Learner) -> GradientRule:
    """Four steps of half of the people each, with as many samples of each as in a pass."""
    samples = learner.samples_per_person(learner.config)
    return PerPatient(bytes(32), SampledGaussian(1.0, 0.5, 4), 1.0, samples=min(samples, 200))


def twice(entry: dict[str, Any], people: Brains, device: torch.device) -> float:
    """Largest difference between the weights of two private trainings with the same noise."""
    first, second = made(entry, device), made(entry, device)
    for learner in (first, second):
        seconds_per_sample(learner, people, lambda learner=learner: protecting(learner))  # type: ignore[misc]
    ours, theirs = first.share(), second.share()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


def measure(device: torch.device) -> None:
    """Print the ratios, each of the median of runs that take turns."""
    people = Brains(PEOPLE)
    for title, entry in MEASURED.items():
        private, hooked = made(entry, device), made(entry, device)
        assert hooked.network is not None
        GradSampleModule(hooked.network, loss_reduction="sum", strict=False)
        ways: dict[str, tuple[Learner, Callable[[], GradientRule]]] = {
            "plain": (made(entry, device), Plain),
            "per patient": (private, lambda private=private: protecting(private)),  # type: ignore[misc]
            "opacus": (hooked, Hooked),
        }
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(REPEATS + 1):
            for way, (learner, rule) in ways.items():
                found[way].append(seconds_per_sample(learner, people, rule))
        plain, patient, opacus = (float(np.median(times[1:])) for times in found.values())
        print(
            f"{title}: {plain * 1e3:.3f} ms a sample; per patient {patient / plain:.2f} times (limit {LIMIT}), "
            f"opacus' hooks {opacus / plain:.2f} times; trained twice, weights differ by "
            f"{twice(entry, people, device):.1e}",
            flush=True,
        )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    device = torch.device(parser.parse_args().device)
    torch.set_num_threads(1)
    print(f"{machine()}, {torch.cuda.get_device_name() if device.type == 'cuda' else 'processor'}")
    with repeatable(device):
        measure(device)


if __name__ == "__main__":
    main()
