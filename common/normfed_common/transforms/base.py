"""What a transform of scans is: a learner that turns a scan into another scan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from normfed_common.foundation.errors import PluginError
from normfed_common.learning.cohort import Person, Scan
from normfed_common.learning.learner import Learner
from normfed_common.study.preprocessing import WIDEST_CLIP


@dataclass(frozen=True)
class Listed:
    """A scan as a table of people tells of it, before it is opened: whose it is, and which modalities it has."""

    person: Person
    modalities: Collection[str]


class ScanTransform(Learner, ABC):
    """Changes scans on the common grid, such as harmonization between scanners or the synthesis of absent modalities.

    Its phases run before the model's, on scans that the transforms before it have changed; every model of a study
    learns it anew from the sites that the model learns from. One with `keeps_to_site` learns its site's part by
    `personalise` before whatever comes after it sees a scan, in training as in scoring; a site that only tests has
    nobody to learn from, and there it transforms with what all sites share.

    `normfed transforms` says of one the first paragraph of its docstring, or of its module's where it begins with
    ``See the module.``

    Attributes
    ----------
    cited
        Where it was published, which a paper cites: keys of `normfed_common.citations`, or whole BibTeX entries.
    """

    cited: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def fills(cls, config: Any, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """Which of the study's modalities every scan has afterwards, whether or not it had them: none by default."""
        return ()

    @classmethod
    def of_one_site(cls, config: Any) -> str:
        """Which of its sums are one site's alone, whatever others add, so that no secure sum hides them; none by
        default."""
        return ""

    @classmethod
    def check_people(cls, config: Any, sites: Mapping[str, Sequence[Listed]], everybody: bool) -> None:
        """Whether it can be learnt from the people who train at these sites, as far as shows before a scan is opened;
        by default from any.

        Parameters
        ----------
        everybody
            Whether nobody else trains in the study; else they are those of a model that stands beside the federated
            one, such as a federation without a site.

        Raises
        ------
        HarmonizationError
            If not.
        """

    @property
    def value_range(self) -> tuple[float, float]:
        """Between what any value of a transformed scan lies, inside the brain: as before the transform by default.

        ``setting.value_range`` of whatever stands behind it. What scans have before it is its own
        ``setting.value_range``; nothing that is learnt may change it.
        """
        return self.setting.value_range

    def validate(self) -> None:
        """See `Learner.validate`; a range of values that is none is refused, too."""
        super().validate()
        low, high = self.value_range
        if not -WIDEST_CLIP <= low < high <= WIDEST_CLIP:
            raise PluginError(
                f"{type(self).__name__} cannot be used: its value_range, {low:g} to {high:g}, does not ascend within "
                f"{-WIDEST_CLIP:.0e} to {WIDEST_CLIP:.0e}."
            )

    @abstractmethod
    def transform(self, scan: Scan) -> Scan:
        """Another scan of the same person.

        Only two things are taken from it. ``images``: finite float32 of the same shape, 0 outside the brain and where a
        modality is absent, elsewhere within `value_range`. ``present``: what was absent may be present afterwards, and
        is where it is among what the transform `fills`.

        The result may depend on nothing but the scan and what was learnt, for it is kept and used again. A network is
        in evaluation mode here, and no gradients are recorded.

        Raises
        ------
        ScanError
            If the scan lacks what the transform `needs`.
        """
