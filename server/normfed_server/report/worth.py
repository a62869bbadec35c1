"""What the federation is worth to hospitals, in a sentence: the question that a study of federated learning asks."""

from __future__ import annotations

from normfed_common.algorithms.arms import OWN
from normfed_server.report.lesions import FEWEST_PATIENTS
from normfed_server.report.verdicts import OURS, TITLES, difference_of, figure_of, unseen_verdict, verdict
from normfed_server.report.words import signed
from normfed_server.results.layout import PRECISION, RunResults

BY = f"by {TITLES[PRECISION]}"


def worth(results: RunResults) -> list[str]:
    """Whom it serves: hospitals that train, those that do not, or nobody; nothing where that was not tested on patients
    enough, or a single hospital trained."""
    difference, figure = difference_of(results, OWN, PRECISION), figure_of(results, OURS, PRECISION)
    if difference is None or figure is None or figure.n < FEWEST_PATIENTS or len(results.trained) == 1:
        return []
    alone = verdict(results, OWN, PRECISION)
    if alone == "better":
        return [f"Hospitals that train gain {BY} over their own models ({signed(difference.mean)})."]
    unseen = results.unseen.all.get(PRECISION) if results.unseen is not None else None
    if unseen is None or unseen.n < FEWEST_PATIENTS:
        if alone == "worse":
            return [f"Hospitals that train lose {BY}: their own models are better ({signed(difference.mean)})."]
        return [f"With this model, on these scans, no hospital that trains is seen to gain {BY} from the others."]
    if unseen_verdict(results, PRECISION, unseen.over_borrowed, unseen.n) == "better":
        return [
            f"A hospital that trains gains nothing {BY} over its own model; one that does not train does, over any "
            "other hospital's: that is what this federation is for."
        ]
    return [
        f"With this model, on these scans, no hospital is seen to gain {BY} from the others, whether it trains or not."
    ]
