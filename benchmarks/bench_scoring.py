"""Dense encoding against patch by patch, torch kernel products against libsvm, a whole 2 mm volume, and the machines of
locations of a site of 20 people, on one core."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import torch
from common import Brains, machine, median_seconds, setting
from sklearn.svm import OneClassSVM

from normfed_common.learning.cohort import Scan
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS
from normfed_common.models.patchwise.patches import extract
from normfed_common.models.siamese import Siamese
from normfed_common.scoring import kernel
from normfed_common.scoring.base import LatentField
from normfed_common.scoring.catalogue import build_head
from normfed_common.scoring.location import LocationHead

LIMIT_S, PLACES_LIMIT_S = 1.5, 60.0
PEOPLE, DIMENSION = 20, 16


def main() -> None:
    torch.set_num_threads(1)
    scan = Brains(1).scan(0)
    print(machine())
    for architecture, patch in (("isbi", 9), ("isbi", 15), ("alaverdyan", 15)):
        model = build(MODELS, {"name": "siamese", "architecture": architecture, "patch_size": patch}, setting())
        assert isinstance(model, Siamese)
        dense = median_seconds(lambda m=model: m.encode(scan))
        field = model.encode(scan)
        some = field.index[:: len(field.index) // 10_000]

        def one_by_one(model: Siamese = model, some: np.ndarray = some, patch: int = patch) -> None:
            inside = [i for i in some if all(patch // 2 <= c < s - patch // 2 for c, s in _in_plane(i))]
            with torch.inference_mode():
                for start in range(0, len(inside), 1000):
                    model.autoencoder.encode(
                        torch.from_numpy(extract(scan.images, np.array(inside[start : start + 1000]), patch))
                    )

        patchwise = median_seconds(one_by_one, 3) * len(field.index) / len(some)
        latents = field.latents.numpy()
        samples = latents[np.random.default_rng(0).choice(len(latents), 500, replace=False)]
        machines = [kernel.fit(samples, 0.03)]
        ours = median_seconds(lambda f=field, m=machines: kernel.decision(m, f.latents))
        oracle = OneClassSVM(nu=0.03).fit(samples)
        libsvm = median_seconds(lambda o=oracle, la=latents: o.decision_function(la), 3)
        difference = np.abs(kernel.decision(machines, field.latents).numpy() - oracle.decision_function(latents)).max()
        whole = median_seconds(lambda m=model: m.score([scan], np.random.default_rng(0)))
        print(
            f"{architecture} {patch}, {len(latents):,} voxels: dense {dense:.3f} s, patch by patch {patchwise:.2f} s, "
            f"ratio {patchwise / dense:.0f}; decision {ours:.3f} s, libsvm {libsvm:.3f} s, ratio {libsvm / ours:.1f}, "
            f"difference {difference:.1e}; encode + fit + score {whole:.2f} s, limit {LIMIT_S} s: "
            f"{'met' if whole <= LIMIT_S else 'MISSED'}"
        )
    for spacing_mm in (8.0, 6.0):
        places(scan, spacing_mm)


def places(scan: Scan, spacing_mm: float) -> None:
    """A site's machines per location: CPU seconds and peak memory of the fit, and seconds to score somebody.

    Memory is measured in a fit of its own, since that slows it.
    """
    entry = {"fit_on": "location", "spacing_mm": spacing_mm, "minimum_subjects": PEOPLE}
    head = build_head(entry, DIMENSION, setting())
    assert isinstance(head, LocationHead)
    head.absorb("moments", head.statistics("moments", people(scan, 1), np.random.default_rng(0)))
    begin = time.process_time()
    head.personalise(people(scan, PEOPLE), PEOPLE, np.random.default_rng(0))
    fit_s = time.process_time() - begin
    patient = next(people(scan, 1))
    score_s = median_seconds(lambda: head.score(patient, np.random.default_rng(0)), 3)
    tracemalloc.start()
    head.personalise(people(scan, PEOPLE), PEOPLE, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    print(
        f"{len(head.machines):,} locations of {spacing_mm:g} mm, {PEOPLE} people: fit {fit_s:.1f} CPU s, limit "
        f"{PLACES_LIMIT_S:g} s: {'met' if fit_s <= PLACES_LIMIT_S else 'MISSED'}, peak {peak:.0f} MiB; "
        f"score {score_s:.2f} s"
    )


def people(scan: Scan, count: int) -> Iterator[LatentField]:
    """Random latents of so many people at every voxel of the same brain."""
    index = np.flatnonzero(scan.mask)
    for person in range(count):
        latents = np.random.default_rng(person).standard_normal((len(index), DIMENSION), np.float32)
        yield LatentField(torch.from_numpy(latents), index, scan.mask.shape, person)


def _in_plane(flat: int) -> list[tuple[int, int]]:
    x, y, _ = np.unravel_index(flat, setting().shape)
    return [(int(x), setting().shape[0]), (int(y), setting().shape[1])]


if __name__ == "__main__":
    main()
