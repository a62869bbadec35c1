"""Every normative model by the name that a study uses. A new model is a file of its own and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normfed_common.foundation.registry import Registry

if TYPE_CHECKING:
    from normfed_common.models.base import NormativeModel

# Modules are named, not imported: reading a study file must not load what it does not use.
MODELS: Registry[type[NormativeModel]] = Registry(
    "model", "normfed.models", subclass_of="normfed_common.models.base:NormativeModel"
)

MODELS.add("siamese", "normfed_common.models.siamese:Siamese")
MODELS.add("autoencoder", "normfed_common.models.autoencoder:AutoEncoder")
MODELS.add("vae", "normfed_common.models.vae:VariationalAutoEncoder")
MODELS.add("intensity", "normfed_common.models.intensity:Intensity")
MODELS.add("atlas", "normfed_common.models.atlas:Atlas")
MODELS.add("mixture", "normfed_common.models.mixture:Mixture")
MODELS.add("ensemble", "normfed_common.models.combined.ensemble:Ensemble")
MODELS.add("location", "normfed_common.models.location:Location")
MODELS.add("matched-filter", "normfed_common.models.matched_filter:MatchedFilter")
MODELS.add("diffusion-time", "normfed_common.models.diffusion_time:DiffusionTime")
MODELS.add("synthetic-anomalies", "normfed_common.models.synthetic_anomalies:SyntheticAnomalies")
