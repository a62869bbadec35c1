"""What a simulation's report knows of people beyond what leaves a hospital."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from run_results import run_results

from normfed_client.hospital.site import Site
from normfed_server.report.ages import Ages
from normfed_simulation.patients import ages


def visit(subject: str, age: float | None) -> SimpleNamespace:
    return SimpleNamespace(participant=SimpleNamespace(subject=subject, age=age))


def site(**roles: Any) -> Site:
    return cast(Site, SimpleNamespace(roles=SimpleNamespace(**{"train": (), "test": (), **roles})))


def test_ages_are_of_people_at_the_sites_that_train_and_of_everybody_who_is_tested() -> None:
    sites = {
        "a": site(
            train=(visit("sub-1", 30.0), visit("sub-1", 31.0), visit("sub-2", None)), test=(visit("sub-3", 70.0),)
        ),
        "b": site(train=(visit("sub-4", 50.0),), test=(visit("sub-5", 80.0),)),  # too few to train
    }
    assert ages(run_results(trained=["a"]), sites) == Ages((30.0,), (70.0, 80.0))
