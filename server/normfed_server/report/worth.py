"""What the federation is worth to hospitals, in a sentence: the question that a study of federated learning asks."""

from __future__ import annotations

from normfed_common.algorithms.arms import OWN
from normfed_server.report.verdicts import (
    TITLES,
    Verdict,
    borrowing,
    compared_on,
    difference_of,
    unseen_verdict,
    verdict,
)
from normfed_server.report.words import signed
from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import PRECISION
from normfed_server.results.layout import RunResults

BY = f"by {TITLES[PRECISION]}"
NO_MODEL_OF_THEIR_OWN = "what they have alone (their own models or, where they train none, the mean of the others')"


def worth(results: RunResults) -> list[str]:
    """Whom it serves: hospitals that train, those that do not, or nobody; nothing where that was not tested on patients
    enough, or a single hospital trained."""
    difference = difference_of(results, OWN, PRECISION)
    if difference is None or len(results.trained) == 1:
        return []
    patients = compared_on(results, OWN, PRECISION)
    if patients < FEWEST_PATIENTS:
        return []
    all_train = not borrowing(results)
    who, alone = ("Hospitals that train", "their own models") if all_train else ("Hospitals", NO_MODEL_OF_THEIR_OWN)
    found, unseen, gap = verdict(results, OWN, PRECISION), _at_unseen_hospitals(results), signed(difference.mean)
    if found == "better":
        return [f"{who} gain {BY} over {alone} ({gap})."]
    lose = f"{who} lose {BY} against {alone} ({gap})"
    few = f"{patients} patients are too few to tell whether {who.lower()} gain {BY} over {alone} ({gap})"
    if unseen == "better":
        not_seen = few if found == "too few" else f"{who} are not seen to gain {BY} over {alone}"
        text = lose if found == "worse" else not_seen
        outside = "one that does not train gains over the mean of the others' models"
        return [f"{text}; {outside}: that is what this federation is for."]
    if found in ("worse", "too few"):
        return [f"{lose if found == 'worse' else few}."]
    nobody = "no hospital" if unseen or not all_train else "no hospital that trains"
    end = ", whether it trains or not" if unseen else ""
    return [f"With this model, on these scans, {nobody} is seen to gain {BY} from the others{end}."]


def _at_unseen_hospitals(results: RunResults) -> Verdict | None:
    """What the federation is to hospitals that train nothing; None where that was not tested on patients enough."""
    found = results.unseen.all.get(PRECISION) if results.unseen is not None else None
    if found is None or found.n < FEWEST_PATIENTS:
        return None
    return unseen_verdict(results, PRECISION, found.over_borrowed, found.n)
