"""What a difference of the federated model to another is worth, said in the same way by the page and in a paper."""

from __future__ import annotations

from dataclasses import dataclass

from normfed_server.report.verdicts import TITLES, UNDECIDED, Verdict, compared_on, difference_of, same, verdict
from normfed_server.results.layout import RunResults


@dataclass(frozen=True)
class Judgement:
    """Of a difference over all patients.

    Parameters
    ----------
    n
        Patients.
    p
        Of the paired test, corrected for all models compared; None without one, or where no patient's figure differs.
    verdict
        Better, worse, tied or too few, of the federated model.
    """

    n: int
    p: float | None
    verdict: Verdict

    @property
    def decided(self) -> bool:
        """Whether one of the two models is called the better one."""
        return self.verdict not in UNDECIDED


def judgement(results: RunResults, other: str, metric: str) -> Judgement | None:
    """Of the federated model less another one; None where no site may say the difference, and of a metric that no
    verdict goes by."""
    found = difference_of(results, other, metric)
    if found is None or metric not in TITLES:
        return None
    p = None if same(found) else results.paired_p(other, metric)
    return Judgement(compared_on(results, other, metric), p, verdict(results, other, metric))
