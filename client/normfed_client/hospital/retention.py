"""For how long a hospital keeps what a federation leaves with it: part of its site.yaml.

What protects people or proves what was done has no time: the budget spent, the record over whom anything was released,
of each run who took part and what was asked and signed, decisions, the audit.
"""

from __future__ import annotations

from pydantic import Field

from normfed_common.study.base import Frozen

LONGEST = 36_500.0  # days


class Retention(Frozen):
    """How many days what is kept; `keep_days` stands beside them, of answers and of training that was broken off."""

    keep_maps_days: float | None = Field(
        None, ge=1, le=LONGEST, description="people's anomaly maps and figures, which stay here; null: until deleted"
    )
    keep_runs_days: float | None = Field(
        None,
        ge=1,
        le=LONGEST,
        description="whatever else is kept of a run since it last did anything, personal parts of models and site.log "
        "too, after which it cannot go on; null: until deleted",
    )
    keep_cache_days: float | None = Field(
        None, ge=1, le=LONGEST, description="preprocessed scans since they were last used; null: until deleted"
    )
    keep_proposals_days: float | None = Field(
        180.0, ge=1, le=LONGEST, description="studies that were asked for and that nobody decided on; null: for ever"
    )
