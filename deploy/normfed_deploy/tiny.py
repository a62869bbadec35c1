"""The smallest studies that have everything: synthetic hospitals, a network, patients with lesions; and privacy."""

from __future__ import annotations

from typing import Any

# Small enough that a round is over in seconds: what is rehearsed is everything around the training.
STUDY: dict[str, Any] = {
    "name": "rehearsal",
    "seed": 7,
    "data": {
        "modalities": ["T1w", "FLAIR"],
        "held_out_people": 2,
        "phantom": {
            "voxel_size_mm": 4,
            "sites": [
                {
                    "name": "a",
                    "vendor": "siemens",
                    "field_tesla": 3.0,
                    "controls": 6,
                    "patients": {"tumour": 2, "WMH": 1},
                },
                {"name": "b", "vendor": "ge", "field_tesla": 1.5, "controls": 5, "patients": {"tumour": 2}},
                {"name": "c", "vendor": "philips", "field_tesla": 3.0, "controls": 4, "patients": {"MS": 2}},
            ],
        },
    },
    "preprocessing": {"voxel_size_mm": 4},
    "model": {"name": "siamese", "patch_size": 9, "pairs_per_subject": 60, "batch_size": 30},
    "federation": {"rounds": 5, "minimum_cohort": 2},
    "comparisons": {"local": False, "pooled": False, "baselines": []},
    "evaluation": {"bins": 100, "bootstrap": 50},
}

# Five, since a secure sum is over four at least, and one may drop out.
PRIVATE: dict[str, Any] = STUDY | {
    "name": "private-rehearsal",
    "data": STUDY["data"]
    | {
        "phantom": {
            "voxel_size_mm": 4,
            "sites": [
                *STUDY["data"]["phantom"]["sites"],
                {"name": "d", "vendor": "siemens", "field_tesla": 1.5, "controls": 6, "patients": {}},
                {"name": "e", "vendor": "ge", "field_tesla": 3.0, "controls": 6, "patients": {}},
            ],
        }
    },
    "privacy": {"epsilon": 8, "secure_aggregation": True},
}
