"""How much is called abnormal beside how much is lesion."""

from __future__ import annotations

import pytest
from compared import metrics
from run_results import run_results

from normfed_server.report.false_alarm import false_alarm
from normfed_server.report.headline import headline
from normfed_server.results.volumes import Volume, Volumes

Patients = dict[str, list[tuple[float, float]]]


def said(sites: Patients) -> str:
    """Of each site's patients: ml of lesion, ml called abnormal."""
    everybody = [patient for patients in sites.values() for patient in patients]
    volumes = Volumes(Volume.of(everybody), {site: Volume.of(patients) for site, patients in sites.items()})
    results = run_results(**metrics()).with_volumes(volumes)
    (sentence,) = false_alarm(results)
    assert sentence in headline(results)
    return sentence


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        (
            {"a": [(10.0, 12.0)] * 5, "b": [(10.0, 19.9)]},
            "calls 12.0 ml of a brain abnormal where the lesions have 10.0 ml (medians).",
        ),
        (
            {"a": [(10.0, 12.0)] * 5, "b": [(10.0, 20.0)]},
            "calls 12.0 ml of a brain abnormal where the lesions have 10.0 ml (medians); in 1 of 6 patients half of "
            "that or more is no lesion, most often at b (1 patient): 20.0 ml of a brain abnormal where the lesions "
            "have 10.0 ml.",
        ),
        (
            {"a": [(10.0, 50.0)] * 3 + [(10.0, 10.0)] * 4, "b": [(10.0, 10.0)] * 6},  # nowhere in most patients
            "calls 10.0 ml of a brain abnormal where the lesions have 10.0 ml (medians); in 3 of 13 patients half of "
            "that or more is no lesion.",
        ),
        (
            {"a": [(0.0004, 0.001)] * 7},
            "calls 0.001 ml of a brain abnormal where the lesions have 0.0004 ml (medians); in 7 of 7 patients half of "
            "that or more is no lesion.",
        ),
        (  # medians of different patients: half of the patients have nothing called abnormal beyond their lesions
            {"a": [(1.0, 1.0)] * 10 + [(1.0, 3.0)] + [(50.0, 50.0)] * 10},
            "calls 3.00 ml of a brain abnormal where the lesions have 1.00 ml (medians); in 1 of 21 patients half of "
            "that or more is no lesion.",
        ),
    ],
)
def test_in_how_many_patients_most_of_what_is_called_abnormal_is_no_lesion(sites: Patients, expected: str) -> None:
    """Half of the lesions were touched, and nothing said that a tenth of a brain was marked."""
    assert said(sites) == f"At the run's threshold it {expected}"


def test_without_single_patients_nothing_is_said() -> None:
    assert false_alarm(run_results(**metrics())) == []
