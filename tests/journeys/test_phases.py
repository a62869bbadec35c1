"""Whole studies with what no shipped model needs: sums until convergence, several averaged phases, transforms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
import yaml
from commands import assert_same, normfed, run_folder, weights
from learning import sum_up
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from toys import Mixture, MixtureConfig, SiteCentring, TwoPhases, normal_values

from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Site
from normfed_common.foundation import arrays as named
from normfed_common.foundation import seeds
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.learner import NETWORK
from normfed_common.models.combined.pipeline import Pipeline
from normfed_common.studies import load_study
from normfed_common.study.base import Frozen
from normfed_common.transforms.transformed import TransformedCohort
from normfed_server.sites.asking import Asker

pytestmark = pytest.mark.xdist_group("journeys")

NOTHING_BESIDE = {"local": False, "pooled": True, "baselines": []}
LOCAL_BESIDE = {"local": True, "pooled": False, "baselines": []}


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    with toys.registered():
        yield


def study_with(study_file: Path, path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**yaml.safe_load(study_file.read_text()), **changes}))
    return path


def simulate(study: Path, out: Path) -> Path:
    result = normfed("simulate", study, "--out", out, "--workers", 0, "--quiet")
    assert result.exit_code == 0, result.output
    return run_folder(out)


def site_of(run: Path, name: str) -> Site:
    config = next(config for config in read_sites(run / "sites.json") if config.name == name)
    return Site(config, load_study(run / "study.yaml"))


@pytest.fixture(scope="module")
def mixture(study_file: Path, hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Centred scans, then a mixture of two by expectation maximisation."""
    folder = tmp_path_factory.mktemp("mixture")
    path = study_with(
        study_file,
        folder / "s.yaml",
        transforms=["centring"],
        model={"name": "toy-mixture", "rounds": 300},
        comparisons=NOTHING_BESIDE,
    )
    return simulate(path, folder / "runs")


def test_federated_expectation_maximisation_ends_where_that_of_all_people_in_one_place_does(mixture: Path) -> None:
    site = site_of(mixture, "pooled")
    model = site.model({"name": "toy-mixture", "components": 2, "rounds": 300}, site.study.seed)
    sum_up(model, site.training_cohort())
    expected, found = model.share(), weights(mixture)
    assert set(found) == set(expected) > {"sums.transform-1-means.sum", "sums.em.responsibility"}
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-9, err_msg=name)


def test_it_takes_the_steps_that_scikit_learn_takes(mixture: Path) -> None:
    site, turns = site_of(mixture, "pooled"), len(sum_events(mixture)) - 1
    model = site.model({"name": "toy-mixture", "components": 2, "rounds": 300}, site.study.seed)
    assert isinstance(model, Pipeline)
    model.load(weights(mixture))
    inner, cohort, start = model.model, site.training_cohort(), Mixture(MixtureConfig(), site.setting)
    assert isinstance(inner, Mixture)
    x = np.concatenate([normal_values(model.transforms[0].transform(cohort.scan(i)))[0] for i in range(len(cohort))])
    oracle = GaussianMixture(
        2,
        weights_init=start.weights,
        means_init=start.means[:, None],
        precisions_init=1 / start.variances[:, None, None],
        tol=0,
        reg_covar=0,
        max_iter=turns,
    )
    with pytest.warns(ConvergenceWarning):
        oracle.fit(x[:, None])
    np.testing.assert_allclose(oracle.means_[:, 0], inner.means, rtol=1e-6)
    np.testing.assert_allclose(oracle.weights_, inner.weights, rtol=1e-6)
    np.testing.assert_allclose(oracle.covariances_.ravel(), inner.variances, rtol=1e-6)


def sum_events(run: Path) -> list[dict[str, Any]]:
    """One for every round of sums of the federated model."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "stage" and event["arm"] == "federated"]


def test_a_phase_ends_when_nothing_changes_any_more_and_not_before(mixture: Path) -> None:
    assert 5 < len(sum_events(mixture)) < 300


def test_uncertainty_and_extras_lie_beside_the_anomaly_on_the_persons_scan(mixture: Path) -> None:
    names = {path.name.partition("desc-")[2] for path in mixture.glob("sites/a/maps/*.nii.gz")}
    assert names == {"anomaly_map.nii.gz", "uncertainty_map.nii.gz", "first_map.nii.gz", "pvalue_map.nii.gz"}


def test_sums_that_are_interrupted_between_two_of_a_phases_rounds_go_on_there(
    mixture: Path, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study_with(
        study_file,
        tmp_path / "s.yaml",
        transforms=["centring"],
        model={"name": "toy-mixture", "rounds": 300},
        comparisons=NOTHING_BESIDE,
    )
    heard, asked = Asker.heard, []

    def dying(self: Asker, messages: Any, *rest: Any, **more: Any) -> Any:
        asked.append(1)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return heard(self, messages, *rest, **more)

    monkeypatch.setattr(Asker, "heard", dying)
    assert normfed("simulate", path, "--out", tmp_path / "runs", "--workers", 0, "--quiet").exit_code != 0
    monkeypatch.undo()
    interrupted = run_folder(tmp_path / "runs")
    assert not (interrupted / "metrics.json").exists()
    assert normfed("simulate", "--resume", interrupted, "--workers", 0, "--quiet").exit_code == 0
    assert_same(weights(interrupted), weights(mixture))


@pytest.fixture(scope="module")
def two_phases(study_file: Path, hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-phases")
    path = study_with(study_file, folder / "s.yaml", model={"name": "two-phases"}, comparisons=LOCAL_BESIDE)
    return simulate(path, folder / "runs")


def by_hand(site: Site, cohort: Cohort) -> dict[str, np.ndarray]:
    """Two rounds of the encoder's phase, then three of the decoder's, with nothing of ours around them."""
    model = TwoPhases(TwoPhases.Config(), site.setting)
    for number in range(1, 6):
        phase, parts = ("encoding", ("encoder", "adapter")) if number <= 2 else ("decoding", ("decoder",))
        trained = [parameter for part in parts for parameter in model.parts[part].parameters()]
        optimiser = torch.optim.Adam(trained, lr=site.study.federation.learning_rate, fused=True)
        rng = seeds.generator(site.study.seed, "training", site.config.name, number, 0)
        for batch in model.batches(phase, cohort, rng):
            model.network.zero_grad()  # type: ignore[union-attr]
            model.loss(phase, batch, torch.Generator()).mean().backward()
            optimiser.step()
    return model.share()


def test_two_averaged_phases_at_one_site_are_plain_training_of_one_part_and_then_the_other(two_phases: Path) -> None:
    torch.set_num_threads(1)
    site = site_of(two_phases, "a")
    assert_trained(two_phases, by_hand(site, site.training_cohort()))


def assert_trained(run: Path, expected: dict[str, np.ndarray]) -> None:
    """Whether site a's own model has these weights, but for those that stay with it."""
    found = named.load(run / "arms" / "local-a" / "model.safetensors")
    kept = {name for name in expected if name.startswith(f"{NETWORK}adapter")}
    assert_same(found, {name: array for name, array in expected.items() if name not in kept})


def test_a_site_trains_on_scans_that_have_been_changed_by_what_a_transform_keeps_there(
    study_file: Path, hospitals: Path, tmp_path: Path
) -> None:
    path = study_with(
        study_file,
        tmp_path / "s.yaml",
        transforms=["site-centring"],
        model={"name": "two-phases"},
        comparisons=LOCAL_BESIDE,
    )
    run = simulate(path, tmp_path / "runs")
    torch.set_num_threads(1)
    site = site_of(run, "a")
    cohort, centring = site.training_cohort(), SiteCentring(Frozen(), site.setting)
    centring.personalise(cohort, seeds.generator(site.study.seed, "personalise", "transform-1"))
    assert (centring.mean != 0).all()
    assert_trained(run, by_hand(site, TransformedCohort(cohort, [centring])))


def test_a_part_that_is_personal_leaves_no_site_and_is_scored_with(two_phases: Path) -> None:
    assert {name.split(".")[1] for name in weights(two_phases)} == {"encoder", "decoder"}
    kept = [named.load(path) for path in sorted(two_phases.glob("sites/*/personal/federated/*.safetensors"))]
    assert len(kept) >= 3
    assert all({name.split(".")[1] for name in arrays} == {"adapter"} for arrays in kept)


def test_a_part_that_a_phase_does_not_train_stays_as_it_was_to_the_last_bit(two_phases: Path, tmp_path: Path) -> None:
    """After five rounds the encoder is what it was after two."""
    metrics = json.loads((two_phases / "metrics.json").read_text())
    assert [entry["round"] for entry in metrics["rounds"]] == [1, 2, 3, 4, 5]
    after_two, header = named.read(two_phases / "arms" / "federated" / "progress.safetensors")
    assert header["round"] == 5
    found = weights(two_phases)
    for name in found:
        np.testing.assert_array_equal(after_two[f"0/{name}"], found[name])
