"""What a normative model is: a learner that scores every voxel of a scan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from normfed_common.foundation.errors import ScanError
from normfed_common.learning.cohort import Scan
from normfed_common.learning.learner import Learner
from normfed_common.learning.score import Score


class NormativeModel(Learner, ABC):
    """A model of the normal brain: 0 outside the brain, never negative inside, higher = more abnormal, so that the
    background never outranks tissue in a viewer.

    `normfed models` says of a model the first paragraph of its docstring, or of its module's where it begins with
    ``See the module.``

    Attributes
    ----------
    cited
        Where it was published, which a paper cites: keys of `normfed_common.citations`, or whole BibTeX entries.
    """

    cited: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def title(cls, config: Any, modalities: tuple[str, ...]) -> str | None:
        """What files call the model instead of its name in a study; None for that name."""
        return None

    @classmethod
    def words(cls, config: Any, modalities: tuple[str, ...]) -> str | None:
        """What people read of the model, such as ``FLAIR intensity``: by default its title."""
        return cls.title(config, modalities)

    @abstractmethod
    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """What is abnormal at a person's last visit, given those before it.

        All maps of a study are on one scale, with no constant of each person's own, so that a threshold means the same
        for everybody.

        Parameters
        ----------
        visits
            Of one person, the earliest first; at least one.

        Raises
        ------
        ScanError
            If the visit lacks a modality that the model `needs`.
        """

    def with_every_modality(self, scan: Scan) -> Scan:
        """The same scan, for a model that needs every modality.

        Raises
        ------
        ScanError
            If a modality is absent.
        """
        if not scan.present.all():
            lacking = [name for name, there in zip(self.setting.modalities, scan.present, strict=True) if not there]
            raise ScanError(
                f"the scan has no {' and no '.join(lacking)}, which the model {type(self).__name__} needs. Leave the "
                "person out, or take a model that copes."
            )
        return scan
