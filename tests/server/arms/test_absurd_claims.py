"""A site may say what it likes of its people, losses and steps: what is made of it stays within what is possible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import normfed
from hypothesis import given, settings
from hypothesis import strategies as st
from members import fingerprint_of
from run_results import run_results
from scripted import PEOPLE, STEP, ScriptedGrid, federation, mean_of, moved, run
from synthetic import setting

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, UserError, WireError
from normfed_common.learning.entries import build
from normfed_common.metrics import histograms
from normfed_common.metrics.calibration import NormalVoxels
from normfed_common.metrics.histograms import COARSE_BINS
from normfed_common.metrics.tissue import CLASSES
from normfed_common.models.catalogue import MODELS
from normfed_common.privacy.disclosure import reach
from normfed_common.studies import resolve, validate_strategy
from normfed_common.study.config import StudyConfig
from normfed_common.wire.answers import Answer, Summed, Trained
from normfed_server.arms.evaluation import Evaluator
from normfed_server.arms.strategy import Snapshot
from normfed_server.report import participation
from normfed_server.report.words import warnings
from normfed_server.sites import claims
from normfed_server.state import admission
from normfed_server.state.folder import ServerConfig, create
from normfed_server.steps import progress as checkpoints
from normfed_server.steps.base import Update
from normfed_server.steps.catalogue import make_step
from normfed_server.steps.progress import Progress


def claiming(**claims: Any) -> Any:
    """An honest update under a header that claims something."""

    def answer(site: str, arrays: Arrays) -> tuple[Answer, Arrays]:
        trained = {n: (a + np.float32(STEP[site])).astype(np.float32) for n, a in arrays.items()}
        told = {"loss": 1.0, "received_loss": 1.0, "steps": 3} | claims
        header = {name: told.pop(name) for name in ("seconds", "notes") if name in told}
        payload = Trained.model_construct(**told)  # as a liar does, unchecked
        return Answer.model_construct(site=site, subjects=5, payload=payload, **header), trained

    return answer


def liar(**claims: Any) -> ScriptedGrid:
    """Honest sites a, b, c; d claims something."""
    return ScriptedGrid(lambda site, _: claiming(**claims) if site == "d" else claiming())


def of(study: StudyConfig, strategy: str, **federation_changes: Any) -> tuple[StudyConfig, dict[str, Any]]:
    entry = validate_strategy({"name": strategy}, "test")
    return federation(study, **federation_changes), {"strategy": entry}


@pytest.mark.parametrize(
    ("strategy", "claims", "reason"),
    [
        ("qfedavg", {"received_loss": 1e39}, "received loss is 1e+39"),
        ("qfedavg", {"received_loss": None}, "does not say the loss"),
        ("fednova", {"steps": 10**9}, "1,000,000,000 steps"),
        ("fednova", {"steps": 10**400}, "wrong at ('payload', 'train.round', 'steps')"),
        ("fednova", {"steps": 0}, "does not say how many steps"),
        ("scaffold", {"steps": 0}, "does not say how many steps"),
        ("fedavg", {"loss": -1e300}, "loss is -1e+300"),
        ("fedavg", {"seconds": 5e8}, "worked for 5e+08 s"),
        ("fedavg", {"cluster": 9_999}, None),
    ],
)
def test_an_absurd_claim_sets_its_site_aside_and_the_others_models_are_kept(
    study: StudyConfig, tmp_path: Path, strategy: str, claims: dict[str, Any], reason: str | None
) -> None:
    small, arm = of(study, strategy)
    progress, (entry,) = run(small, liar(**claims), tmp_path / "lie", **arm)
    if reason is None:  # the claim is about nothing that this strategy asks for
        assert entry["outcomes"]["d"] == "took part"
        return
    assert entry["outcomes"] == {"a": "took part", "b": "took part", "c": "took part", "d": "set aside"}
    assert reason in entry["reasons"]["d"]
    three = {site: PEOPLE[site] for site in "abc"}
    without, _ = run(small, ScriptedGrid(lambda *_: claiming(), three), tmp_path / "three", sites="abc", **arm)
    for name, array in without.models[0].items():
        np.testing.assert_allclose(progress.models[0][name], array, rtol=1e-6)


def test_a_model_that_is_not_finite_is_not_kept_and_the_round_goes_on_without_whoever_stands_out(
    study: StudyConfig, tmp_path: Path
) -> None:
    """Each claim is possible, but (10^5)^10 is more than float32 can hold."""
    small, _ = of(study, "qfedavg")
    arm = {"strategy": validate_strategy({"name": "qfedavg", "q": 10.0}, "test")}
    grid = liar(received_loss=1e5)
    progress, (entry,) = run(small, grid, tmp_path / "lie", **arm)
    assert entry["outcomes"]["d"] == "set aside"
    assert "the next model would not be finite" in entry["reasons"]["d"]
    assert "its weight is 1e+50" in entry["reasons"]["d"]
    assert set(entry["loss"]) == set(progress.used) == {"a", "b", "c"}
    three = {site: PEOPLE[site] for site in "abc"}
    without, _ = run(small, ScriptedGrid(lambda *_: claiming(), three), tmp_path / "three", sites="abc", **arm)
    for name, array in without.models[0].items():
        np.testing.assert_array_equal(progress.models[0][name], array)
    # The others were asked for the very same, which their outbox answers.
    asked = [(site, request.model_dump_json()) for site, _, request, _ in grid.asked if site != "d"]
    assert len(asked) == 6
    assert len(set(asked)) == 3


def kept(folder: Path, study: StudyConfig) -> tuple[int, int]:
    """Rounds finished, and the phase, that a run has on disk: the sums before its first round are the first phase."""
    (path,) = folder.rglob("progress.safetensors")
    found = checkpoints.load(path, study.digest)
    assert found is not None
    return found.round, found.phase


def test_a_model_that_is_absurd_with_nobody_to_blame_stops_the_run_and_leaves_the_last(
    study: StudyConfig, tmp_path: Path
) -> None:
    small = federation(study, rounds=2)
    arm = {"strategy": validate_strategy({"name": "fedavgm", "server_learning_rate": 100.0}, "test")}
    tight = federation(study, rounds=2, largest_update=10.0)
    with pytest.raises(
        RunError, match=r"Round 1 of federated: the next model's norm would be .* no site .* stands out"
    ):
        run(tight, ScriptedGrid(lambda *_: claiming()), tmp_path, **arm)
    assert kept(tmp_path, tight) == (0, 1)
    progress, _ = run(small, ScriptedGrid(lambda *_: claiming()), tmp_path / "wide", **arm)
    assert progress.round == 2


def test_what_the_server_remembers_is_held_against_its_bound_too(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FedAdam's second moment is finite in the model and not in the memory: nothing is kept."""
    from normfed_server.steps.adaptive import Adam

    end = Adam.end

    def poisoned(self: Adam, progress: Progress) -> None:
        end(self, progress)
        progress.memory["v/network.decoder.0.bias"] = np.full_like(progress.memory["v/network.decoder.0.bias"], np.inf)

    monkeypatch.setattr(Adam, "end", poisoned)
    small, arm = of(study, "fedadam")
    with pytest.raises(RunError, match="what the server remembers of the rounds would have a norm of inf"):
        run(small, ScriptedGrid(lambda *_: claiming()), tmp_path, **arm)
    assert kept(tmp_path, small) == (0, 1)


STRATEGIES = [
    *("fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad", "qfedavg", "fednova", "scaffold", "median"),
    *("trimmed-mean", "norm-clipping", "ifca", "cfl", "krum", "multi-krum"),
]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_step_that_is_taken_back_leaves_no_trace(name: str, study: StudyConfig) -> None:
    """Whatever a step changes, a snapshot gives back, bit for bit: no step writes into an array that it found."""
    entry = validate_strategy({"name": name}, "test")
    rng = np.random.default_rng(0)
    first = {"network.x": rng.standard_normal(40).astype(np.float32)}
    progress, sites = Progress([first]), "abcde"
    step = make_step(entry, federation(study, rounds=4).federation)
    step.prepare(progress, lambda _: {"network.x": rng.standard_normal(40).astype(np.float32)})

    def play(weights: dict[str, np.ndarray]) -> None:
        step.begin(progress, dict.fromkeys(sites, 3))
        for site in sites:
            step.add(Update(site, 3, {"network.x": weights[site].copy()}, 1.0, 2, 0))
        step.end(progress)

    play({site: rng.standard_normal(40).astype(np.float32) for site in sites})
    progress.round = 2
    before = Snapshot(progress)
    kept = [{n: a.copy() for n, a in model.items()} for model in progress.models]
    memory, clusters = {n: a.copy() for n, a in progress.memory.items()}, dict(progress.clusters)
    play({site: (site in "ab") * np.float32(9) + rng.standard_normal(40).astype(np.float32) for site in sites})
    before.restore(progress)
    assert progress.clusters == clusters
    assert progress.memory.keys() == memory.keys()
    for found, expected in zip([*progress.models, progress.memory], [*kept, memory], strict=True):
        for array_name, array in expected.items():
            np.testing.assert_array_equal(found[array_name], array)


BOASTED = {"a": 100_000, "b": 5, "c": 3, "d": 2}


def test_a_boaster_has_no_more_than_the_studys_largest_share(study: StudyConfig, tmp_path: Path) -> None:
    """a's 100,000 people are cut to the level t = 0.4 (t + 10)."""
    small = federation(study, largest_share=0.4)
    progress, (entry,) = run(small, ScriptedGrid(lambda s, _: STEP[s], BOASTED), tmp_path)
    level = 0.4 * 10 / 0.6
    expected = (level * 0.1 + 5 * 0.2 + 3 * 0.4 + 2 * 0.8) / (level + 10)
    assert moved(small, progress) == pytest.approx(expected, rel=1e-4)
    assert entry["shares"] == pytest.approx({"a": 0.4, "b": 0.3, "c": 0.18, "d": 0.12})


def test_a_high_loss_has_no_more_than_the_studys_largest_share(study: StudyConfig, tmp_path: Path) -> None:
    small, arm = of(study, "qfedavg", largest_share=0.4)
    _, (entry,) = run(small, liar(received_loss=1e9), tmp_path, **arm)
    assert entry["shares"] == pytest.approx({"a": 0.2, "b": 0.2, "c": 0.2, "d": 0.4})


def test_without_a_bound_a_boaster_dominates_and_it_is_said(study: StudyConfig, tmp_path: Path) -> None:
    small = federation(study, rounds=2)
    progress, history = run(small, ScriptedGrid(lambda s, _: STEP[s], BOASTED), tmp_path)
    assert moved(small, progress) == pytest.approx(0.2, rel=1e-2)  # a's, in each of the two rounds
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    notes = [event for event in events if event["event"] == "note"]
    assert [(note["site"], note["text"]) for note in notes] == [
        ("a", "has 100% of the weight; federation.largest_share bounds it")
    ]
    metrics = run_results(history)
    (sentence,) = warnings(metrics, {})
    assert sentence.startswith("a had up to 100% of the weight in a round of the federated model")
    (table,) = participation.tables(metrics)
    assert table.shares == pytest.approx({s: n / sum(BOASTED.values()) for s, n in BOASTED.items()})


def test_even_shares_warn_nobody(study: StudyConfig, tmp_path: Path) -> None:
    progress, history = run(federation(study), ScriptedGrid(lambda s, _: STEP[s]), tmp_path)
    assert history[0]["shares"] == pytest.approx({s: n / 20 for s, n in PEOPLE.items()})
    assert "federation.largest_share" not in (tmp_path / "events.jsonl").read_text()
    assert moved(federation(study), progress) == pytest.approx(mean_of(*"abcd"), rel=1e-4)


def test_the_largest_site_that_lies_does_not_stop_the_others(study: StudyConfig, tmp_path: Path) -> None:
    """Nobody waits for the largest once its answer is there and cannot be used."""
    small, arm = of(study, "fednova")
    grid = ScriptedGrid(lambda site, _: claiming(steps=10**9) if site == "a" else claiming())
    _, (entry,) = run(small, grid, tmp_path, **arm)
    assert entry["outcomes"] == {"a": "set aside", "b": "took part", "c": "took part", "d": "took part"}
    assert entry["reasons"]["a"].endswith("(the model's most_batches or the study's privacy says so)")


@pytest.mark.parametrize("name", ["siamese", "autoencoder"])
def test_no_honest_epoch_has_more_batches_than_the_server_believes(name: str, study: StudyConfig) -> None:
    from synthetic import People

    entry = {"name": name, "batch_size": 3}
    entry |= {"patch_size": 9, "pairs_per_subject": 7} if name == "siamese" else {"size": 32, "filters": 8}
    resolved = resolve(study.model_dump(mode="json") | {"model": entry}, "test").model
    model = build(MODELS, resolved, setting())
    for count in (1, 2, 5):
        batches = sum(1 for _ in model.batches("training", People(count), np.random.default_rng(0)))
        assert 1 <= batches <= model.most_batches("training", count)


def test_the_operator_bounds_the_people_of_a_site(tmp_path: Path) -> None:
    home = create(tmp_path / "server", ServerConfig(name="F", address="fed.example.org:8000"))
    where = ("--home", str(home.folder))
    assert normfed("server", "enrol", "a", "--people", "30", *where).exit_code == 0
    assert normfed("server", "enrol", "b", *where).exit_code == 0
    assert admission.enrolled(home) == {"a": 30}
    admission.accept(home, "a", "ssh-ed25519 AAAA", fingerprint_of("a"))
    assert admission.enrolled(home) == {"a": 30}
    assert "30 people" in normfed("server", "people", "a", "30", *where).output
    assert normfed("server", "people", "b", "7", *where).exit_code == 0
    assert normfed("server", "enrol", "b", "--again", *where).exit_code == 0
    assert admission.enrolled(home) == {"a": 30, "b": 7}
    assert admission.members(home)["a"].state == "accepted"
    with pytest.raises(UserError, match="No site is called c"):
        admission.bound(home, "c", 3)
    assert normfed("server", "people", "a", "0", *where).exit_code == 2


def location_sums(mean: float = 0.0, seed: int = 0) -> Arrays:
    """Of 50 latents at each of the first two of three places, standard normal around ``mean``."""
    latents = mean + np.random.default_rng(seed).standard_normal((2, 50, 16))
    first, second = np.triu_indices(16)
    products = np.einsum("lni,lnj->lij", latents, latents)[:, first, second]
    found = {"count": np.full(2, 50.0), "sum": latents.sum(1), "products": products}
    return {name: np.concatenate([value, np.zeros_like(value[:1])]) for name, value in found.items()}


PROGRESS = "arms/federated/progress.safetensors"


LOCATION = {"name": "siamese", "patch_size": 9, "one_class": {"fit_on": "location", "spacing_mm": 8.0}}


def by_location(study: StudyConfig, folder: Path, lie: Arrays) -> None:
    """A run whose sites send sums per location; d lies."""

    def behaviour(site: str, round: int) -> Any:
        if round:
            return STEP[site]
        return lambda name, _: (
            Answer(site=name, payload=Summed()),
            lie if name == "d" else location_sums(seed=ord(name)),
        )

    small = resolve(federation(study).model_dump(mode="json") | {"model": LOCATION}, "test")
    run(small, ScriptedGrid(behaviour), folder)


def test_of_possible_sums_that_make_no_model_together_none_is_kept(study: StudyConfig, tmp_path: Path) -> None:
    """Latents of 10^7 at a place of its own hide a variance below 0 in what rounding may be."""
    lie = {name: np.zeros_like(value) for name, value in location_sums().items()}
    lie["count"][2], lie["sum"][2, 0] = 2, 2e7
    lie["products"][2, 0], lie["products"][2, 16] = 2e14, -1e5  # of z_0^2 and z_1^2
    by_location(study, tmp_path / "honest", location_sums(seed=9))
    assert any("sums.moments" in name for name in named.load(tmp_path / "honest" / PROGRESS))
    with pytest.raises(RunError, match=r"of the sums of moments of all sites no model can be made"):
        by_location(study, tmp_path / "lie", lie)
    assert not any("sums.moments" in name for name in named.load(tmp_path / "lie" / PROGRESS))


LIES = {
    "location": (
        "moments",
        {"products": np.full((3, 136), -1e9) * [[1], [1], [0]]},
        "sums and products contradict each other",
    ),
    "variance": ("variance", {"sum": np.array(1e9)}, "contradict each other"),
    "machine": ("machine", {"weights": np.full(16, 1e9)}, "larger than training makes them"),
}


@pytest.mark.parametrize("what", LIES)
def test_sums_of_latents_that_nobody_has_are_refused(what: str) -> None:
    """Once every site that was served the location's model failed, for one site's products."""
    stage, lie, reason = LIES[what]
    entry = LOCATION if what == "location" else LOCATION | {"one_class": {"fit_on": "federated", "features": 16}}
    honest: dict[str, Arrays] = {
        "location": location_sums(),
        "variance": {"entries": np.array(800.0), "sum": np.array(3.0), "squares": np.array(800.0)},
        "machine": {"people": np.array(5.0), "weights": np.ones(16), "offset": np.ones(1)},
    }
    model = build(MODELS, entry, setting(shape=(1, 1, 1)))  # as the server does, which never sees the grid
    assert claims.sums(honest[what], model, stage, 5) is honest[what]
    with pytest.raises(WireError, match=reason):
        claims.sums(honest[what] | lie, model, stage, 5)


@pytest.mark.parametrize(("most", "expected"), [(1.0, 1.0), (0.3, 0.75)])
def test_no_site_has_more_than_its_largest_share_of_the_threshold(
    study: StudyConfig, tmp_path: Path, most: float, expected: float
) -> None:
    """a claims a million voxels at 1 beside the hundred of each other site, at 1/4, 1/2 and 3/4.

    Cut to 3/10 of all, a has no part in the 7/10 that lie below: the quantile at 0.69 is the last honest site's.
    """
    small = federation(study, largest_share=most)
    small = resolve(small.model_dump(mode="json") | {"evaluation": {"specificity": 0.69}}, "test")
    counts = {s: np.zeros(COARSE_BINS, np.int64) for s in "abcd"}
    for site, (place, voxels) in {"a": (-1, 10**6), "b": (16_383, 100), "c": (32_767, 100), "d": (49_151, 100)}.items():
        counts[site][place] = voxels
    evaluator = object.__new__(Evaluator)
    evaluator.study = small
    found = histograms.quantile(evaluator._shared(counts), 0.0, 1.0, small.evaluation.specificity)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("by", ["whole-brain", "tissue"])
@pytest.mark.parametrize(("most", "expected"), [(1.0, 0.997), (0.3, 0.3)])
def test_no_site_has_more_than_its_largest_share_of_what_p_values_compare_with(
    study: StudyConfig, most: float, expected: float, by: str
) -> None:
    """a claims ten million voxels at 1 in every class beside the ten thousand of each other site, all of them lower."""
    raw = federation(study, largest_share=most).model_dump(mode="json")
    evaluator = object.__new__(Evaluator)
    evaluator.study = resolve(raw | {"evaluation": {"threshold_by": by}}, "test")
    counts = {site: np.zeros((len(CLASSES), COARSE_BINS), np.int64) for site in "abcd"}
    for site, (place, voxels) in {
        "a": (-1, 10**7),
        "b": (16_383, 10**4),
        "c": (32_767, 10**4),
        "d": (49_151, 10**4),
    }.items():
        counts[site][:, place] = voxels
        counts[site][:, place + (site != "a")] += 1  # up to the next voxel those of a bin may reach
    edges = np.array([0.0, 0.3, 0.6, 0.9, 1.0])
    found = evaluator._compared_with(counts, 0.0, 1.0, edges)
    assert found.shape == (len(CLASSES), len(edges) + 1)
    p = NormalVoxels(edges, found).p_values(np.full(len(CLASSES), 0.95, np.float32), np.arange(len(CLASSES)))
    np.testing.assert_allclose(p, expected, rtol=0.002)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=4), st.floats(0.05, 1), st.integers(0, 10**6))
def test_parts_of_voxels_never_make_a_p_value_too_small(
    study: StudyConfig, sizes: list[float], most: float, seed: int
) -> None:
    """Cut counts are no whole numbers: as many or more are left at or above every edge, by less than one."""
    rng, edges = np.random.default_rng(seed), np.linspace(0, 1, 12)
    evaluator = object.__new__(Evaluator)
    evaluator.study = federation(study, largest_share=most)
    counts = {}
    for number, size in enumerate(sizes):
        counts[str(number)] = np.zeros((len(CLASSES), COARSE_BINS), np.int64)
        counts[str(number)][:, rng.integers(COARSE_BINS, size=5)] = round(size)
    found = evaluator._compared_with(counts, 0.0, 1.0, edges)
    kept = evaluator._shared({site: np.stack([reach(row) for row in found]) for site, found in counts.items()})
    exact = np.stack([[row[start:].sum() for start in places(edges)] for row in kept])
    above = np.cumsum(found[:, ::-1], 1)[:, ::-1][:, 1:]
    assert (above >= exact - 1e-6 * exact.max()).all()
    assert (above < exact + 1 + 1e-6 * exact.max()).all()


def places(edges: np.ndarray) -> np.ndarray:
    """The first coarse bin over [0, 1] whose centre is at or above each edge."""
    centres = (np.arange(COARSE_BINS) + 0.5) / COARSE_BINS
    return np.searchsorted(centres, edges)
