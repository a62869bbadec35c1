"""Every algorithm on federations of quadratics: closed forms, equivalences, and optima that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quadratic import DECODER, STEM, Bowl, Federation, Quadratic, bowls

from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteError, StudyError
from normfed_common.studies import validate_strategy
from normfed_common.wire.offers import Offer

RATE, STEPS = 0.1, 3
TWO = ((1.0, -2.0), (5.0, 4.0))
NORM = "network.norm.weight"


def after(start: np.ndarray, b: np.ndarray, a: float = 1.0, steps: int = STEPS) -> np.ndarray:
    """K steps of gradient descent on a/2 ||w - b||^2."""
    return b + (1 - RATE * a) ** steps * (start - b)


def test_fedavg_is_the_closed_form(tmp_path: Path) -> None:
    sites = bowls(*TWO, people=(3, 1))
    found = Federation("fedavg", sites, tmp_path).run().models[0][STEM]
    trained = [after(np.zeros(2), site.b) for site in sites.values()]
    np.testing.assert_allclose(found, 0.75 * trained[0] + 0.25 * trained[1], rtol=1e-6)


def test_fedprox_is_the_closed_form_with_the_squared_norm(tmp_path: Path) -> None:
    mu, sites = 0.5, bowls((2.0, -1.0))
    federation = Federation({"name": "fedprox", "mu": mu}, sites, tmp_path)
    federation.progress.models[0][STEM] = start = np.array([4.0, 4.0], np.float32)
    target = (sites["a"].b + mu * start) / (1 + mu)
    expected = target + (1 - RATE * (1 + mu)) ** STEPS * (start - target)
    np.testing.assert_allclose(federation.run().models[0][STEM], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("strategy", "count"),
    [
        ({"name": "fedprox", "mu": 0.0}, 2),
        ("scaffold", 1),
        ("fednova", 2),
        ({"name": "fedavgm", "momentum": 0.0}, 2),
        ({"name": "norm-clipping", "norm": 1e6}, 2),
        ({"name": "trimmed-mean", "beta": 0.0}, 2),
        ({"name": "multi-krum", "malicious": 0}, 2),
        ({"name": "qfedavg", "q": 0.0}, 2),
        ({"name": "ditto", "lambda": 1.0}, 2),
        ({"name": "ifca", "clusters": 1}, 2),
        ({"name": "cfl", "from_round": 100}, 2),
        ({"name": "prior-clusters", "clusters": {"all": ["a", "b"]}}, 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_what_reduces_to_fedavg_equals_fedavg(tmp_path: Path, strategy: Any, count: int, optimiser: str) -> None:
    sites = bowls(*TWO[:count])
    plain = Federation("fedavg", sites, tmp_path / "1", optimiser=optimiser).run(4).models[0]
    other = Federation(strategy, sites, tmp_path / "2", optimiser=optimiser).run(4).models[0]
    exact = strategy in ("scaffold",) or (isinstance(strategy, dict) and strategy["name"] in ("fedprox", "ditto"))
    for name in plain:
        np.testing.assert_allclose(other[name], plain[name], rtol=0 if exact else 1e-5, atol=0 if exact else 1e-6)


def optimum(sites: dict[str, Bowl]) -> np.ndarray:
    """Of the sum over people of all losses."""
    weight = sum(site.size * site.a for site in sites.values())
    return sum(site.size * site.a * site.b for site in sites.values()) / weight


def test_scaffold_finds_the_optimum_where_fedavg_drifts(tmp_path: Path) -> None:
    sites = {
        "a": Bowl(3, np.array([1.0, -2.0], np.float32), a=0.2, steps=10),
        "b": Bowl(1, np.array([5.0, 4.0], np.float32), a=3.0, steps=10),
    }
    drifted = Federation("fedavg", sites, tmp_path / "1").run(50).models[0][STEM]
    found = Federation("scaffold", sites, tmp_path / "2").run(50).models[0][STEM]
    np.testing.assert_allclose(found, optimum(sites), rtol=1e-3)
    assert np.abs(drifted - optimum(sites)).max() > 0.3


def test_scaffold_survives_partial_participation(tmp_path: Path) -> None:
    sites = {
        "a": Bowl(2, np.array([1.0, -2.0], np.float32), a=0.2, steps=5),
        "b": Bowl(1, np.array([5.0, 4.0], np.float32), a=3.0, steps=5),
        "c": Bowl(1, np.array([-3.0, 0.0], np.float32), a=1.0, steps=5),
    }
    federation = Federation({"name": "scaffold", "server_learning_rate": 0.3}, sites, tmp_path)
    rng = np.random.default_rng(0)
    tail: list[np.ndarray] = []
    for turn in range(160):
        federation.run(1, only=list(rng.choice(["a", "b", "c"], 2, replace=False)))
        if turn >= 100:
            tail.append(federation.progress.models[0][STEM].copy())
    np.testing.assert_allclose(np.mean(tail, 0), optimum(sites), atol=1e-3)
    control = federation.progress.memory[STEM]
    own = [sites[s].size / 4 * federation.store(s).latest()[f"control/{STEM}"] for s in sites]
    np.testing.assert_allclose(control, np.sum(own, 0), atol=1e-3)  # c = sum p_i c_i, though no c_i was ever sent


def test_an_update_that_was_not_used_leaves_no_control_variate(tmp_path: Path) -> None:
    federation = Federation("scaffold", bowls(*TWO), tmp_path)
    federation.run(2)
    kept = federation.store("a").load(3)
    offer = Offer((federation.progress.models[0],), federation.step.beside(federation.progress))
    federation.train("a", offer, 3)
    federation.progress.round = 3  # round 3 went by without site a: its answer came too late
    outcome, _ = federation.train("a", offer, 4)
    now = federation.store("a").latest()[f"control/{STEM}"]
    control, model = federation.progress.memory[STEM], federation.progress.models[0][STEM]
    expected = kept[f"control/{STEM}"] - control + (model - outcome.arrays[STEM]) / (STEPS * RATE)
    np.testing.assert_allclose(now, expected, rtol=1e-5)


def test_fednova_is_the_closed_form_and_undoes_the_pull_of_many_steps(tmp_path: Path) -> None:
    sites = {
        "a": Bowl(1, np.array([0.0, 0.0], np.float32), steps=1),
        "b": Bowl(1, np.array([4.0, 4.0], np.float32), steps=9),
    }
    federation = Federation("fednova", sites, tmp_path / "1")
    federation.progress.models[0][STEM] = start = np.array([1.0, 1.0], np.float32)
    one = federation.run().models[0][STEM]
    mean = sum(0.5 * (after(start, s.b, steps=s.steps) - start) / s.steps for s in sites.values())
    np.testing.assert_allclose(one, start + 5 * mean, rtol=1e-5)
    nova = federation.run(60).models[0][STEM]
    plain = Federation("fedavg", sites, tmp_path / "2").run(60).models[0][STEM]
    assert abs(nova[0] - 2) < 0.35 * abs(plain[0] - 2)


def test_ditto_without_pull_is_training_alone(tmp_path: Path) -> None:
    sites = bowls(*TWO)
    ditto = Federation({"name": "ditto", "lambda": 0.0}, sites, tmp_path / "ditto", optimiser="adam")
    ditto.run(5)
    for name, site in sites.items():
        alone = Federation("fedavg", {name: site}, tmp_path / name, optimiser="adam").run(5).models[0]
        personal = ditto.store(name).latest()
        for array in alone:
            np.testing.assert_array_equal(personal[array], alone[array])


def test_dittos_personal_model_ends_between_the_site_and_the_global_model(tmp_path: Path) -> None:
    sites, pull = bowls(*TWO), 0.7
    ditto = Federation({"name": "ditto", "lambda": pull}, sites, tmp_path)
    found = ditto.run(50).models[0][STEM]
    for name, site in sites.items():
        expected = (site.b + pull * found) / (1 + pull)
        np.testing.assert_allclose(ditto.store(name).latest()[STEM], expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [("fedbn", {NORM, "network.norm.bias"}), ("fedper", {DECODER}), ("lg-fedavg", {STEM}), ("fedrep", {DECODER})],
)
def test_the_personal_part_stays_and_fits_its_own_site(tmp_path: Path, strategy: str, kept: set[str]) -> None:
    sites = bowls(*TWO)
    federation = Federation(strategy, sites, tmp_path)
    assert personal_arrays(Quadratic(), federation.entry) == kept
    found = federation.run(80).models[0]
    assert all(not kept & set(arrays) for arrays in federation.sent)
    learnt = (kept & {STEM, DECODER, NORM}).pop()
    shared = ({STEM, DECODER} - kept).pop()
    np.testing.assert_allclose(found[shared], np.mean([s.b for s in sites.values()], 0), rtol=1e-3)
    for name, site in sites.items():
        assert set(federation.store(name).latest()) == kept
        np.testing.assert_allclose(federation.store(name).latest()[learnt], site.b, rtol=1e-3)


def test_fedrep_trains_the_personal_part_first(tmp_path: Path) -> None:
    federation = Federation({"name": "fedrep", "personal_epochs": 4}, bowls((1.0, 1.0)), tmp_path)
    found = federation.run().models[0][STEM]
    personal = federation.store("a").latest()[DECODER]
    np.testing.assert_allclose(personal, after(np.zeros(2), np.ones(2), steps=4 * STEPS), rtol=1e-5)
    np.testing.assert_allclose(found, after(np.zeros(2), np.ones(2)), rtol=1e-5)


def test_a_round_that_is_asked_again_gives_the_same_answer(tmp_path: Path) -> None:
    for strategy in ("fedbn", "ditto", "scaffold", "fedrep"):
        federation = Federation(strategy, bowls(*TWO), tmp_path / strategy)
        federation.run(3)
        offer = Offer((federation.progress.models[0],), federation.step.beside(federation.progress))
        first, _ = federation.train("a", offer, 4)
        kept = federation.store("a").latest()
        second, _ = federation.train("a", offer, 4)
        for name in first.arrays:
            np.testing.assert_array_equal(second.arrays[name], first.arrays[name])
        for name, array in federation.store("a").latest().items():
            np.testing.assert_array_equal(array, kept[name])


PLANTED = ((5.0, 5.0), (5.2, 4.8), (4.9, 5.1), (-5.0, -5.0), (-5.1, -4.7), (-4.8, -5.2))


def test_ifca_recovers_planted_clusters(tmp_path: Path) -> None:
    federation = Federation({"name": "ifca", "clusters": 2}, bowls(*PLANTED), tmp_path)
    federation.progress.models[0][STEM] = np.array([1.0, 0.5], np.float32)
    federation.progress.models[1] = {n: -np.abs(a) for n, a in federation.progress.models[1].items()}
    progress = federation.run(60)
    groups = {frozenset(s for s, k in progress.clusters.items() if k == number) for number in (0, 1)}
    assert groups == {frozenset("abc"), frozenset("def")}
    centres = sorted(float(model[STEM].mean()) for model in progress.models)
    np.testing.assert_allclose(centres, [-4.97, 5.0], atol=0.1)


def test_cfl_splits_planted_clusters_once_the_mean_stands_still(tmp_path: Path) -> None:
    federation = Federation({"name": "cfl", "from_round": 20}, bowls(*PLANTED), tmp_path)
    federation.run(19)
    assert len(federation.progress.models) == 1
    progress = federation.run(60)
    groups = {frozenset(s for s, k in progress.clusters.items() if k == number) for number in range(2)}
    assert groups == {frozenset("abc"), frozenset("def")}


def test_cfl_keeps_sites_together_that_agree(tmp_path: Path) -> None:
    federation = Federation({"name": "cfl", "from_round": 1}, bowls(*PLANTED[:3]), tmp_path)
    assert len(federation.run(3).models) == 1


def test_prior_clusters_share_first_and_part_later(tmp_path: Path) -> None:
    clusters = {"up": ["a", "b", "c"], "down": ["d", "e"]}
    federation = Federation(
        {"name": "prior-clusters", "clusters": clusters, "from_round": 6}, bowls(*PLANTED), tmp_path
    )
    federation.run(5)
    assert len(federation.progress.models) == 1
    progress = federation.run(100)
    assert progress.clusters == {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1, "f": 2}  # f is in none: a cluster of its own
    for number, members in enumerate(("abc", "de", "f")):
        centre = np.mean([federation.sites[m].b for m in members], 0)
        np.testing.assert_allclose(progress.models[number][STEM], centre, rtol=1e-3)


def attacked(kind: str) -> Any:
    rng = np.random.default_rng(0)

    def tamper(site: str, arrays: Arrays, received: Arrays) -> Arrays:
        if site != "f":
            return arrays
        change = {
            "sign flip": lambda d: -10 * d,
            "scale": lambda d: 100 * d,
            "noise": lambda d: 50 * rng.standard_normal(d.shape),
        }[kind]
        return {n: (received[n] + change(a - received[n])).astype(np.float32) for n, a in arrays.items()}

    return tamper


@pytest.mark.parametrize("kind", ["sign flip", "scale", "noise"])
def test_robust_steps_survive_one_malicious_site_of_six_and_fedavg_does_not(tmp_path: Path, kind: str) -> None:
    honest = bowls((2.0, 2.0), (2.1, 1.9), (1.9, 2.1), (2.2, 2.0), (1.8, 2.0), (2.0, 2.05))
    distance = {}
    for strategy in ("fedavg", "median", "trimmed-mean", "krum", "multi-krum", "norm-clipping"):
        federation = Federation(strategy, honest, tmp_path / strategy)
        federation.tamper = attacked(kind)
        try:
            with np.errstate(all="ignore"):
                found = federation.run(25).models[0][STEM]
        except SiteError:  # training at a site diverged
            found = np.array([np.inf])
        distance[strategy] = float(np.abs(found - 2).max())
    assert distance["fedavg"] > 1
    for strategy in ("median", "trimmed-mean", "krum", "multi-krum"):
        assert distance[strategy] < 0.3, (strategy, distance)
    assert distance["norm-clipping"] < 0.5 * distance["fedavg"]


def test_every_algorithm_learns(tmp_path: Path) -> None:
    """Five sites that want the same: whatever the algorithm, it must come nearer."""
    extra: dict[str, dict[str, Any]] = {"prior-clusters": {"clusters": {"x": ["a", "b"], "y": ["c", "d", "e"]}}}
    for name in ALGORITHMS:
        entry = {"name": name, **extra.get(name, {})}
        if name.startswith("fedad") or name == "fedyogi":
            entry["server_learning_rate"] = 0.5
        federation = Federation(entry, bowls(*[(3.0, 3.0)] * 5), tmp_path / name)
        progress = federation.run(20)
        personal = federation.store("a").latest()
        found = personal[STEM] if STEM in personal else progress.models[progress.clusters.get("a", 0)][STEM]
        assert np.abs(found - 3).max() < 1.5, name


def test_parts_that_a_model_does_not_have_are_named() -> None:
    entry = validate_strategy({"name": "fedper", "personal": ["head"]}, "test")
    with pytest.raises(StudyError, match=r"no part called head\. Its parts are stem, middle, decoder, normalisation"):
        personal_arrays(Quadratic(), entry)
    entry = validate_strategy({"name": "fedper", "personal": ["stem", "middle", "decoder"]}, "test")
    with pytest.raises(StudyError, match="nothing is left to share"):
        personal_arrays(Quadratic(), entry)
