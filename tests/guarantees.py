"""Claims of privacy, as metrics.json holds them, of which a test says only what matters to it."""

from __future__ import annotations

from typing import Any

from normfed_server.results.guarantees import PrivacyFigures


def guarantee(unit: str = "patient", epsilon: float = 4.0, total: float = 8.805, **models: float) -> dict[str, Any]:
    spent = {
        name: {
            "epsilon": value,
            "sites": ["a", "b"],
            "mechanisms": [{"of": "rounds", "noise_multiplier": 2.8, "sampling_rate": 0.25, "releases": 80}],
        }
        for name, value in (models or {"federated": epsilon - 0.002, "atlas": epsilon - 0.01}).items()
    }
    return {"unit": unit, "epsilon": epsilon, "delta": 1e-5, "models": spent, "total": total}


def figures(**said: Any) -> PrivacyFigures:
    nothing = {"people": None, "sites": None, "minimum_sites": None, "outside": ()}
    return PrivacyFigures.model_validate({**nothing, **said}, strict=False)
