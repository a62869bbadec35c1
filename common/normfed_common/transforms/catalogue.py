"""Every transform of scans by the name that a study uses. A new one is a file of its own and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normfed_common.foundation.registry import Registry

if TYPE_CHECKING:
    from normfed_common.transforms.base import ScanTransform

# Modules are named, not imported: reading a study file must not load what it does not use.
TRANSFORMS: Registry[type[ScanTransform]] = Registry(
    "transform", "normfed.transforms", subclass_of="normfed_common.transforms.base:ScanTransform"
)

TRANSFORMS.add("combat", "normfed_common.transforms.combat.transform:CombatTransform")
TRANSFORMS.add("percentiles", "normfed_common.transforms.percentiles:Percentiles")
TRANSFORMS.add("z-score", "normfed_common.transforms.z_score:ZScore")
TRANSFORMS.add("white-stripe", "normfed_common.transforms.white_stripe:WhiteStripe")
TRANSFORMS.add("tissue", "normfed_common.transforms.tissue:Tissue")
TRANSFORMS.add("nyul", "normfed_common.transforms.nyul:Nyul")
TRANSFORMS.add("histogram-template", "normfed_common.transforms.histogram_template:HistogramTemplate")
TRANSFORMS.add("fourier-amplitude", "normfed_common.transforms.fourier_amplitude:FourierAmplitude")
TRANSFORMS.add("paired-unet", "normfed_common.transforms.paired_unet:PairedUNet")
