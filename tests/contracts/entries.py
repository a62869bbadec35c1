"""What the contract suites run on: every entry of the registries, small, and the toys of the tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import toys
from synthetic import setting

from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.registry import Registry
from normfed_common.learning.setting import Setting
from normfed_common.models.base import NormativeModel
from normfed_common.models.catalogue import MODELS
from normfed_common.models.combined.pipeline import assemble
from normfed_common.scoring.catalogue import SCORERS
from normfed_common.studies import validate_learner
from normfed_common.transforms.catalogue import TRANSFORMS

Variants = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Entry:
    """A named thing of a registry, with parameters that let it run in a second.

    Parameters
    ----------
    label
        Its name, and what of it is tried where there are several variants.
    transforms
        Those before a model, as a study names them.
    """

    name: str
    label: str
    values: Mapping[str, Any] = field(default_factory=dict)
    transforms: tuple[str | Mapping[str, Any], ...] = ()

    def __str__(self) -> str:
        return self.label

    @property
    def raw(self) -> dict[str, Any]:
        """As a study says it."""
        return {"name": self.name, **self.values}


PATCHES = {"patch_size": 9, "pairs_per_subject": 6, "batch_size": 6}
CLOSED_FORM = {"patch_size": 5, "latents": 4, "pairs_per_subject": 200}
TIMES = {"hidden": [16, 8], "voxels_per_subject": 20, "batch_size": 8}
SLICES = {"size": 32, "filters": 8, "most_filters": 8, "latent": 4, "batch_size": 4}

# Small parameters by name and variant. What is not here, such as a plug-in, runs with its defaults.
SMALL_SCORERS: dict[str, Variants] = {
    "patient": {"": {"samples": 40, "models": 2}, "most are outliers": {"samples": 40, "models": 1, "nu": 0.9}},
    "federated": {"": {"samples": 40, "features": 32}, "most are outliers": {"features": 32, "nu": 0.9}},
    "location": {
        "Gaussian": {"spacing_mm": 8.0, "minimum_subjects": 50},
        "machines": {"spacing_mm": 8.0, "minimum_subjects": 2},
    },
    "combat": {"": {"minimum_people": 1, "then": {"fit_on": "location", "spacing_mm": 8.0, "minimum_subjects": 50}}},
}


def entries(registry: Registry[Any], small: Mapping[str, Variants]) -> list[Entry]:
    """Every entry of a registry, installed plug-ins included, in every variant."""
    return [
        Entry(name, f"{name}, {variant}" if variant else name, values)
        for name in registry
        for variant, values in small.get(name, {"": {}}).items()
    ]


HEADS = entries(SCORERS, SMALL_SCORERS)

SMALL_MODELS: dict[str, Variants] = {
    "siamese": {
        head.label: {**PATCHES, "one_class": {"fit_on": head.name, **head.values}}
        for head in HEADS
        if "nu" not in head.values
    }
    | {
        "alaverdyan": {
            **PATCHES,
            "architecture": "alaverdyan",
            "patch_size": 15,
            "one_class": SMALL_SCORERS["patient"][""],
        },
        "isbi": {**PATCHES, "architecture": "isbi", "one_class": SMALL_SCORERS["patient"][""]},
        "layer norm": {**PATCHES, "architecture": "isbi", "norm": "layer", "one_class": SMALL_SCORERS["patient"][""]},
        "published": {
            **PATCHES,
            "architecture": "isbi",
            "norm": "batch",
            "latent": "activated",
            "inputs": "raw",
            "one_class": {"fit_on": "patient", "samples": 40, "models": 1},
        },
    },
    "autoencoder": {
        "": {**SLICES, "slices_per_subject": 3},
        "batch norm": {**SLICES, "norm": "batch", "dropout": 0.0},
        "positive, l2": {**SLICES, "residual": "positive", "loss": "l2", "dropout": 0.5},
        "FLAIR alone": {**SLICES, "modalities": ["FLAIR"], "residual": {"FLAIR": "negative"}, "slices_per_subject": 3},
    },
    "vae": {
        "": {**SLICES, "slices_per_subject": 3},
        "samples": {**SLICES, "samples": 3, "residual": {"FLAIR": "positive", "T1w": "negative"}, "loss": "l2"},
        "restoration": {**SLICES, "score": "restoration", "restoration": {"steps": 3}, "slices_per_subject": 3},
        "restoration, samples": {
            **SLICES,
            "score": "restoration",
            "samples": 2,
            "restoration": {"steps": 15, "tolerance": 0.01},
            "slices_per_subject": 3,
        },
    },
    "mixture": {
        "": {"classes": [2, 3], "iterations": 4, "voxels_per_person": 500},
        "multiple-scale t, proximity": {
            "distribution": "multiple-scale-t",
            "classes": 3,
            "iterations": 3,
            "score": "proximity",
        },
        "online": {"classes": 2, "iterations": 4, "online": True, "distribution": "multiple-scale-t"},
        "slope": {"classes": [1, 2, 3, 4], "iterations": 3, "criterion": "slope"},
    },
    "ensemble": {
        "": {"members": ["atlas", "intensity"]},
        "trained": {
            "members": [
                {"name": "autoencoder", **SLICES, "slices_per_subject": 3, "postprocessing": {"smoothing_mm": 2.0}},
                {"name": "autoencoder", **SLICES, "slices_per_subject": 3, "norm": "batch", "dropout": 0.0},
            ],
            "weights": [2.0, 1.0],
        },
        "machines": {
            "members": [
                {
                    "name": "siamese",
                    **PATCHES,
                    "one_class": {"fit_on": "location", **SMALL_SCORERS["location"]["machines"]},
                },
                "atlas",
            ],
            "by_tissue": True,
        },
    },
    "intensity": {suspicious: {"suspicious": suspicious} for suspicious in ("bright", "dark", "both")}
    | {
        "smoothed": {"smoothing_mm": 2.0},
        **{f"units, {side}": {"scale": "units", "suspicious": side} for side in ("bright", "dark", "both")},
    },
    "atlas": {
        "": {},
        "rms": {"score": "rms"},
        "both": {"suspicious": {"T1w": "both", "FLAIR": "dark"}},
        "residual": {"scale": "none", "smoothing_mm": 0.0},
        "units": {"units": "robust"},
        "age": {"regress": ["age"]},
        "age, sex": {"regress": ["age", "sex"], "score": "rms", "units": "robust"},
    },
    "matched-filter": {
        "": {"scales_mm": [0.0, 2.0, 4.0], "spacing_mm": 8.0},
        "detector alone": {"normative": 50.0, "modality": "T1w", "suspicious": {"T1w": "bright"}},
        "brightness alone": {"normative": 0.0},
        "learnt noise": {"noise": "learnt", "beside": 0.5, "scales_mm": [0.0, 3.0], "spacing_mm": 8.0},
        "anything is like": {"beside": 0.5, "scales_mm": [2.0, 0.0], "spacing_mm": 8.0, "unlike": 1.0},
    },
    "synthetic-anomalies": {
        "": {"slabs_per_subject": 2, "batch_size": 4},
        "foreign tissue, T1 is the main one": {
            "slabs_per_subject": 2,
            "batch_size": 3,
            "filters": 4,
            "foreign": 0.8,
            "radius_mm": [3.0, 8.0],
            "modality": "T1w",
            "suspicious": {"FLAIR": "dark"},
        },
        "brightness alone": {"slabs_per_subject": 1, "batch_size": 4, "learnt": 0.0},
    },
    "location": {
        "": {**CLOSED_FORM, "spacing_mm": 8.0},
        "smoothed, clipped": {**CLOSED_FORM, "interpolate": False, "smoothing": 0.7, "clip": 2.0},
        "site means, regression": {**CLOSED_FORM, "spacing_mm": 8.0, "centre": "site", "regress": ["age", "sex"]},
        "patient": {**CLOSED_FORM, "one_class": SMALL_SCORERS["patient"][""]},
        "machines": {**CLOSED_FORM, "one_class": {"fit_on": "location", **SMALL_SCORERS["location"]["machines"]}},
    },
    "diffusion-time": {
        "": {**CLOSED_FORM, **TIMES, "spacing_mm": 8.0},
        "published": {**CLOSED_FORM, **TIMES, "location": "ignored"},
        "coordinates": {**CLOSED_FORM, **TIMES, "location": "coordinates", "dropout": 0.0},
    },
}
# Of people whose first visit is on the scanner `old` and whose second is on `new`.
PAIRED = {"source": "old", "target": "new", "patch_size": 32, "patches_per_scan": 2, "batch_size": 4, "filters": 2}
SMALL_TRANSFORMS: dict[str, Variants] = {
    "combat": {
        "": {"minimum_people": 1},
        "regions, no prior": {
            "minimum_people": 1,
            "features": "regions",
            "covariates": [],
            "prior": "none",
            "robust": True,
            "smoothing_mm": 0.0,
        },
        "reference": {"minimum_people": 1, "prior": "non-parametric", "reference": "a/1"},
        "covbat": {"minimum_people": 1, "features": "regions", "places_mm": 32.0, "covbat": True},
        "longitudinal": {"minimum_people": 1, "places_mm": 16.0, "longitudinal": True},
    },
    "percentiles": {"": {}, "narrow": {"percentiles": [20.0, 60.0], "clip": [-1.0, 0.5]}},
    "z-score": {"": {}, "robust": {"robust": True, "clip": [-2.0, 2.0]}},
    "white-stripe": {"": {}, "largest, wide": {"peak": "largest", "width": 0.4}},
    "nyul": {"": {}, "few landmarks": {"percentiles": [0.0, 50.0, 100.0], "scale": [1.0, 100.0], "clip": [0.0, 150.0]}},
    "fourier-amplitude": {"": {}, "higher": {"beta": 0.2}},
    "histogram-template": {"": {}, "coarse": {"quantiles": 4}},
    "paired-unet": {
        "": {**PAIRED},
        "FLAIR alone": {**PAIRED, "mapping": "one-to-one", "modalities": ["FLAIR"]},
    },
}

# Parameters with which the next model is the update where there is one alone: nothing is damped or refused.
SMALL_STRATEGIES: dict[str, Variants] = {
    "fedavgm": {"": {"momentum": 0.0}},
    "qfedavg": {"": {"q": 0.0}},
    "krum": {"": {"malicious": 0}},
    "multi-krum": {"": {"malicious": 0}},
    "prior-clusters": {"": {"clusters": {"x": ["a"]}}},
}

SMOOTHED = {"smoothing_mm": 1.4, "fluid": "patient", "edge_mm": 1.5, "edge_factor": 0.5, "minimum_cluster_mm3": 24.0}
TOY_MODELS = [
    Entry("toy-mixture", "toy: mixture", {"rounds": 4}),
    Entry("two-phases", "toy: two phases"),
    Entry("toy-mixture", "toy: mixture, post-processed", {"rounds": 4, "postprocessing": SMOOTHED}),
    Entry("atlas", "toy: centring, atlas", transforms=("centring",)),
    Entry("atlas", "toy: centring, atlas, post-processed", {"postprocessing": SMOOTHED}, transforms=("centring",)),
    Entry("ensemble", "toy: centring, ensemble", {"members": ["atlas", "intensity"]}, transforms=("centring",)),
    Entry("two-phases", "toy: centring, two phases", transforms=("centring",)),
    Entry("two-phases", "toy: site centring, retouching, two phases", transforms=("site-centring", "retouching")),
    Entry("two-phases", "toy: filling, two phases", transforms=("filling",)),
]
TOY_TRANSFORMS = [
    Entry("centring", "toy: centring"),
    Entry("site-centring", "toy: site centring"),
    Entry("retouching", "toy: retouching"),
    Entry("filling", "toy: filling"),
]

EVERY_MODEL = entries(MODELS, SMALL_MODELS) + TOY_MODELS
EVERY_TRANSFORM = entries(TRANSFORMS, SMALL_TRANSFORMS) + TOY_TRANSFORMS
EVERY_STRATEGY = entries(ALGORITHMS, SMALL_STRATEGIES)


# What no parameter takes, whatever its type.
NONSENSE: tuple[Any, ...] = (float("nan"), [[]], {"moon": 1}, -1e300)


def every(found: Iterable[Entry]) -> pytest.MarkDecorator:
    """Run a check on each, as its parameter ``entry``."""
    return pytest.mark.parametrize("entry", list(found), ids=str)


def model_of(entry: Entry, where: Setting | None = None) -> NormativeModel:
    """A model as a study with its entry has it, behind its transforms."""
    with toys.registered():
        named = [{"name": one} if isinstance(one, str) else dict(one) for one in entry.transforms]
        transforms = [validate_learner(TRANSFORMS, one, "test") for one in named]
        return assemble(transforms, validate_learner(MODELS, entry.raw, "test"), where or setting())


def not_applicable(reason: str) -> None:
    """End a check that has nothing to check: the table says why."""
    pytest.skip(reason)
