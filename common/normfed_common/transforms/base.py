"""What a transform of scans is: a learner that turns a scan into another scan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from normfed_common.learning.cohort import Scan
from normfed_common.learning.learner import Learner


class ScanTransform(Learner, ABC):
    """Changes scans on the common grid, such as harmonisation between scanners or the synthesis of absent modalities.

    Its phases run before the model's, on scans that the transforms before it have changed; every model of a study
    learns it anew from the sites that the model learns from. One with `keeps_to_site` learns its site's part by
    `personalise` before whatever comes after it sees a scan, in training as in scoring; a site that only tests has
    nobody to learn from, and there it transforms with what all sites share.
    """

    @classmethod
    def fills(cls, config: Any, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """Which of the study's modalities every scan has afterwards, whether or not it had them: none by default."""
        return ()

    @abstractmethod
    def transform(self, scan: Scan) -> Scan:
        """Another scan of the same person.

        Only two things are taken from it. ``images``: finite float32 of the same shape, 0 outside the brain and where a
        modality is absent; a model may count on values within ``setting.value_range``. ``present``: what was absent
        may be present afterwards, and is where it is among what the transform `fills`.

        The result may depend on nothing but the scan and what was learnt, for it is kept and used again. A network is
        in evaluation mode here, and no gradients are recorded.

        Raises
        ------
        ScanError
            If the scan lacks what the transform `needs`.
        """
