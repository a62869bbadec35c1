"""What it costs to notice a flipped bit: models saved and loaded with digests, and a cache entry's first use."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from common import SHAPE, machine, median_seconds
from safetensors.numpy import load_file, save_file

from normfed_client.imaging.cache import Cache, write_arrays
from normfed_common.foundation import arrays, digests

LAYERS, ENTRIES = 34, 20
MODEL_LIMIT, ENTRY_LIMIT_S = 4.0, 2.0  # times a plain load; of a site of a hundred people, per process


def models(folder: Path) -> None:
    """A model of 136 MB, beside plain safetensors."""
    rng = np.random.default_rng(0)
    model = {f"layer{i}": rng.standard_normal((1000, 1000), np.float32) for i in range(LAYERS)}
    plain_save = median_seconds(lambda: save_file(model, folder / "plain.safetensors"))
    plain_load = median_seconds(lambda: load_file(folder / "plain.safetensors"))
    save = median_seconds(lambda: arrays.save(folder / "ours.safetensors", model))
    load = median_seconds(lambda: arrays.load(folder / "ours.safetensors"))
    size = sum(array.nbytes for array in model.values()) / 1e6
    print(
        f"model of {size:.0f} MB: load {load * 1e3:.0f} ms, plain {plain_load * 1e3:.0f} ms; "
        f"save {save * 1e3:.0f} ms (flushed to disk), plain {plain_save * 1e3:.0f} ms; "
        f"limit of a load {MODEL_LIMIT:.0f} x plain: {'met' if load <= MODEL_LIMIT * plain_load else 'MISSED'}"
    )


def entries(folder: Path) -> None:
    """Preprocessed scans of two modalities at 2 mm: the first use in a process, and every other."""
    cache, rng = Cache(folder), np.random.default_rng(0)
    images, mask = rng.random((2, *SHAPE), np.float32), np.ones(SHAPE, bool)
    for number in range(ENTRIES):
        cache.get_or_build(str(number), lambda aside: write_arrays(aside, images, mask, mask, mask))

    def used() -> float:
        begin = time.perf_counter()
        for number in range(ENTRIES):
            if cache.get(str(number)) is None:
                raise SystemExit("an entry that nobody touched counts as damaged")
        return (time.perf_counter() - begin) / ENTRIES * 1e3

    digests._of_file.cache_clear()  # as in a new process
    first, again = used(), used()
    size = sum(path.stat().st_size for path in (folder / "0").iterdir()) / 1e6
    print(
        f"cache entry of {size:.1f} MB: first use in a process {first:.1f} ms, then {again:.2f} ms; "
        f"limit for 100 people {ENTRY_LIMIT_S:.0f} s: {'met' if first / 10 <= ENTRY_LIMIT_S else 'MISSED'}"
    )


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        models(Path(folder))
        entries(Path(folder) / "cache")


if __name__ == "__main__":
    main()
