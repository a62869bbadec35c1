"""Audits of privacy as a run folder has them, with what a test cares about changed."""

from __future__ import annotations

from typing import Any

from normfed_server.results.audit import Figure, Finding, PrivacyAudit, Protection

NOBODY = Protection(delta=1e-5, unit="patient", secure_aggregation=False)


def finding(**changes: Any) -> Finding:
    """An attack on membership, with changes."""
    said = {
        "attack": "loss",
        "title": "Loss threshold",
        "knows": "the model",
        "measure": "AUC",
        "figure": Figure(value=0.71, low=0.62, high=0.8),
        "chance": 0.5,
        "rates": {"0.01": 0.08, "0.1": None},
        "curve": ((0.0, 0.0), (0.1, 0.4), (1.0, 1.0)),
        "people": 80,
        "epsilon_at_least": 0.62,
    }
    return Finding(**{**said, **changes})


def audited(*findings: Finding, **changes: Any) -> PrivacyAudit:
    """An audit that found these, with changes."""
    said = {
        "version": "1.0",
        "run": "r",
        "study": "tiny",
        "digest": "0" * 64,
        "model": "siamese",
        "protection": NOBODY,
        "shadows": 16,
        "seed": 0,
        "seconds": 1.0,
        "findings": findings,
    }
    return PrivacyAudit(**{**said, **changes})
