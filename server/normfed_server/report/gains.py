"""What a difference of the federated model to another is worth, said in the same way by the page and in a paper."""

from __future__ import annotations

from dataclasses import dataclass

from normfed_common.metrics.subjects import UNTESTED
from normfed_server.report.verdicts import OURS, TITLES, UNDECIDED, Verdict, difference_of, figure_of, same, verdict
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
    figures = [figure_of(results, name, metric) for name in (OURS, other)]
    n = min(0 if figure is None else figure.n for figure in figures)
    if found.n is not None:
        n = min(n, found.n)
    test = results.paired_test(other, metric)
    p = None if test is None or test == UNTESTED or same(found) else test.p
    return Judgement(n, p, verdict(results, other, metric))
