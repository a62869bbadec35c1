"""How far the three classes of T1w intensity of `normfed statistics` are from tissues that somebody segmented.

Beside them expectation maximisation with the template's tissue maps as a prior (Ashburner & Friston 2005, without its
warps and bias): what one would take instead.

    python benchmarks/bench_tissue_classes.py --data BIDS
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel
import numpy as np

from normfed_client.describing.tissue import three_classes
from normfed_client.imaging.bids import read_dataset
from normfed_client.imaging.cache import Cache, default_root
from normfed_client.imaging.preprocessing import Recipe, prepare
from normfed_client.imaging.template import anatomy
from normfed_common.studies import load_study

STUDY = Path(__file__).parents[1] / "studies" / "real-t1-controls.yaml"
PASSES, LEAST = 40, 0.02


def with_prior(values: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Shares (3,) of fluid, grey and white by a mixture of three Gaussians, values (n,), prior (3, n)."""
    prior = np.maximum(prior, LEAST)
    prior /= prior.sum(0)
    belongs = prior
    for _ in range(PASSES):
        size = belongs.sum(1)
        mean = belongs @ values / size
        variance = (belongs * (values - mean[:, None]) ** 2).sum(1) / size + 1e-4
        likely = prior * np.exp(-((values - mean[:, None]) ** 2) / (2 * variance[:, None])) / np.sqrt(variance)[:, None]
        belongs = likely / np.maximum(likely.sum(0), 1e-30)
    found: np.ndarray = belongs.mean(1)
    return found


def compare(data: Path) -> None:
    """Print the errors of the shares of the brain, over all people with a segmentation of 1 fluid, 2 grey, 3 white."""
    study = load_study(STUDY)
    recipe, cache = Recipe.of(study), Cache(default_root() / "scans")
    shown = anatomy(study.preprocessing.voxel_size_mm)
    maps = np.stack([shown.fluid, shown.grey, shown.white])
    truth, classes, mixtures = [], [], []
    for visit in read_dataset(data).visits:
        subject = visit.participant.subject
        found = sorted((data / "derivatives" / "masks" / subject / "anat").glob("*_space-T1w_dseg.nii.gz"))
        if not found:
            continue
        entry = prepare(visit, recipe, cache)
        mask = entry.mask()
        values = np.load(entry.folder / "images.npy").transpose(0, 2, 3, 1)[0][mask].astype(float)
        labels = np.asarray(nibabel.load(found[0]).dataobj)
        counts = np.array([(labels == label).sum() for label in (1, 2, 3)], float)
        truth.append(counts / counts.sum())
        classes.append(three_classes(values))
        mixtures.append(with_prior(values, maps[:, mask]))
    print(f"{len(truth)} people; shares of the brain: fluid, grey, white")
    for name, guess in (("three classes", classes), ("with prior", mixtures)):
        error = np.array(guess) - truth
        alike = [np.corrcoef(np.array(guess)[:, k], np.array(truth)[:, k])[0, 1] for k in range(3)]
        print(f"{name}: bias {error.mean(0).round(3)}, absolute {np.abs(error).mean(0).round(3)}, ", end="")
        print(f"correlation over people {np.round(alike, 2)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a BIDS dataset")
    compare(parser.parse_args().data)


if __name__ == "__main__":
    main()
