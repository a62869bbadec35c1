"""What is said of held-out people who are too few: why, once, and what would change it."""

from __future__ import annotations

from typing import Any

import pytest
from compared import calibration, metrics
from run_results import run_results

from normfed_common.study.config import StudyConfig
from normfed_server.report.held_out import conformal, unmeasured


def of_models(**models: dict[str, Any]) -> dict[str, Any]:
    """A run of these models with their calibrations."""
    found = metrics(**dict.fromkeys(models.keys() - {"federated"}))
    for name, its in models.items():
        found["evaluation"][name] |= {"merged": {}, "calibration": its}
    return found


def test_one_reason_of_all_models_is_said_once_with_how_many_are_enough(study: StudyConfig) -> None:
    nothing = calibration(None)
    found = of_models(federated=nothing, atlas=nothing, pooled=nothing)
    found["evaluation"]["federated"]["threshold"] = {"value": 1.0, "from": "the patients' own lesion-free tissue"}
    text = " ".join(unmeasured(study, run_results(**found)))
    assert text.count("Nothing measured: nobody was there.") == 1
    assert "The threshold is set on the patients' own lesion-free tissue." in text
    people = study.federation.minimum_cohort
    assert f"two sites with at least {people} people held out at each (federation.minimum_cohort" in text
    assert "data.held_out_share or data.held_out_people" in text


def test_models_of_which_something_was_measured_are_told_apart(study: StudyConfig) -> None:
    found = of_models(federated=calibration(0.02, a=3, b=4), atlas=calibration(None, a=3))
    assert unmeasured(study, run_results(**found))[0] == "Nothing measured of atlas: nobody was there."
    assert unmeasured(study, run_results(**of_models(federated=calibration(0.02, a=3, b=4)))) == []
    assert unmeasured(study, run_results(**metrics())) == []


def test_a_study_that_holds_nobody_out_is_told_so(study: StudyConfig) -> None:
    nobody = study.model_copy(update={"data": study.data.model_copy(update={"held_out_people": 0})})
    found = run_results(**of_models(federated=calibration(None)))
    assert "This study holds nobody out." in unmeasured(nobody, found)
    assert "This study holds nobody out." not in unmeasured(study, found)


def with_p(found: dict[str, Any], **means: float) -> dict[str, Any]:
    """The same with conformal p-values of these means."""
    for name, mean in means.items():
        figures = found["evaluation"][name]["all"]
        figures["conformal_p"] = {"mean": mean, "sd": 0.1, "n": 7}
    return found


@pytest.mark.parametrize(("people", "least"), [(1, "0.333"), (3, "0.143"), (9, "0.053"), (10, None), (40, None)])
def test_what_the_least_p_of_so_few_scans_can_be_is_said_where_it_is_above_a_twentieth(
    people: int, least: str | None
) -> None:
    found = with_p(of_models(federated=calibration(0.02, a=people)), federated=0.4)
    said = conformal(run_results(**found))
    assert len(said) == (least is not None)
    scans = 2 * people  # each has two visits
    begins = f"No conformal p can be below {least}: beside {scans} scans of held-out people"
    assert all(text.startswith(begins) for text in said)
    assert all(f"1 / ({scans} + 1); one of 0.05 takes 19." in text for text in said)


def test_models_by_which_all_patients_have_a_p_near_one_are_named_together() -> None:
    one = calibration(0.02, a=40)
    found = with_p(of_models(federated=one, atlas=one, pooled=one), federated=1.0, atlas=0.97, pooled=0.9)
    assert conformal(run_results(**found)) == [
        "Federated and atlas do not see these patients as unusual as a whole: nearly all of those held out are at "
        "least as abnormal as each of them (a conformal p near 1)."
    ]


def test_where_nobody_is_held_out_and_in_older_runs_that_counted_no_scans_nothing_is_said() -> None:
    assert conformal(run_results(**of_models(federated=calibration(None)))) == []
    older = calibration(0.02, a=3)
    del older["scans"]
    assert conformal(run_results(**with_p(of_models(federated=older), federated=0.4))) == []
