"""Train the segmentation network: alone on some people, or federated, round by round, with a checkpoint of each.

Zakazov 2021: 100 epochs of 100 batches, binary cross-entropy, SGD with Nesterov momentum of .9, a rate of 1e-3 that is
a tenth from epoch 80 on. Federated, an epoch is a round, in which the sites make as many batches together as one
training does alone, each with an optimiser that begins anew; their weights are averaged by people (McMahan 2017), and
under fedbn each keeps its own batch normalisation (Li 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from normfed_client.hospital.machine import repeatable
from normfed_common.foundation import seeds
from normfed_common.foundation.files import atomic
from normfed_common.learning.precision import autocast
from normfed_simulation.segmentation.config import MULTIPLE, Federated, SegmentationConfig
from normfed_simulation.segmentation.network import SegmentationNetwork
from normfed_simulation.segmentation.slices import Volume, batch

State = dict[str, Tensor]


class Trained:
    """A network for every scanner; one alone, under the name of nobody, where all share it.

    Parameters
    ----------
    states
        Arrays by scanner.
    """

    def __init__(self, config: SegmentationConfig, device: torch.device, states: Mapping[str, State]) -> None:
        self.config, self.device, self.states = config, device, dict(states)

    def network(self, site: str) -> SegmentationNetwork:
        """As a scanner uses it, in evaluation mode; a scanner that did not train has the mean of the others'."""
        network = SegmentationNetwork(self.config.filters)
        network.load_state_dict(self.states[site] if site in self.states else averaged(self.states, None))
        return network.to(self.device).eval()


def train(
    name: str,
    people: Mapping[str, Sequence[Volume]],
    config: SegmentationConfig,
    device: torch.device,
    checkpoint: Path,
    federated: Federated | None = None,
) -> Trained:
    """Train to the end from the checkpoint, where there is one; the same to the last bit whether it was interrupted.

    Parameters
    ----------
    name
        From which, and the seed, everything random is drawn.
    people
        By scanner; together, where they are not federated.
    """
    sites = {site: volumes for site, volumes in sorted(people.items()) if volumes}
    if federated is None:
        sites = {"": [volume for volumes in sites.values() for volume in volumes]}
    states, momenta, epoch = _begun(name, sites, config, checkpoint)
    weights = {site: len(volumes) for site, volumes in sites.items()}
    with repeatable(device):
        while epoch < config.epochs:
            for site, volumes in sites.items():
                before = None if federated else momenta
                states[site], momenta = _epoch(
                    name, site, volumes, states[site], before, epoch, len(sites), config, device
                )
            if federated is not None:
                states = _shared(states, weights, federated)
            epoch += 1
            _save(checkpoint, epoch, states, {} if federated else momenta)
    return Trained(config, device, states)


def averaged(states: Mapping[str, State], weights: Mapping[str, int] | None) -> State:
    """The mean of every array, by ``weights`` where given; of counters the largest."""
    shares = {site: 1.0 if weights is None else float(weights[site]) for site in states}
    total = sum(shares.values())
    found: State = {}
    for name, array in next(iter(states.values())).items():
        each = torch.stack([state[name] for state in states.values()])
        if array.is_floating_point():
            share = torch.tensor([shares[site] / total for site in states], dtype=torch.float64)
            found[name] = torch.tensordot(share, each.double(), 1).to(array.dtype)
        else:
            found[name] = each.amax(0)
    return found


def _shared(states: dict[str, State], weights: Mapping[str, int], federated: Federated) -> dict[str, State]:
    """What every site goes on from."""
    mean = averaged(states, weights)
    kept = _normalisation() if federated == "fedbn" else frozenset()
    return {
        site: {name: state[name] if name in kept else mean[name] for name in mean} for site, state in states.items()
    }


def _normalisation() -> frozenset[str]:
    network = SegmentationNetwork(1)
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    return frozenset(f"{name}.{array}" for name, layer in layers for array in layer.state_dict())


def _epoch(
    name: str,
    site: str,
    volumes: Sequence[Volume],
    state: State,
    momenta: State | None,
    epoch: int,
    sites: int,
    config: SegmentationConfig,
    device: torch.device,
) -> tuple[State, State]:
    """An epoch, or a site's part of a round; the arrays afterwards and the optimiser's momenta, on the CPU."""
    network = SegmentationNetwork(config.filters)
    network.load_state_dict(state)
    network.to(device).train()
    rate = config.learning_rate * (0.1 if epoch >= config.slower_from else 1.0)
    optimiser = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, nesterov=True, fused=True)
    for key, parameter in network.named_parameters() if momenta else ():
        optimiser.state[parameter]["momentum_buffer"] = momenta[key].to(device)  # type: ignore[index]
    rng = seeds.generator(config.seed, "segmentation", name, site, epoch)
    for _ in range(-(-config.batches_per_epoch // sites)):
        images, masks = (
            torch.from_numpy(array).to(device) for array in batch(volumes, config.batch_size, config.crop, rng)
        )
        optimiser.zero_grad(set_to_none=True)
        with autocast(device, config.precision):
            logits = network(images)
        functional.binary_cross_entropy_with_logits(logits.float(), masks).backward()
        optimiser.step()
    after = {key: array.cpu() for key, array in network.state_dict().items()}
    buffers = {key: optimiser.state[p]["momentum_buffer"].cpu() for key, p in network.named_parameters()}
    return after, buffers


def _begun(
    name: str, sites: Mapping[str, Sequence[Volume]], config: SegmentationConfig, checkpoint: Path
) -> tuple[dict[str, State], State, int]:
    """States by site, momenta, and the epoch to go on from."""
    if checkpoint.is_file():
        with safe_open(checkpoint, "pt") as file:
            epoch = int(file.metadata()["epoch"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        states: dict[str, State] = {site: {} for site in sites}
        momenta: State = {}
        for key, array in arrays.items():
            kind, named = key.split("|", 1)
            site, array_name = named.rsplit("|", 1)
            (momenta if kind == "momentum" else states[site])[array_name] = array
        return states, momenta, epoch
    network = SegmentationNetwork(config.filters)
    network.initialise(seeds.torch_generator(config.seed, "initial weights", name))
    return {site: {key: array.clone() for key, array in network.state_dict().items()} for site in sites}, {}, 0


def _save(checkpoint: Path, epoch: int, states: Mapping[str, State], momenta: State) -> None:
    arrays = {f"state|{site}|{key}": array.clone() for site, state in states.items() for key, array in state.items()}
    arrays |= {f"momentum||{key}": array for key, array in momenta.items()}
    with atomic(checkpoint) as part:
        save_file(arrays, part, {"epoch": str(epoch)})


def predicted(
    network: SegmentationNetwork, image: np.ndarray, config: SegmentationConfig, at_once: int = 16
) -> np.ndarray:
    """The brain in a prepared image (X, Y, Z), bool: slice by slice, a probability above one half."""
    device = next(network.parameters()).device
    slices = torch.from_numpy(np.moveaxis(image, -1, 0).astype(np.float32))[:, None]
    height, width = slices.shape[-2:]
    top, left = (-height % MULTIPLE) // 2, (-width % MULTIPLE) // 2
    found = []
    with torch.inference_mode(), repeatable(device):
        for part in slices.split(at_once):
            # Every slice is padded by its own least value, half of it before.
            least = part.amin((2, 3), keepdim=True)
            padded = (
                functional.pad(part - least, (left, -width % MULTIPLE - left, top, -height % MULTIPLE - top)) + least
            )
            with autocast(device, config.precision):
                logits = network(padded.to(device))
            found.append((logits[:, 0, top : top + height, left : left + width] > 0).cpu())
    return np.moveaxis(torch.cat(found).numpy(), 0, -1)
