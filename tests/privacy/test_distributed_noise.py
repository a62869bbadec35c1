"""Distributed noise from end to end: as much in every sum as is claimed, in no two sums the same, and all on record."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import secure_runs
from flwr.app import Message
from scipy import stats
from secure_runs import SITES, drop_out, model, play, prepare, small

from normfed_client.answering.job import Job
from normfed_client.hospital.config import CustodyConfig
from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Site
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.keys import derived_key
from normfed_common.learning.phase import Phase
from normfed_common.privacy import accounting
from normfed_common.privacy.distributed import NoiseShare
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released
from normfed_common.privacy.spending import spending
from normfed_common.secure import parts
from normfed_common.study.config import StudyConfig
from normfed_server.arms.secure import sums as secure_sums_of_server
from normfed_server.report import promises
from normfed_server.results import layout
from normfed_simulation.run_folder import Run

pytestmark = pytest.mark.xdist_group("secure sums")
LEAST_P = 1e-6  # the noise is another in every run of the test
SECURE = {"minimum_sites": 4, "noise": "distributed"}


@pytest.fixture(scope="module")
def custody(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, CustodyConfig]:
    return secure_runs.hospitals(tmp_path_factory.mktemp("hospitals") / "h", data, noise_from_sites=3)


@pytest.fixture
def totals(monkeypatch: pytest.MonkeyPatch) -> list[Arrays]:
    """Filled with every sum that the server reads."""
    found: list[Arrays] = []

    def total_sums(total: Arrays, point: Any, grid: Any) -> Arrays:
        found.append(parts.total_sums(total, point, grid))
        return found[-1]

    patched = type("Parts", (), vars(parts) | {"total_sums": staticmethod(total_sums)})
    monkeypatch.setattr(secure_sums_of_server, "parts", patched)
    return found


def study(epsilon: float = 4.0, **secure: Any) -> StudyConfig:
    return small(model={"name": "atlas"}, privacy={"epsilon": epsilon, "secure_aggregation": SECURE | secure})


def noise_in(total: Arrays, run: Run, asked: StudyConfig, sites: str) -> np.ndarray:
    """Of a sum over these sites, in standard deviations of what is accounted: what contributions leave of it."""
    opened = {config.name: Site(config, asked) for config in read_sites(run.sites_file)}
    atlas = opened["a"].model(asked.model, asked.seed)
    bounded, spent = atlas.bounded("moments"), spending(asked, atlas.phases())
    assert bounded is not None
    assert spent is not None
    assert spent.sums is not None
    left = {name: total[name] for name in bounded.shapes()}
    for site in sites:
        cohort, secret = opened[site].training_cohort(), SecretNoise(bytes(32))
        plain = released(bounded, cohort, np.random.default_rng, secret, 0.0)
        left = {name: array - plain[name] for name, array in left.items()}
    return np.concatenate([array.ravel() for array in left.values()]) / spent.sums.noise_multiplier


@pytest.mark.parametrize("gone", ["", "cd"])
def test_a_sum_has_the_noise_of_the_sites_in_it_whoever_drops_out(
    data: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, totals: list[Arrays], gone: str
) -> None:
    secure_runs.forgiving(monkeypatch)
    asked = study(colluding_sites=0)  # six may lose two; four add all the noise

    def tamper(request: Message, reply: Message) -> Message:
        for site in gone:
            reply = drop_out(site, "train.sums", "train.sums")(request, reply)
        return reply

    run = prepare(asked, tmp_path / "s", data, scans)
    play(run, tamper)
    sites = "".join(site for site in SITES if site not in gone)
    found = noise_in(totals[0], run, asked, sites)
    assert found.size > 60
    assert stats.kstest(found / math.sqrt(len(sites) / 4), "norm").pvalue > LEAST_P
    cumulated = stats.chi2.cdf((found**2).sum() * 4 / len(sites), found.size)
    assert LEAST_P < cumulated < 1 - LEAST_P


def test_a_run_of_hospitals_claims_the_epsilon_of_the_sum_and_says_what_a_share_alone_is_worth(
    data: Path, scans: Path, tmp_path: Path, custody: dict[str, CustodyConfig]
) -> None:
    results = layout.read(play(prepare(study(), tmp_path / "s", data, scans, custody)))
    assert results.privacy is not None
    people = results.privacy.people
    assert people is not None
    (claimed,) = people.models.values()
    assert (claimed.noise_sites, people.noise_sites) == (3, 3)
    assert 3.9 < claimed.epsilon <= 4
    share = SampledGaussian(claimed.mechanisms[0].noise_multiplier / math.sqrt(3))
    assert claimed.alone == pytest.approx(accounting.epsilon([share], 1e-5))
    assert "as long as 3 hospitals of every sum add their shares" in promises.summary(results.privacy)
    (gap,) = [gap for gap in promises.gaps(results) if "the only one to add noise" in gap.what]
    assert f"epsilon would be {promises.upwards(people.alone)} in the place of 4" in gap.why


def rounds(noise: str) -> StudyConfig:
    """One step of gradient descent over everybody, whose gradients are of one person each."""
    network = {"name": "autoencoder", "size": 32, "filters": 8, "most_filters": 16, "latent": 8, "norm": "group"}
    return small(
        model=network,
        federation={"minimum_cohort": 4, "rounds": 1, "optimiser": "sgd", "learning_rate": 0.5},
        privacy={
            "epsilon": 4.0,
            "sampling_rate": 1.0,
            "steps_per_round": 1,
            "samples_per_patient": 4,
            "secure_aggregation": {"minimum_sites": 4, "noise": noise},
        },
    )


def test_a_round_of_one_step_is_that_of_everybody_with_the_noise_of_all_sites(
    data: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = rounds("distributed")

    def noise_key(job: Job[Any], purpose: str) -> bytes:
        """The same samples in all runs."""
        return derived_key(bytes(32), job.site.config.name, purpose)

    monkeypatch.setattr(Job, "noise_key", noise_key)
    run = prepare(asked, tmp_path / "n", data, scans)
    noisy = model(play(run))
    monkeypatch.setattr(SecretNoise, "noised", lambda _self, values, _scale: values)
    monkeypatch.setattr(NoiseShare, "noised", lambda self, total, _noise: total * self.step)
    plain = model(play(prepare(rounds("each-site"), tmp_path / "p", data, scans)))
    found = model(play(prepare(asked, tmp_path / "s", data, scans)))
    for name, array in plain.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6, err_msg=name)
    spent = spending(asked, [Phase("training", "averaged")])
    assert spent is not None
    assert spent.round is not None
    people = sum(Site(config, asked).training_people for config in read_sites(run.sites_file))
    scale = 0.5 * spent.round.noise_multiplier * math.sqrt(6 / 3) / people
    noise = np.concatenate([(noisy[name] - found[name]).ravel() for name in found]) / scale
    assert noise.size > 1000
    assert stats.kstest(noise, "norm").pvalue > LEAST_P
