"""What did the training patch look like? One step's update of one site, turned back into what it was computed from.

Where a layer sees the whole input of a single sample, x = dL/dW_k / dL/db_k exactly (Phong 2018, IEEE TIFS 13(5),
doi 10.1109/TIFS.2017.2787987). Otherwise x is looked for whose gradient points as the update does (Geiping 2020,
arXiv 2003.14053):

    minimise 1 - cos(grad L(x), update) + TOTAL_VARIATION mean |x_(i+1) - x_i|

A reconstruction is judged by its peak signal-to-noise ratio beside those of what needs no attack: the mean of other
people's samples, and a sample of somebody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from normfed_client.imaging.cohort import PreparedCohort
from normfed_common.foundation import seeds
from normfed_common.learning.batch import Batch
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.audit import Figure, Finding
from normfed_simulation.audit.target import Target

NAME = "inversion"
TRIALS = 6  # steps that are attacked, each of the site of another person
STEPS, RATE, TOTAL_VARIATION = 300, 0.1, 1e-3
MOST_DB = 100.0
Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Step:
    """How a step leaves a site.

    Parameters
    ----------
    adam
        Whether the optimiser's first step shows no more of a gradient than its signs.
    clip_norm, noise_multiplier
        Of a patient's gradient, and of what is added to it; without a noise multiplier neither is done.
    """

    adam: bool
    clip_norm: float = 1.0
    noise_multiplier: float | None = None

    def update(self, gradient: Tensors, rng: torch.Generator) -> list[torch.Tensor]:
        """What is seen of a gradient, up to a factor."""
        flat = torch.cat([part.reshape(-1) for part in gradient]).double()
        if self.noise_multiplier is not None:
            flat = flat * min(1.0, self.clip_norm / max(float(flat.norm()), 1e-30))
            noise = torch.randn(flat.shape, generator=rng, dtype=torch.float64)
            flat = flat + self.noise_multiplier * self.clip_norm * noise
        if self.adam:
            flat = flat / (flat.abs() + 1e-8)
        parts = flat.float().split([part.numel() for part in gradient])
        return [part.view_as(like) for part, like in zip(parts, gradient, strict=True)]


def attack(target: Target) -> tuple[Finding, ...]:
    """A batch of one sample and plain gradients, the worst case; and a whole batch by the study's optimiser."""
    study, model = target.run.study, target.model(target.arrays)
    shared: dict[str, Any] = {
        "attack": NAME,
        "measure": "PSNR in dB",
        "knows": "the model and one site's update of one step",
    }
    phases = [phase for phase in model.phases() if phase.kind == "averaged"]
    if not phases:
        why = "The model trains no network: there is no update."
        return (Finding(**shared, title="Gradient inversion of one step", notes=(why,)),)
    z = None if target.spent is None or target.spent.round is None else target.spent.round.noise_multiplier
    worst = Step(False, study.privacy.clip_norm, z)
    usual = Step(study.federation.optimiser == "adam", study.privacy.clip_norm, z)
    secure = study.privacy.secure_aggregation is not None
    of = ", summed over the sites" if secure else ""
    return (
        _measured(target, model, phases[-1], worst, 1, {**shared, "title": f"Inversion of a step of one sample{of}"}),
        _measured(target, model, phases[-1], usual, None, {**shared, "title": f"Inversion of a step as it is{of}"}),
    )


def _measured(
    target: Target, model: NormativeModel, phase: Phase, step: Step, most: int | None, shared: dict[str, Any]
) -> Finding:
    people = [person for person, member in zip(target.candidates, target.members, strict=True) if member]
    rng = seeds.generator(target.options.seed, NAME)
    batches = []
    for number in rng.permutation(len(people)):
        draws = seeds.generator(target.options.seed, NAME, int(number))
        at_site = [case for person in people if person.site == people[number].site for case in person.visits]
        cohort = PreparedCohort([(case.visit, case.entry) for case in at_site])
        batch = next(iter(model.batches(phase.name, cohort, draws)))
        batches.append(batch if most is None else first(batch, most))
    noise = torch.Generator().manual_seed(seeds.derive(target.options.seed, NAME))
    leaving = [step.update(gradient(model, phase, batch), noise) for batch in batches]
    together = len(target.sites) if target.run.study.privacy.secure_aggregation is not None else 1
    figures = []
    for number in range(min(TRIALS, len(people))):
        chosen = [(number + n) % len(people) for n in range(together)]
        seen = [sum(parts[1:], parts[0]) for parts in zip(*(leaving[n] for n in chosen), strict=True)]
        found = reconstructed(model, phase, batches[number], seen, target.options.seed + number)
        truth, *others = (
            images(batches[n]).double() for n in [number, *(n for n in range(len(people)) if n != number)]
        )
        pool = torch.cat(others)
        guesses = (found.double(), pool.mean(0), pool[int(rng.integers(len(pool)))])
        peak = float(pool.max() - pool.min())
        figures.append([max(psnr(one, guess, peak) for one in truth) for guess in guesses])
        target.told(f"{shared['title']}, {number + 1} of {min(TRIALS, len(people))}")
    of_attack, of_mean, of_other = np.array(figures).T
    half = 1.96 * float(of_attack.std(ddof=1)) / len(of_attack) ** 0.5 if len(of_attack) > 1 else None
    mean = float(of_attack.mean())
    interval = {} if half is None else {"low": mean - half, "high": mean + half}
    return Finding(
        **shared,
        figure=Figure(value=mean, **interval),
        baselines={"mean sample": float(of_mean.mean()), "somebody else's sample": float(of_other.mean())},
        people=len(figures),
        decisions=len(figures),
        trials=len(figures),
        notes=(f"Better than the mean sample in {int((of_attack > of_mean).sum())} of {len(figures)}.",),
    )


def gradient(model: NormativeModel, phase: Phase, batch: Batch, graph: bool = False) -> list[torch.Tensor]:
    """Of the mean loss of a batch, one tensor per parameter; those that it does not touch are 0."""
    assert model.network is not None
    model.network.eval()
    loss = model.loss(phase.name, batch.to(model.setting.device), torch.Generator().manual_seed(0)).mean()
    parameters = list(model.network.parameters())
    found = torch.autograd.grad(loss, parameters, create_graph=graph, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def reconstructed(model: NormativeModel, phase: Phase, batch: Batch, update: Tensors, seed: int) -> torch.Tensor:
    """One sample (without an axis of samples): in closed form or by search, whichever explains the update better.

    Of the batch nothing is looked at but the shapes, and what of its first sample is no image.
    """
    shape = images(batch).shape[1:]
    guesses = [_searched(model, phase, batch, update, shape, seed)]
    exact = _closed_form(model, update, shape)
    if exact is not None:
        guesses.append(exact)
    mismatches = [float(_mismatch(gradient(model, phase, _filled(batch, guess)), update)) for guess in guesses]
    return guesses[int(np.argmin(mismatches))]


def linear_input(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The input (in,) of a linear layer from the gradients of its weight (out, in) and bias (out,), for one sample: the
    least-squares x of dW = db x'. Of several it is their mean, weighted by how strongly each pulls."""
    length = bias @ bias
    return bias @ weight / length if length > 0 else torch.zeros_like(weight[0])


def _closed_form(model: NormativeModel, update: Tensors, shape: torch.Size) -> torch.Tensor | None:
    """By the first layer with a bias that sees a whole image; None where there is none."""
    assert model.network is not None
    place = {id(parameter): number for number, parameter in enumerate(model.network.parameters())}
    for layer in model.network.modules():
        if not isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) or layer.bias is None:
            continue
        size = layer.weight[0].numel()
        if size not in (shape.numel(), shape[1:].numel()):
            continue
        weight, bias = update[place[id(layer.weight)]].flatten(1).double(), update[place[id(layer.bias)]].double()
        image = linear_input(weight, bias).view(shape if size == shape.numel() else shape[1:])
        centre, scale = (getattr(model.network, name, None) for name in ("centre", "scale"))
        if centre is not None and scale is not None:
            image = image * scale + centre
        return image.expand(shape).float()  # both of a pair, where the samples are pairs
    return None


def _searched(
    model: NormativeModel, phase: Phase, batch: Batch, update: Tensors, shape: torch.Size, seed: int
) -> torch.Tensor:
    guess = (0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).requires_grad_()
    optimiser = torch.optim.Adam([guess], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        found = gradient(model, phase, _filled(batch, guess), graph=True)
        rough = (guess.diff(dim=-1).abs().mean() + guess.diff(dim=-2).abs().mean()) if guess.ndim > 1 else 0.0
        loss = _mismatch(found, update) + TOTAL_VARIATION * rough
        (guess.grad,) = torch.autograd.grad(loss, [guess])
        optimiser.step()
        schedule.step()
    return guess.detach()


def _mismatch(found: Tensors, update: Tensors) -> torch.Tensor:
    """1 - cosine."""
    one, other = (torch.cat([part.reshape(-1) for part in parts]) for parts in (found, update))
    return 1 - functional.cosine_similarity(one, other.to(one), dim=0)


def images(batch: Batch) -> torch.Tensor:
    """The samples' images, (n, ...): the largest tensor of real numbers."""
    return batch.data[_main(batch)]


def _main(batch: Batch) -> str:
    return max((n for n, t in batch.data.items() if t.is_floating_point()), key=lambda name: batch.data[name].numel())


def first(batch: Batch, count: int) -> Batch:
    """The first samples of a batch."""
    return Batch({name: tensor[:count] for name, tensor in batch.data.items()}, batch.person[:count])


def _filled(batch: Batch, image: torch.Tensor) -> Batch:
    one = first(batch, 1)
    return Batch({**one.data, _main(batch): image[None]}, one.person)


def psnr(truth: torch.Tensor, guess: torch.Tensor, peak: float) -> float:
    """Peak signal-to-noise ratio in dB, `MOST_DB` at most."""
    error = float((truth - guess).square().mean())
    return min(MOST_DB, 10 * float(np.log10(peak**2 / max(error, 1e-30))))
