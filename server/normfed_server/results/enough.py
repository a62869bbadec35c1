"""Of how many patients anything is concluded: with fewer a mean is said, and no interval and no verdict.

The layout of results asks it, so that no interval of so few can reach a table, a figure or a sentence.
"""

from __future__ import annotations

from typing import Any

from pydantic import AfterValidator, ValidationInfo

FEWEST_PATIENTS = 6
"""Of five pairs even the least p-value of a two-sided signed-rank test, 2 / 2^5 = 0.06, tells no two models apart
(Wilcoxon 1945), and resampling so few people says next to nothing: one patient's interval has no width at all."""


def are_enough(patients: int | None) -> bool:
    """Whether an interval over so many says something; where nobody counted them, as in older runs, it is believed."""
    return patients is None or patients >= FEWEST_PATIENTS


def _of_enough(ends: Any, info: ValidationInfo) -> Any:
    return ends if are_enough(info.data.get("n")) else None


def _both_of_enough(ends: Any, info: ValidationInfo) -> Any:
    """That no patient's figure differs, so that the difference and its interval are zero, is known of however few."""
    nothing_differs = info.data.get("mean") == 0 and ends == (0, 0)
    return ends if nothing_differs or are_enough(info.data.get("n")) else (None, None)


OfEnough = AfterValidator(_of_enough)  # of an interval that may be absent, below its ``n``
BothOfEnough = AfterValidator(_both_of_enough)  # of one whose ends may be null, below its ``n`` and ``mean``
