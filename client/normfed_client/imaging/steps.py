"""What is worked out of one scan, or of two of one person, and is the same whatever else a study looks at.

A prepared visit is kept per set of modalities: its brain ends where no scan of them sees anything, and intensities are
normalised within it. What takes long, registration and bias correction, is kept per scan, as entries of the same cache:
another study of the same people finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from normfed_client.imaging.cache import Cache
from normfed_common.foundation import digests

ARRAY = "step.npy"


class Steps:
    """Arrays by what they were made of.

    Parameters
    ----------
    versions
        Of the arithmetic: with others, none that were kept are found.
    """

    def __init__(self, cache: Cache, versions: Sequence[int]) -> None:
        self._cache, self._versions = cache, list(versions)

    def array(self, name: str, files: list[Path], others: list[object], make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array that ``make`` makes, or made once.

        Parameters
        ----------
        name
            Of the step.
        files
            Whose content decides, in order.
        others
            What else decides, as JSON has it.
        """
        key = digests.of_json(
            {
                "step": name,
                "versions": self._versions,
                "files": [digests.of_file(path) for path in files],
                "others": others,
            }
        )
        entry = self._cache.get_or_build(key, lambda folder: np.save(folder / ARRAY, make()))
        found: np.ndarray = np.load(entry.folder / ARRAY)
        return found
