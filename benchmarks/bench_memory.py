"""Peak memory of a site's training round with 10 times the people, against the same round with few. Limit 1.1.

Each size runs in a process of its own; the people are copies of one volume as files, mapped as a site's are.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import Brains, machine, setting

from normfed_client.imaging.bids import Visit
from normfed_client.imaging.cache import Entry, write_arrays
from normfed_client.imaging.cohort import PreparedCohort
from normfed_client.imaging.participants import Participant
from normfed_client.training.loop import Settings
from normfed_client.training.loop import train as train_epochs
from normfed_common.learning.entries import build
from normfed_common.models.catalogue import MODELS

FEW, LIMIT = 50, 1.1


def train(folder: Path, people: int) -> None:
    """One round over so many people; prints the peak in MiB."""
    torch.set_num_threads(1)
    model = build(MODELS, {"name": "siamese", "patch_size": 9, "pairs_per_subject": 100, "batch_size": 50}, setting())
    cohort = PreparedCohort(
        [(Visit(Participant(f"sub-{i}", "", ""), None, {}), Entry(folder / str(i))) for i in range(people)]
    )
    train_epochs(model, cohort, Settings(model.phases()[0], seed=1, site="a", round=1, epochs=1, learning_rate=1e-3))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = Brains(1).scan(0)
        for i in range(10 * FEW):
            (folder / str(i)).mkdir()
            write_arrays(folder / str(i), scan.images, scan.mask, np.zeros_like(scan.mask), scan.mask)
        peaks = []
        for people in (FEW, 10 * FEW):
            command = [sys.executable, __file__, name, str(people)]
            peaks.append(float(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
        ratio = peaks[1] / peaks[0]
        print(
            f"{FEW} people {peaks[0]:.0f} MiB, {10 * FEW} people {peaks[1]:.0f} MiB, ratio {ratio:.2f}; "
            f"limit {LIMIT}: {'met' if ratio <= LIMIT else 'MISSED'}"
        )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        train(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
