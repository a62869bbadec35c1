"""Under which names statistics of cohorts are asked for; apart from what computes them."""

from __future__ import annotations

from typing import Any

ARM = "statistics"  # in whose name they are asked for
ENTRY: dict[str, Any] = {"name": "cohort-statistics"}  # in the place of a model's: every study has them
PHASE = "cohort"
