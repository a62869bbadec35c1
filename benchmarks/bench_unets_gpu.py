"""The U-Nets of paired-unet (DeepHarmony) and of the CC359 study at their published sizes: a processor, and CUDA in
float32 and bf16, contiguous and channels last in memory; and whether the same training gives the same weights twice.

Runs without CUDA, too, and then says only what a processor does. Batches are random and on the device already.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from normfed_common.learning.batch import Batch
from normfed_common.learning.precision import autocast
from normfed_common.learning.setting import Setting
from normfed_common.study.federation import Precision
from normfed_common.transforms.paired.network import VIEWS, ViewNetwork
from normfed_common.transforms.paired_unet import PairedUNet, PairedUNetConfig
from normfed_simulation.segmentation.network import SegmentationNetwork

MIB = 2**20
SHAPE = (193, 229, 193)  # the common grid at 1 mm, as far as it is brain
MODALITIES = ("T1w", "T2w", "FLAIR", "PDw")
LAYOUTS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
WARM, STEPS = 5, 30
CPU_BATCH = 2  # a processor is given few samples and one step: the whole takes less than two minutes of two cores


@dataclass(frozen=True)
class Training:
    """A network, its optimiser, and the loss of one batch of so many samples that is repeated."""

    samples: int
    network: nn.Module
    optimiser: torch.optim.Optimizer
    loss: Callable[[], Tensor]

    def step(self) -> None:
        self.network.zero_grad(set_to_none=True)
        self.loss().backward()
        self.optimiser.step()


def harmony(device: torch.device, precision: Precision) -> Training:
    """DeepHarmony: 8 places, a patch of 128 x 128 of four modalities in each of three views."""
    config = PairedUNetConfig(source="old", target="new", batch_size=CPU_BATCH if device.type == "cpu" else 8)
    transform = PairedUNet(config, Setting(MODALITIES, 1, SHAPE, seed=1, device=device, precision=precision))
    rng = torch.Generator().manual_seed(1)
    size = (config.batch_size, len(MODALITIES), config.patch_size, config.patch_size)
    data = {f"{view}_{which}": torch.rand(size, generator=rng) for view in VIEWS for which in ("source", "target")}
    data |= {f"{view}_counts": torch.ones_like(data[f"{view}_source"][:, :1]) for view in VIEWS}
    data["present"] = torch.ones(size[:2])
    batch = Batch(
        {name: tensor.to(device) for name, tensor in data.items()}, torch.zeros(len(data["present"]), 1).long()
    )
    network = transform.network.train()

    def loss() -> Tensor:
        with transform.setting.autocast():
            return transform.loss("training", batch, rng).mean()

    return Training(config.batch_size, network, torch.optim.Adam(network.parameters(), lr=1e-3, fused=True), loss)


def segmentation(device: torch.device, precision: Precision) -> Training:
    """Zakazov 2021: 16 slices of 256 x 256."""
    rng = torch.Generator().manual_seed(1)
    network = SegmentationNetwork()
    network.initialise(rng)
    network.to(device).train()
    count = CPU_BATCH if device.type == "cpu" else 16
    images = torch.rand((count, 1, 256, 256), generator=rng).to(device)
    masks = (images > 0.5).float()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=True)

    def loss() -> Tensor:
        with autocast(device, precision):
            logits = network(images)
        return functional.binary_cross_entropy_with_logits(logits.float(), masks)

    return Training(count, network, optimiser, loss)


MAKERS = {"DeepHarmony, 4 to 4 modalities, 3 views": harmony, "CC359 segmentation": segmentation}


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """As at a site: only kernels that give the same sums again, and true float32."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(device.type == "cuda", warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_per_step(training: Training, device: torch.device, warm: int, steps: int) -> float:
    for _ in range(warm):
        training.step()
    wait(device)
    begin = time.perf_counter()
    for _ in range(steps):
        training.step()
    wait(device)
    return (time.perf_counter() - begin) / steps


def weights(training: Training) -> Tensor:
    return torch.cat([tensor.detach().double().cpu().ravel() for tensor in training.network.parameters()])


def laid_out(training: Training, layout: torch.memory_format) -> Training:
    for module in training.network.modules():
        if isinstance(module, ViewNetwork | SegmentationNetwork):
            module.register_forward_pre_hook(lambda _, given: tuple(x.contiguous(memory_format=layout) for x in given))
    return training


def measure(title: str, make: Callable[[torch.device, Precision], Training], device: torch.device) -> None:
    """Print a line per precision and layout."""
    cuda = device.type == "cuda"
    warm, steps = (WARM, STEPS) if cuda else (1, 1)
    for precision in ("float32", "bf16") if cuda else ("float32",):
        for name, layout in LAYOUTS.items():
            if cuda:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            training = laid_out(make(device, precision), layout)
            rate = 1 / seconds_per_step(training, device, warm, steps)
            peak = f", peak {torch.cuda.max_memory_allocated() / MIB:,.0f} MiB" if cuda else ""
            again = ""
            if layout is torch.channels_last:
                other = laid_out(make(device, precision), layout)
                seconds_per_step(other, device, warm, steps)
                first, second = weights(training), weights(other)
                again = f"; trained twice, weights differ by {float((first - second).norm() / first.norm()):.1e}"
            speed = f"{rate * training.samples:.1f} samples/s, {rate:.2f} steps/s of {training.samples}"
            print(f"{title}, {device.type} {precision}, {name}: {speed}{peak}{again}", flush=True)


def main() -> None:
    torch.set_num_threads(min(16, os.cpu_count() or 1))
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    print(f"{time.strftime('%Y-%m-%d')}, torch {torch.__version__}, {torch.get_num_threads()} thread(s), {where}")
    for title, make in MAKERS.items():
        parameters = sum(tensor.numel() for tensor in make(torch.device("cpu"), "float32").network.parameters())
        print(f"{title}: {parameters:,} parameters")
        for device in map(torch.device, ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)):
            with repeatable(device):
                measure(title, make, device)


if __name__ == "__main__":
    main()
