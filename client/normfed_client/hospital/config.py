"""A site's configuration, apart from the site itself: commands that only look at it must not import what computes."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from normfed_client.hospital.rules import CustodyConfig
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName

DEVICE = r"^(auto|cpu|cuda(:\d+)?)$"


class SiteConfig(Frozen):
    """What a hospital decides for itself."""

    name: SiteName
    data: Path = Field(description="the BIDS dataset")
    owns: tuple[str, ...] = Field(description="values of the column `site` that are this hospital's; all when empty")
    cache: Path = Field(description="folder for preprocessed scans")
    output: Path = Field(description="folder for anomaly maps, per-person figures and logs; never leaves")
    device: str = Field("auto", pattern=DEVICE)
    custody: CustodyConfig | None = Field(None, description="a hospital's own rules and records; none in a simulation")
