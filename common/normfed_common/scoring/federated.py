"""One one-class SVM for all sites; no latent leaves a site.

Random Fourier features (Rahimi & Recht 2007), drawn alike everywhere from the study's seed, make the RBF machine
linear: each site fits w, rho by stochastic gradient descent, the server averages them over subjects.
gamma = 1 / (d var) comes from federated sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from sklearn.linear_model import SGDOneClassSVM

from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import StudyError, WireError
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import SUMS_ROUNDING, Setting
from normfed_common.scoring.base import LatentField, OneClassConfig, OneClassScore
from normfed_common.study.base import Frozen

BLOCK = 4096
LARGEST_BYTES = 8 * 10**9  # of the features of all samples
LARGEST_GAMMA = 1e30  # of latents that hardly differ; its square root times a latent is far from float32's largest


class FederatedConfig(OneClassConfig):
    """Parameters of the one machine of all sites."""

    samples: int = Field(500, ge=10, le=20_000, description="latents of each scan")
    features: int = Field(1024, ge=16, le=16_384, description="random Fourier features")


class FederatedHead(OneClassScore):
    """Score = c - w.phi(z), phi(z) = sqrt(2/D) cos(W z + b), W ~ N(0, 2 gamma), b ~ U(0, 2 pi).

    c = sqrt(2/D) ||w||_1, the most that w.phi can be: the score is minus the decision value w.phi - rho, plus the
    constant c - rho, which is the same for everybody and makes it no less than 0.
    """

    Config: ClassVar[type[Frozen]] = FederatedConfig
    cited: ClassVar[tuple[str, ...]] = ("scholkopf2001", "rahimi2007")

    def __init__(self, config: FederatedConfig, dimension: int, setting: Setting) -> None:
        rng = seeds.generator(setting.seed, "random fourier features")
        self.directions = rng.standard_normal((dimension, config.features)).astype(np.float32)
        self.shifts = rng.uniform(0, 2 * np.pi, config.features).astype(np.float32)
        self.nu, self.samples, self.features, self.device = config.nu, config.samples, config.features, setting.device
        self.gamma = 1.0
        self.weights = np.zeros(self.features)

    def phases(self) -> tuple[Phase, ...]:
        """First the latents' variance, then the machine."""
        return Phase("variance", "summed"), Phase("machine", "summed")

    def statistics(self, phase: str, fields: Iterable[LatentField], rng: np.random.Generator) -> Arrays:
        """`variance`: n, sum z, sum z^2 over entries. `machine`: w and rho weighted by people."""
        whose: set[int] = set()
        chosen = []
        for field in fields:
            whose.add(field.person)
            chosen.append(_some(field, self.samples, rng))
        samples = np.concatenate(chosen).astype(np.float64)
        if phase == "variance":
            return {"entries": np.array(float(samples.size)), "sum": samples.sum(), "squares": (samples**2).sum()}
        if 8 * len(samples) * self.features > LARGEST_BYTES:
            raise StudyError(
                f"one_class: {len(samples):,} latents of {self.features:,} features are more than "
                f"{LARGEST_BYTES / 1e9:.0f} GB. Ask for fewer `samples` of each scan, or fewer `features`."
            )
        machine = SGDOneClassSVM(nu=self.nu, random_state=int(rng.integers(2**31)), tol=1e-4, average=True)
        machine.fit(self._map(torch.from_numpy(samples).float()).numpy().astype(np.float64))
        people = float(len(whose))
        return {
            "people": np.array(people),
            "weights": people * machine.coef_.ravel(),
            "offset": people * machine.offset_.ravel(),
        }

    def counted(self, phase: str) -> Mapping[str, float]:
        """See `OneClassScore`."""
        if phase == "variance":
            return {"entries": self.samples * len(self.directions), "squares": np.inf}
        return {"people": 1}

    def check(self, phase: str, sums: Arrays) -> None:
        """`variance`: (sum z)^2 <= n sum z^2. `machine`: no site's w is longer than descent can make it.

        With ||phi|| <= sqrt(2) and steps of 1 / (lambda t), lambda = nu / 2, it stays below 2 sqrt(2) / nu
        (Shalev-Shwartz 2011, Pegasos); a mean over sites does as well.
        """
        if phase == "variance":
            check_shapes(sums, {"entries": (), "sum": (), "squares": ()})
            entries, squares = sums["entries"], sums["squares"]
            if entries <= 0 or squares < 0 or sums["sum"] ** 2 > entries * squares * (1 + SUMS_ROUNDING):
                raise WireError("entries, sum and squares contradict each other")
        else:
            check_shapes(sums, {"people": (), "weights": (self.features,), "offset": (1,)})
            if sums["people"] <= 0:
                raise WireError("the machine covers no people")
            if np.linalg.norm(sums["weights"]) > sums["people"] * 8**0.5 / self.nu * (1 + SUMS_ROUNDING):
                raise WireError("the machine's weights are larger than training makes them")

    def absorb(self, phase: str, total: Arrays) -> bool:
        """gamma from the sums of `variance`, the mean machine from those of `machine`."""
        if phase == "variance":
            mean = total["sum"] / total["entries"]
            variance = float(total["squares"] / total["entries"] - mean**2)
            self.gamma = 1.0 / (len(self.directions) * variance) if variance > 0 else 1.0
            if not self.gamma < LARGEST_GAMMA:
                raise WireError("latents hardly differ")
        else:
            self.weights = total["weights"] / total["people"]
        return False

    def score(self, field: LatentField, rng: np.random.Generator) -> np.ndarray:
        """c - w.phi(z)."""
        weights = torch.from_numpy(self.weights).float().to(self.device)
        most = float((2 / self.features) ** 0.5 * np.abs(self.weights).sum())
        values = [self._map(block.to(self.device)) @ weights for block in field.latents.split(BLOCK)]
        return (most - torch.cat(values)).clamp_(min=0).cpu().numpy()

    def _map(self, latents: torch.Tensor) -> torch.Tensor:
        directions = torch.from_numpy(self.directions).to(latents.device) * (2 * self.gamma) ** 0.5
        shifts = torch.from_numpy(self.shifts).to(latents.device)
        return torch.addmm(shifts, latents, directions).cos_().mul_((2 / self.features) ** 0.5)


def _some(field: LatentField, count: int, rng: np.random.Generator) -> np.ndarray:
    latents: np.ndarray = field.latents.numpy()
    return latents[rng.choice(len(latents), min(count, len(latents)), replace=False)]
