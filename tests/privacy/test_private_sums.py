"""What a server that lies can do to sums that leave with noise: the attacks that succeed without it, tried again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attacker import Server, as_sums, offered, study
from scipy import stats
from sklearn.metrics import roc_auc_score

from normfed_client.hospital.folder import open_hospital
from normfed_client.hospital.site import Site
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode
from normfed_common.learning.bounded import Bounded
from normfed_common.learning.cohort import Alone
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released, shortened
from normfed_common.privacy.spending import spending
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import error_code
from normfed_server.sites import claims

MIXTURE = {"name": "mixture", "classes": 3, "voxels_per_person": 100_000}
LOCATION = {"name": "location", "patch_size": 9, "latents": 16, "pairs_per_subject": 500}
FILTER = {"name": "matched-filter", "unlike": 0.1}
EPSILON = 4.0


def private(model: dict[str, Any], epsilon: float = EPSILON) -> StudyConfig:
    return study(model=model, privacy={"epsilon": epsilon})


def site_of(server: Server, asked: StudyConfig) -> Site:
    return Site(open_hospital(server.folder).site_config("r0"), asked)


def multiplier(server: Server, asked: StudyConfig) -> float:
    found = spending(asked, site_of(server, asked).model(asked.model, asked.seed).phases())
    assert found is not None
    assert found.sums is not None
    return found.sums.noise_multiplier


def told(server: Server, asked: StudyConfig, made_up: Arrays, run: str = "run-1", **fields: Any) -> Arrays:
    server.answer("query.describe", asked, run=run)
    found: Arrays = server.answer("train.sums", asked, offered(made_up), run=run, **fields)[1]
    return found


def bounded_at(server: Server, asked: StudyConfig, phase: str) -> tuple[Bounded, Any]:
    site = site_of(server, asked)
    bounded = site.model(asked.model, asked.seed).bounded(phase)
    assert bounded is not None
    return bounded, site.training_cohort()


def test_one_run_answers_no_more_questions_than_its_study_has(server: Server) -> None:
    asked = private(MIXTURE)
    told(server, asked, as_sums("made-up", {"x": [0]}), phase="histogram")
    reply = server.ask("train.sums", asked, offered(as_sums("made-up", {"x": [1]})), run="run-1", phase="histogram")
    assert error_code(reply) == SiteCode.BUDGET_SPENT


def test_two_questions_about_the_same_people_differ_by_noise_alone(server: Server) -> None:
    """Of two mixtures that are almost alike the difference was once one voxel."""
    asked = private(MIXTURE)
    answers = [
        told(server, asked, as_sums("made-up", {"x": [n]}), f"run-{n}", phase="histogram")["histogram"]
        for n in range(2)
    ]
    difference = answers[1] - answers[0]
    assert stats.kstest(difference / multiplier(server, asked) / np.sqrt(2), "norm").pvalue > 1e-4


@pytest.mark.parametrize("phase", ["moments", "nearest", "em"])
def test_a_private_mixture_says_nothing_of_voxels_near_made_up_means(server: Server, phase: str) -> None:
    asked = private(MIXTURE)
    server.answer("query.describe", asked)
    reply = server.ask("train.sums", asked, offered({}), phase=phase)
    assert error_code(reply) == SiteCode.BAD_REQUEST


def test_the_same_question_has_the_same_noise_in_every_run(server: Server) -> None:
    """Else asking again and again would take it off."""
    asked, found = private(MIXTURE), []
    for run in ("run-1", "run-2"):
        server.answer("query.describe", asked, run=run)
        found.append(server.answer("train.sums", asked, offered({}), phase="histogram", run=run)[1]["histogram"])
    np.testing.assert_array_equal(*found)


def test_products_that_leave_with_noise_span_all_latents_whoever_is_in_them(server: Server) -> None:
    """Of fewer people than latents the products at a place once spanned no more than theirs: now none leave by place,
    and those of the brain have no direction that is nobody's."""
    asked = private(LOCATION)
    patches = told(server, asked, {}, phase="patches")
    model = site_of(server, asked).model(asked.model, asked.seed)
    z = multiplier(server, asked)
    first = model.bounded("patches")
    assert first is not None
    made = as_sums("patches", first.repaired(patches, z))
    model.load(made)
    second = model.bounded("places")
    assert second is not None
    places = told(server, asked, made, phase="places")
    assert {name: array.shape for name, array in places.items() if array.size > 16 * 17 // 2} == {
        "mean": (64, 16),
        "centre": (64, 16),
    }
    upper = np.zeros((16, 16))
    upper[np.triu_indices(16)] = second.repaired(places, z)["products"]
    values = np.linalg.eigvalsh(upper + np.triu(upper, 1).T)
    assert values[0] > 1e-6 * values[-1]


def test_no_scatter_between_scans_leaves_whatever_between_is_made_up(server: Server) -> None:
    found = told(server, private(FILTER), as_sums("made-up", {"between": [1e6]}), phase="moments")
    assert set(found) == {"mean", "people", "voxels", "centre"}


@pytest.mark.parametrize(("model", "phase"), [(MIXTURE, "histogram"), (FILTER, "moments")])
def test_what_a_server_made_up_changes_nothing_but_the_noise(server: Server, model: dict[str, Any], phase: str) -> None:
    """With an epsilon that leaves next to none."""
    asked = private(model, 1000)
    one, other = (told(server, asked, as_sums("made-up", {"x": [n]}), f"run-{n}", phase=phase) for n in range(2))
    for name, array in one.items():
        np.testing.assert_allclose(other[name], array, atol=7 * np.sqrt(2) * multiplier(server, asked))


@pytest.mark.parametrize(
    ("model", "phase"),
    [(MIXTURE, "histogram"), (FILTER, "moments"), ({"name": "atlas"}, "moments"), (LOCATION, "patches")],
)
def test_whoever_knows_everybody_else_cannot_tell_better_than_the_mechanism_lets_them(
    server: Server, model: dict[str, Any], phase: str
) -> None:
    """The likelihood ratio of a total with the person and one without has an AUC of Phi(length / (sqrt(2) z)), and no
    person is longer than 1 (Dong, Roth & Su 2022, JRSS B 84:3, of Gaussian mechanisms)."""
    asked = private(model)
    bounded, cohort = bounded_at(server, asked, phase)
    z = multiplier(server, asked)
    person = shortened(bounded.contribution(Alone(cohort, 0), np.random.default_rng(0)))
    length = np.sqrt(sum((array**2).sum() for array in person.values()))
    assert 0.05 < length <= 1 + 1e-9
    scores = [
        sum(
            np.vdot(SecretNoise(bytes([number % 251] * 31 + [there])).noised(there * array, z), array)
            for array in person.values()
        )
        for there in (0, 1)
        for number in range(200)
    ]
    auc = roc_auc_score([0] * 200 + [1] * 200, scores)
    bound = stats.norm.cdf(1 / (np.sqrt(2) * z))
    assert auc < bound + 3 * np.sqrt(0.25 / 200)


def test_what_leaves_a_hospital_is_what_the_server_believes(server: Server) -> None:
    asked = private({"name": "atlas"})
    found = told(server, asked, {}, phase="moments")
    site, z = site_of(server, asked), multiplier(server, asked)
    claims.sums(found, site.model(asked.model, asked.seed), "moments", site.training_people, z)


def test_a_hospitals_release_is_the_mechanism_on_all_its_training_people(server: Server) -> None:
    """No voxel is left out for the few people who have it: which are would be told of them."""
    asked = private({"name": "atlas"}, 1000)
    found = told(server, asked, {}, phase="moments")
    bounded, cohort = bounded_at(server, asked, "moments")
    expected = released(bounded, cohort, np.random.default_rng, SecretNoise(bytes(32)), 0.0)
    z = multiplier(server, asked)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=7 * z)
    assert found["people"] == site_of(server, asked).training_people
