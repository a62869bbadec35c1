"""Learning without a federation: sums of one cohort, and what a model trains."""

from __future__ import annotations

import numpy as np

from normfed_common.learning.cohort import Cohort
from normfed_common.learning.learner import Learner
from normfed_common.learning.phase import Phase


def sum_up(learner: Learner, cohort: Cohort) -> None:
    """Absorb the sums of all phases that the learner still lacks, as if the cohort were everybody."""
    for phase in learner.phases():
        if phase.kind == "summed":
            for _ in range(phase.turns(1)):
                if learner.absorb(phase.name, learner.statistics(phase.name, cohort, np.random.default_rng(0))):
                    break


def training(learner: Learner) -> Phase:
    """The first averaged phase."""
    return next(phase for phase in learner.phases() if phase.kind == "averaged")
