"""What a transform of scans is: a learner that makes another scan of a scan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from normfed_common.learning.cohort import Scan
from normfed_common.learning.learner import Learner


class ScanTransform(Learner, ABC):
    """Changes scans on the common grid, such as harmonisation between scanners or the synthesis of what is absent.

    Its phases run before the model's, on scans that the transforms before it have changed; every model of a study
    learns it anew from the sites that the model learns from.
    """

    @classmethod
    def fills(cls, config: Any, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """Which of the study's modalities every scan has afterwards, whether or not it had them: none by default."""
        return ()

    @abstractmethod
    def transform(self, scan: Scan) -> Scan:
        """Another scan of the same person: same grid, mask and modalities, finite, 0 outside the brain.

        What was absent may be present afterwards, and is where it is among what the transform `fills`.

        Raises
        ------
        ScanError
            If the scan lacks what the transform `needs`.
        """
