"""A model is called drowned where its noise is long and its figures are poor, and never for one of the two alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from compared import difference, metrics, model
from guarantees import figures, guarantee
from run_results import run_results

from normfed_server.report.drowned import drowned, noise_length
from normfed_server.results.layout import RunResults

WORSE, TIED = difference(-0.2, -0.3, -0.1), difference(-0.01, -0.03, 0.01)


def results(
    numbers: int, auroc: float, of: str = "sums", unit: str = "patient", z: float = 1.5, **beside: Any
) -> RunResults:
    """Of a federated model of so many numbers, by three people at each of two sites, or two sites."""
    asked = guarantee(unit, federated=3.99)
    mechanism = {"of": of, "noise_multiplier": z, "sampling_rate": 1.0 if of == "sums" else 0.5, "releases": 4}
    asked["models"]["federated"]["mechanisms"] = [{**mechanism, "numbers": numbers}]
    key = "sites" if unit == "site" else "people"
    claims = figures(**{key: asked}).model_dump(mode="json")
    said = metrics(**beside)
    cohort = said["sites"][0]
    said["sites"] = [{**cohort, "name": name, "train": 3} for name in "ab"]
    said["evaluation"]["federated"] = model(auroc)
    return run_results(**said, privacy=claims)


@pytest.mark.parametrize(
    ("numbers", "auroc", "beside", "why"),
    [
        (64, 0.52, {}, "lesions are ranked no better than by chance"),
        (64, 0.9, {}, ""),  # long, and fine
        (4, 0.52, {}, ""),  # poor, and not by the noise
        (64, 0.7, {"intensity": WORSE}, "lesions are ranked worse than by intensity, where nothing is learnt"),
        (64, 0.7, {"intensity": TIED}, ""),
        (64, 0.7, {"intensity": difference(-0.003, -0.005, -0.001)}, ""),  # surely, and nobody would notice
        (64, 0.7, {"local": WORSE, "pooled": WORSE}, ""),  # these learn, too
        (4, 0.7, {"intensity": WORSE}, ""),
        (0, 0.52, {}, ""),  # of a run that did not count them
    ],
)
def test_long_noise_and_poor_figures_together_are_told(
    numbers: int, auroc: float, beside: dict[str, Any], why: str
) -> None:
    said = drowned(results(numbers, auroc, **beside))
    assert bool(said) == bool(why)
    if said:
        assert said[0].startswith(
            "Noise drowns federated (2.8 times): it is at least so many times as long as all that "
        )
        assert f"people can have added, and {why}. More people, a larger epsilon" in said[0]


def test_an_unprotected_run_is_never_drowned() -> None:
    assert drowned(run_results(**metrics())) == []


@pytest.mark.parametrize(("n", "auroc", "told"), [(5, 0.52, False), (5, 0.48, True), (6, 0.52, True)])
def test_the_interval_of_a_few_patients_alarms_nobody(n: int, auroc: float, told: bool) -> None:
    found = results(64, auroc)
    evaluation = {"federated": found.evaluation["federated"].model_validate_json(json.dumps(model(auroc, n=n)))}
    assert bool(drowned(found.model_copy(update={"evaluation": evaluation}))) == told


def test_a_model_of_one_site_is_judged_where_it_was_trained() -> None:
    found = results(64, 0.9, local=WORSE)
    assert found.privacy is not None
    assert found.privacy.people is not None
    alone = found.privacy.people.models["federated"].model_copy(update={"sites": ("a",)})
    people = found.privacy.people.model_copy(update={"models": {"local-a": alone, "local-b": alone}})
    local = found.evaluation["federated"].model_validate_json(json.dumps(model(0.5)))
    changed = {
        "privacy": found.privacy.model_copy(update={"people": people}),
        "evaluation": {**found.evaluation, "local": local},
    }
    (said,) = drowned(found.model_copy(update=changed))  # of b no figures are there
    assert "local-a (4 times)" in said
    assert "local-b" not in said


@pytest.mark.parametrize(("of", "unit"), [("sums", "patient"), ("rounds", "patient"), ("rounds", "site")])
def test_the_length_of_noise_is_that_of_noise_that_is_drawn(of: str, unit: str) -> None:
    """All contributions are one unit vector: nothing that people add can be longer."""
    found, rng, numbers = results(400, 0.5, of, unit), np.random.default_rng(0), 400
    assert found.privacy is not None
    asked = found.privacy.people or found.privacy.sites
    assert asked is not None
    steps, q = (1, 1.0) if of == "sums" else (4, 0.5)
    members, noisy = (2, 1) if unit == "site" else (6, 2)
    noise = sum(rng.normal(0, 1.5, numbers) for _ in range(steps * noisy))
    expected = float(np.linalg.norm(noise)) / (members * q * steps)
    assert noise_length(asked, asked.models["federated"], found) == pytest.approx(expected, rel=0.1)
