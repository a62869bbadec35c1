"""Which figures of a study a hospital lets leave, and over how many people: ``metrics`` of its site.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from normfed_client.hospital.site import Site
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.metrics import catalogue
from normfed_common.metrics.base import Metric

IMAGE_AUROC = "image_auroc"  # no metric of one scan, but of all people's
OF_PEOPLE_HELD_OUT = (IMAGE_AUROC, "conformal_p")  # patients' scores beside these people's


class Permitted:
    """What the study computes of a scan, and what of it may leave.

    Parameters
    ----------
    fewest
        Of people, over whom a metric's sums leave a hospital.
    """

    def __init__(self, site: Site) -> None:
        rules = site.custody.rules if site.custody else None
        self._listed = rules.metrics if rules else None
        self.metrics: tuple[Metric, ...] = catalogue.chosen(site.study.evaluation.metrics)
        self.fewest = max(site.told_together, (rules.minimum_people_per_metric if rules else None) or 0)

    def lets(self, metric: str) -> bool:
        """Whether the hospital lets a figure leave, by its name."""
        return self._listed is None or metric in self._listed

    @cached_property
    def counts(self) -> bool:
        """Whether counts by score may that figures over all sites are made of: these are as good as the figures."""
        return all(metric.merged is None or self.lets(metric.name) for metric in self.metrics)

    @cached_property
    def people_held_out(self) -> bool:
        """Whether counts of people held out by score may: what figures beside them are made of says as much of them."""
        return any(self.lets(name) for name in OF_PEOPLE_HELD_OUT)

    def check(self, metrics: Sequence[Metric] | None = None) -> None:
        """Refuse to work where nothing of it may leave.

        Parameters
        ----------
        metrics
            That are asked for; by default all of the study, and image AUROC, which every study is told.

        Raises
        ------
        SiteError
            If the hospital lets none of these figures leave.
        """
        names = [metric.name for metric in (self.metrics if metrics is None else metrics)]
        names += [IMAGE_AUROC] if metrics is None else []
        if not any(map(self.lets, names)):
            raise SiteError(
                SiteCode.POLICY_REFUSED, f"metrics of site.yaml lists none of those asked for: {', '.join(names)}"
            )
