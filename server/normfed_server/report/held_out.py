"""Held-out normal people: what they are too few for, in words, each said once."""

from __future__ import annotations

from collections.abc import Mapping

from normfed_common.algorithms.arms import OWN
from normfed_common.study.config import StudyConfig
from normfed_server.arms.calibration import OWN_TISSUE
from normfed_server.report.verdicts import OURS, main_models
from normfed_server.report.words import capital, counted, listed, number
from normfed_server.results.calibration import Calibrated
from normfed_server.results.layout import RunResults

CONFORMAL = "conformal_p"
UNUSUAL = 0.05  # a conformal p up to which a person is usually called unlike normal people
ALIKE = 0.95  # a mean from which on nearly every patient has a p of 1


def threshold(results: RunResults) -> str:
    """What figures at the run's threshold say it is: with whose tissue set it, where that is the very patients'."""
    ours = results.evaluation[OURS].threshold if OURS in results.evaluation else None
    by_patients = ours is not None and ours.source == OWN_TISSUE
    return f"the run's threshold{f' (set on {OWN_TISSUE}: too few people were held out)' if by_patients else ''}"


def unmeasured(study: StudyConfig, results: RunResults) -> list[str]:
    """Why the false positives of models were not measured, and what would change that; nothing where all were."""
    known = _calibrated(results)
    reasons: dict[str, list[str]] = {}
    for name, found in known.items():
        if found.unmeasured:
            reasons.setdefault(found.unmeasured, []).append(results.title(name))
    if not reasons:
        return []
    sentences = [
        f"Nothing measured{'' if len(names) == len(known) else f' of {listed(names)}'}: {why}."
        for why, names in reasons.items()
    ]
    own, ours = known.get(OURS), results.evaluation[OURS].threshold if OURS in known else None
    if own is not None and not own.sites and ours is not None:
        sentences.append(f"The threshold is set on {ours.source}.")
    if study.data.held_out_people == 0 or (study.data.held_out_people is None and study.data.held_out_share == 0):
        sentences.append("This study holds nobody out.")
    people = counted(study.federation.minimum_cohort, "person", "people")
    return [
        *sentences,
        f"It takes two sites with at least {people} held out at each (federation.minimum_cohort; a hospital may "
        "ask for more); data.held_out_share or data.held_out_people says how many are.",
    ]


def conformal(results: RunResults) -> list[str]:
    """What conformal p-values cannot say, where people held out are few, and what it means that all are near 1."""
    known = {
        name: found
        for name, found in _calibrated(results).items()
        if (figure := results.evaluation[name].all.get(CONFORMAL)) is not None and figure.mean is not None
    }
    return [*_least(results, known), *_alike(results, known)]


def _least(results: RunResults, known: Mapping[str, Calibrated]) -> list[str]:
    scans = max((found.scans for found in known.values() if found.scans is not None), default=0)
    least = 1 / (scans + 1)
    if not scans or least <= UNUSUAL:
        return []
    own = results.evaluation.get(OWN)
    alone = own is not None and CONFORMAL in own.all
    return [
        f"No conformal p can be below {number(least)}: beside {counted(scans, 'scan', 'scans')} of held-out people the "
        f"least is 1 / ({scans} + 1); one of {UNUSUAL:g} takes {round(1 / UNUSUAL) - 1}."
        + (" A site's own model is compared with its own people alone, who are fewer." if alone else "")
    ]


def _alike(results: RunResults, known: Mapping[str, Calibrated]) -> list[str]:
    names = [results.title(name) for name in known if (results.evaluation[name].all[CONFORMAL].mean or 0.0) >= ALIKE]
    if not names:
        return []
    return [
        f"{capital(listed(names))} {'does' if len(names) == 1 else 'do'} not see these patients as unusual as a whole: "
        "nearly all of those held out are at least as abnormal as each of them (a conformal p near 1)."
    ]


def _calibrated(results: RunResults) -> dict[str, Calibrated]:
    models = main_models(results)
    return {name: model.calibration for name, model in models.items() if model.calibration is not None}
