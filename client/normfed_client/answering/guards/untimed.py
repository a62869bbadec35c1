"""Does an answer tell how long the work took, or how much of the disk it filled? That depends on people's scans."""

from __future__ import annotations

from typing import Any

from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_common.foundation.arrays import Arrays
from normfed_common.wire.answers import Answer, Described

STEP_GB = 8.0  # of free memory and disk


class Untimed(HospitalGuard):
    """Takes the time out of answers where people are protected, and coarsens what is free of the machine.

    When an answer comes can be seen all the same.
    """

    def outbound(self, job: Job[Any], answer: Answer, arrays: Arrays) -> tuple[Answer, Arrays]:
        """See `Guard`."""
        if job.site.study.privacy.epsilon is None:
            return answer, arrays
        told = answer.payload
        if isinstance(told, Described) and told.machine is not None:
            free = {name: _coarse(getattr(told.machine, name)) for name in ("memory_gb", "disk_gb", "gpu_memory_gb")}
            told = told.model_copy(update={"machine": told.machine.model_copy(update=free)})
        return answer.model_copy(update={"seconds": 0.0, "payload": told}), arrays


def _coarse(free_gb: float) -> float:
    """Rounded down to whole steps; below one to whole gigabytes, which a study may need."""
    return free_gb // STEP_GB * STEP_GB if free_gb >= STEP_GB else float(int(free_gb))
