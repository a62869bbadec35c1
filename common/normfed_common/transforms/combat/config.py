"""How a study says which ComBat it wants."""

from __future__ import annotations

import operator

from pydantic import Field, model_validator

from normfed_common.learning.covariates import Regressors
from normfed_common.study.base import Frozen
from normfed_common.transforms.combat.effects import Prior
from normfed_common.transforms.combat.features import Kind
from normfed_common.transforms.combat.mixed import RATIOS
from normfed_common.transforms.combat.usable import LEAST_PEOPLE

LEAST_COVBAT_MM = 32.0  # regions as large are 600 at most, whose covariance a consortium's people can tell something of
LEAST_LONGITUDINAL_MM = 16.0  # with smaller places, sums at every ratio of variances are some 100 MB


class CombatConfig(Frozen):
    """ComBat by sums: what a scanner adds and by what it multiplies, by empirical Bayes over places."""

    features: Kind = Field(
        "places", description="one a place, or one per tissue class of the template at a place (regions)"
    )
    places_mm: float = Field(8.0, ge=2, le=64, description="edge of a place")
    smoothing_mm: float = Field(4.0, ge=0, le=64, description="standard deviation of the smoothing over places")
    covariates: Regressors = Field(
        ("age", "sex"), description="what is kept: differences that these explain are not the scanner's"
    )
    minimum_people: int = Field(
        LEAST_PEOPLE, ge=1, le=1000, description="of every scanner; a site with fewer at one refuses"
    )
    prior: Prior = Field("parametric", description="how a scanner's features are drawn to each other; none: not at all")
    robust: bool = Field(
        False, description="a scanner's own effect by medians, which few scans with lesions hardly move"
    )
    reference: str | None = Field(
        None,
        min_length=1,
        max_length=150,
        description="the scanner that all others become like: its site's name, or site/scanner; the server then sees "
        "that scanner's means",
    )
    covbat: bool = Field(
        False,
        exclude_if=operator.not_,  # studies without the key keep their digests
        description="also harmonize the covariance between regions (CovBat); with features: regions of 32 mm or more",
    )
    longitudinal: bool = Field(
        False,
        exclude_if=operator.not_,
        description="fit a random intercept per person, where people were scanned again; places of 16 mm or more; a "
        "site's sums then tell the mean of each of its scanners",
    )

    @model_validator(mode="after")
    def _fit(self) -> CombatConfig:
        if self.covbat and self.features != "regions":
            raise ValueError(
                "covbat learns the covariance of every feature with every other, and places are too many for that: "
                "2000 of them have 2 million covariances, of some hundred people. Say features: regions and places_mm: "
                f"{LEAST_COVBAT_MM:g}"
            )
        if self.covbat and self.places_mm < LEAST_COVBAT_MM:
            raise ValueError(f"covbat takes few regions: say places_mm: {LEAST_COVBAT_MM:g}, or more")
        if self.longitudinal and self.places_mm < LEAST_LONGITUDINAL_MM:
            raise ValueError(
                f"longitudinal has sums at {len(RATIOS)} ratios of variances for each place: say places_mm: "
                f"{LEAST_LONGITUDINAL_MM:g}, or more"
            )
        chosen = [name for name in ("reference", "covbat", "longitudinal") if getattr(self, name)]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} cannot be combined: choose one")
        return self
