"""Fit to run: what a machine needs and has, at the very boundary, and how a cohort's size is shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Machine
from normfed_server.arms import fitness
from normfed_server.arms.fitness import Misfit

BYTES = 500_000_000  # of a model: a site then needs 1 + 7 * 0.5 GB of memory and 9 * 0.5 of disk, the server 2.4

OTHERWISE = (
    "with its normfed 1.1 reads this study otherwise than the server with 1.0: one of the two was changed; install it "
    "anew"
)


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    free_at_server(monkeypatch, 100.0)


def free_at_server(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    monkeypatch.setattr(fitness.psutil, "virtual_memory", lambda: SimpleNamespace(available=gigabytes * 1e9))


def machine(of: StudyConfig, **changes: Any) -> Machine:
    fit: dict[str, Any] = {"normfed": "1.0", "study": of.digest, "memory_gb": 4.5, "disk_gb": 4.5}
    return Machine(**({"flwr": "f", "torch": "t", "python": "p", "cores": 2} | fit | changes))


def test_a_machine_that_has_just_enough_is_fit(study: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = fitness.estimate(BYTES)
    assert needs == pytest.approx({"site_memory_gb": 4.5, "site_disk_gb": 4.5, "server_memory_gb": 2.4})
    free_at_server(monkeypatch, needs["server_memory_gb"])
    assert fitness.findings(study, {"a": machine(study)}, BYTES, "1.0") == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"memory_gb": 4.4}, Misfit("a", "needs about 4.5 GB of memory, and 4.4 are free", False)),
        ({"disk_gb": 4.4}, Misfit("a", "needs about 4.5 GB of disk, and 4.4 are free", True)),
        ({"normfed": "1.1", "study": "x"}, Misfit("a", OTHERWISE, True)),
    ],
)
def test_a_run_breaks_on_studies_and_disks_and_may_survive_little_memory(
    study: StudyConfig, changes: dict[str, Any], finding: Misfit
) -> None:
    assert fitness.findings(study, {"a": machine(study, **changes)}, BYTES, "1.0") == [finding]


def test_the_fatal_come_first_then_by_site_and_all_of_a_site_is_said(
    study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_at_server(monkeypatch, 2.3)
    little = {"memory_gb": 1.0}
    machines = {
        "z": machine(study, study="x", disk_gb=0.0, **little),
        "a": machine(study, **little),
        "b": machine(study, study="x"),
    }
    found = fitness.findings(study, machines, BYTES, "1.0")
    assert [(finding.where, finding.fatal) for finding in found] == [
        ("b", True),
        ("z", True),
        ("z", True),
        ("a", False),
        ("server", False),
        ("z", False),
    ]
    assert found[4].text == "needs about 2.4 GB of memory, and 2.3 are free"


@given(st.integers(1, 100_000))
def test_a_shown_class_holds_the_cohort_and_every_cohort_in_it_is_shown_alike(people: int) -> None:
    shown = fitness.size_class(people)
    if shown.startswith("fewer than "):
        low, high = 1, int(shown.removeprefix("fewer than ")) - 1
    elif shown.endswith(" or more"):
        low, high = int(shown.removesuffix(" or more")), 10**6
    else:
        low, high = map(int, shown.split("–"))
    assert low <= people <= high
    assert {fitness.size_class(low), fitness.size_class(high)} == {shown}
    assert high >= 2 * low  # no class is narrow enough to give the number away
    assert {fitness.size_class(low - 1), fitness.size_class(high + 1)} & {shown} <= (
        {shown} if high == 10**6 else set()
    )
