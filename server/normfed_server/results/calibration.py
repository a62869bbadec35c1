"""How far thresholds keep what they promise, as metrics.json holds it; see `normfed_server.arms.calibration`."""

from __future__ import annotations

from collections.abc import Container, Mapping

from pydantic import Field

from normfed_common.study.base import Frozen
from normfed_server.arms.calibration import Calibration
from normfed_server.events.rounds import is_none


class Rate(Frozen):
    """A share of voxels, and the interval that merged bins leave open: in a simulation as wide as what is in a bin."""

    value: float
    low: float
    high: float


class CalibratedSite(Frozen):
    """A site's held-out normal people; thresholds are by class of place. Of people, not of voxels, there are few."""

    people: int = Field(description="held out at the site")
    used: Rate = Field(description="their voxels at or above the common thresholds, which they helped to set")
    measured: Rate | None = Field(description="at or above the thresholds that all other sites' people give")
    own: dict[str, float] = Field(description="thresholds that these people alone would give")
    gap: dict[str, float] = Field(description="own thresholds less the common ones")


class Calibrated(Frozen):
    """False positives of a model in normal people: what its thresholds promise, and what was measured on others."""

    promised: float = Field(description="share of normal voxels at or above the thresholds: 1 - specificity")
    measured: Rate | None = Field(description="over all sites, each with the thresholds of the others")
    people: int = Field(description="over whom that is")
    thresholds: dict[str, float] = Field(description="common, by class of place; brain: one for all")
    lacking: tuple[str, ...] = Field(description="classes without people enough: they have the whole brain's threshold")
    sites: dict[str, CalibratedSite]
    scans: int | None = Field(
        None, exclude_if=is_none, description="whom conformal p-values compare with; absent in older runs"
    )
    unmeasured: str = Field("", description="why nothing was measured")


def calibrated(found: Calibration, missed: Container[str]) -> Calibrated:
    """The figures of the sites that had people enough held out, but for those that ``missed`` what followed."""
    kept = {site: said for site, said in found.sites.items() if site not in missed}
    common = dict(zip(found.classes, found.thresholds, strict=True))
    shown = {}
    for site, said in kept.items():
        own = dict(zip(found.classes, said.own, strict=True))
        shown[site] = CalibratedSite(
            people=said.people,
            used=_rate(said.above, said.voxels),
            measured=None if said.above_others is None else _rate(said.above_others, said.voxels),
            own=own,
            gap={name: own[name] - level for name, level in common.items()},
        )
    judged = [said for said in kept.values() if said.above_others is not None]
    ends = zip(*(said.above_others for said in judged if said.above_others is not None), strict=True)
    low, high = (sum(end) for end in ends) if judged else (0.0, 0.0)
    return Calibrated(
        promised=found.promised,
        measured=_rate((low, high), sum(said.voxels for said in judged)) if judged else None,
        people=sum(said.people for said in judged),
        thresholds=common,
        lacking=found.lacking,
        sites=shown,
        scans=found.scans,
        unmeasured="" if judged else _why(found.sites),
    )


def _rate(above: tuple[float, float], voxels: float) -> Rate:
    low, high = (end / voxels for end in above)
    return Rate(value=(low + high) / 2, low=low, high=high)


def _why(sites: Mapping[str, object]) -> str:
    if not sites:
        return "no site has normal people enough held out"
    if len(sites) == 1:
        only = next(iter(sites))
        return f"only {only} has normal people enough held out, so nobody else can judge its threshold"
    return "no site that has normal people enough held out gave figures"
