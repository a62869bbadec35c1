"""Every transform of scans by the name that a study uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normfed_common.foundation.registry import Registry

if TYPE_CHECKING:
    from normfed_common.transforms.base import ScanTransform

TRANSFORMS: Registry[type[ScanTransform]] = Registry(
    "transform", "normfed.transforms", subclass_of="normfed_common.transforms.base:ScanTransform"
)

TRANSFORMS.add("combat", "normfed_common.transforms.combat.transform:CombatTransform")
TRANSFORMS.add("paired-unet", "normfed_common.transforms.paired_unet:PairedUNet")
