"""Whole studies under every strategy, on tiny synthetic hospitals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import assert_same, normfed, run_folder, weights
from run_results import run_results

from normfed_client.answering.serving import to_bytes
from normfed_client.hospital.personal import PersonalStore
from normfed_common.algorithms.table import ALGORITHMS
from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import NormfedError, RunError, StudyError
from normfed_common.learning.learner import SUMS
from normfed_common.wire import offers
from normfed_common.wire.messages import decode_request
from normfed_server.events.kinds import Event, RoundDone
from normfed_server.events.log import EventLog
from normfed_simulation.engines import local

pytestmark = pytest.mark.xdist_group("strategies")

NOTHING_BESIDE: dict[str, Any] = {"local": False, "pooled": False, "baselines": []}
# One patient per site and one healthy person: to test a model takes longer than to train it, and there are many.
FEW = {
    "held_out_people": 1,
    "exclude": dict.fromkeys(("sub-01008", "sub-01009", "sub-02007", "sub-03006"), "the site has another patient"),
}


def few_tested(study_file: Path) -> dict[str, Any]:
    """The tiny study, whose models are tested on fewer people."""
    raw: dict[str, Any] = yaml.safe_load(study_file.read_text())
    raw["data"] |= FEW
    raw["federation"]["minimum_cohort"] = 1
    return raw


def study_with(study_file: Path, path: Path, **changes: Any) -> Path:
    """The same with other sections."""
    raw = few_tested(study_file)
    for key, value in changes.items():
        raw[key] = {**raw.get(key, {}), **value} if isinstance(raw.get(key), dict) else value
    path.write_text(yaml.safe_dump(raw))
    return path


def personal(run: Path, arm: str, site: str) -> dict[str, np.ndarray]:
    return PersonalStore(run / "sites" / site / "personal" / arm).latest()


def trained(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a site has but sums, which are of all that train with it."""
    return {name: array for name, array in arrays.items() if not name.startswith(SUMS)}


@pytest.fixture(scope="module")
def league(study_file: Path, hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All strategies at once, on worker processes."""
    folder = tmp_path_factory.mktemp("league")
    path = study_with(
        study_file,
        folder / "study.yaml",
        model={"inputs": "raw"},  # else sites that train together see patches centred on everybody's mean
        federation={"rounds": 2},
        comparisons={
            "strategies": [
                {"name": "ditto", "lambda": 0.0},
                {"name": "fedprox", "mu": 0.0},
                {"name": "prior-clusters", "clusters": {"one": ["a", "b"], "two": ["c"]}},
                {"name": "krum", "malicious": 0},
                {"name": "multi-krum", "malicious": 0},
                {"name": "fine-tuning", "epochs": 1},
            ]
        },
    )
    result = normfed("compare", path, "--strategies", "all", "--out", folder / "runs", "--workers", 2, "--quiet")
    assert result.exit_code == 0, result.output
    return run_folder(folder / "runs")


def metrics(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return loaded


def test_every_strategy_serves_the_autoencoder_with_its_batch_norms_too(study_file: Path, tmp_path: Path) -> None:
    raw = few_tested(study_file)
    raw["model"] = {"name": "autoencoder", "size": 32, "filters": 8, "most_filters": 16, "latent": 16, "norm": "batch",
                    "slices_per_subject": 4}  # fmt: skip
    raw["federation"]["rounds"], raw["comparisons"] = 2, {"baselines": []}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))
    few = "{name: krum, malicious: 0}, {name: multi-krum, malicious: 0}, {name: prior-clusters, clusters: {x: [a]}}"
    result = normfed(
        "compare", tmp_path / "study.yaml", "--strategies", f"all, {few}", "--out", tmp_path / "r", "-q", "--workers", 0
    )
    assert result.exit_code == 0, result.output
    folder = run_folder(tmp_path / "r")
    rows = {row["name"] for row in metrics(folder)["league"]}
    assert rows == {"federated", "local", "pooled", *ALGORITHMS} - {"fedavg"}
    kept = personal(folder, "fedbn", "a")
    assert any(name.endswith("running_mean") for name in kept)
    assert not any("running" in name for name in named.load(folder / "arms" / "fedbn" / "model.safetensors"))


def test_the_league_table_holds_every_strategy_and_both_anchors(league: Path) -> None:
    rows = {row["name"]: row for row in metrics(league)["league"]}
    assert set(rows) == {"federated", "local", "pooled", *ALGORITHMS} - {"fedavg"}
    for name, row in rows.items():
        assert 0 <= row["auroc"]["worst_site"]["mean"] <= row["auroc"]["mean"] <= 1
        assert row["sites"] == ["a", "b", "c"]
        assert row["seconds_per_round"] > 0
        if name != "local":
            gain = row["gain_over_local"]["auroc"]
            assert gain["mean"] == pytest.approx(row["auroc"]["mean"] - rows["local"]["auroc"]["mean"], abs=1e-9)
            assert set(gain["sites"]) == {"a", "b", "c"}
        assert bool(row["megabytes_per_round"]) == (name not in ("local", "pooled"))
    assert rows["scaffold"]["megabytes_per_round"] > 1.4 * rows["federated"]["megabytes_per_round"]
    assert rows["fedper"]["megabytes_per_round"] < rows["federated"]["megabytes_per_round"]
    page = (league / "report.html").read_text()
    for words in ("Who took part", "Strategies", "sites that gain / lose", "everybody, in every round"):
        assert words in page


def test_ditto_without_pull_is_every_site_alone_bit_for_bit(league: Path) -> None:
    for site in "abc":
        alone = named.load(league / "arms" / f"local-{site}" / "model.safetensors")
        assert_same(trained(personal(league, "ditto", site)), trained(alone))


def test_fedprox_without_pull_is_fedavg_bit_for_bit(league: Path) -> None:
    assert_same(named.load(league / "arms" / "fedprox" / "model.safetensors"), weights(league))


def test_fedbn_keeps_the_normalisation_and_nothing_else(league: Path) -> None:
    shared = named.load(league / "arms" / "fedbn" / "model.safetensors")
    kept = {site: personal(league, "fedbn", site) for site in "abc"}
    names = set(weights(league))
    assert set(shared) | set(kept["a"]) == names
    assert not set(shared) & set(kept["a"])
    layers = {name.rpartition(".")[0] for name in kept["a"]}
    assert layers == {f"network.{part}.{n}" for part, n in
                      [("encoder", 1), ("encoder", 4), ("encoder", 7),
                       ("decoder", 1), ("decoder", 4), ("decoder", 7)]}  # fmt: skip
    assert any((kept["a"][name] != kept["b"][name]).any() for name in kept["a"])


def test_what_is_personal_is_only_where_the_table_says(league: Path) -> None:
    keeps = {name for name in ALGORITHMS if list((league / "sites" / "a" / "personal").glob(f"{name}/*"))}
    assert keeps == {"fedbn", "fedper", "lg-fedavg", "fedrep", "ditto", "scaffold", "fine-tuning"}


def test_clusters_are_as_the_study_says(league: Path) -> None:
    path = league / "arms" / "prior-clusters" / "model.safetensors"
    assert named.header(path)["clusters"] == {"a": 0, "b": 0, "c": 1}
    first, second = named.unstacked(named.load(path))
    assert any((first[name] != second[name]).any() for name in first)
    history = metrics(league)["rounds_of"]["prior-clusters"]
    assert [entry["clusters"] for entry in history] == [{}, {"a": 0, "b": 0, "c": 1}]


@pytest.mark.parametrize("strategy", ["ditto", "scaffold", "fedbn", "fedadam", "ifca", "fine-tuning"])
def test_an_interrupted_run_resumes_with_what_sites_and_server_remember(
    league: Path, study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    entry: Any = {"ditto": {"name": "ditto", "lambda": 0.0}, "fine-tuning": {"name": "fine-tuning", "epochs": 1}}
    path = study_with(
        study_file,
        tmp_path / "study.yaml",
        model={"inputs": "raw"},
        federation={"rounds": 2},
        strategy=entry.get(strategy, strategy),
        comparisons=NOTHING_BESIDE,
    )
    say = EventLog.say

    def pull_the_plug(self: EventLog, event: Event) -> None:
        say(self, event)
        if isinstance(event, RoundDone) and event.round == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "say", pull_the_plug)
        assert normfed("simulate", path, "--out", tmp_path / "runs", "--workers", 0, "--quiet").exit_code == 130
    folder = run_folder(tmp_path / "runs")
    assert normfed("simulate", "--resume", folder, "--workers", 0, "--quiet").exit_code == 0
    assert_same(weights(folder), named.load(league / "arms" / strategy / "model.safetensors"))
    for site in "abc":
        assert_same(personal(folder, "federated", site), personal(league, strategy, site))
    found = metrics(folder)["evaluation"]["federated"]["all"]["auroc"]["mean"]
    assert found == metrics(league)["evaluation"][strategy]["all"]["auroc"]["mean"]


@pytest.mark.parametrize("strategy", ["fedbn", "fedper", "ditto", "scaffold", "fine-tuning"])
def test_what_is_personal_is_in_no_message(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """Sniff everything that crosses, both ways, in training and evaluation."""
    crossed: list[bytes] = []
    names: set[str] = set()
    call = local.call

    def sniff(message: Any) -> Any:
        request, arrays = decode_request(message)
        reply = call(message)
        crossed.append(to_bytes(reply))
        crossed.append(to_bytes(message))
        if request.round > 1:
            names.update(offers.decode(arrays).model)
        return reply

    monkeypatch.setattr(local, "call", sniff)
    path = study_with(
        study_file,
        tmp_path / "study.yaml",
        federation={"rounds": 2},
        strategy=strategy,
        comparisons=NOTHING_BESIDE,
    )
    assert normfed("simulate", path, "--out", tmp_path / "runs", "--workers", 0, "--quiet").exit_code == 0
    everything = b"".join(crossed)
    folder = run_folder(tmp_path / "runs")
    looked_for = 0
    for site in "abc":
        for file in (folder / "sites" / site / "personal" / "federated").iterdir():
            for name, array in trained(named.load(file)).items():
                if array.size > 4 and np.ptp(array) > 0:
                    assert array.tobytes() not in everything, (site, file.name, name)
                    looked_for += 1
    assert looked_for > 20
    kept = set(personal(folder, "federated", "a"))
    if strategy in ("fedbn", "fedper"):
        assert not kept & names
    model = next(iter(weights(folder).values()))
    assert model.tobytes() in everything  # the sniffer would have found what does cross


def test_several_trainings_show_how_far_a_figure_can_be_trusted(study_file: Path, tmp_path: Path) -> None:
    path = study_with(
        study_file,
        tmp_path / "study.yaml",
        model={"inputs": "raw"},
        federation={"rounds": 1},
        comparisons={"baselines": []},
    )
    result = normfed(
        "compare", path, "--strategies", "fedavg,{name: ditto, lambda: 0},local", "--repeats", 2, "--out",
        tmp_path / "r", "--workers", 0,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "±" in result.output
    folder = run_folder(tmp_path / "r")
    rows = {row["name"]: row for row in metrics(folder)["league"]}
    assert set(rows) == {"federated", "ditto", "local"}
    for row in rows.values():
        values = row["auroc"]["trainings"]
        assert len(values) == 2
        assert values[0] != values[1]
        assert row["auroc"]["mean"] == pytest.approx(np.mean(values))
    first = metrics(folder)["evaluation"]["federated"]["all"]["auroc"]["mean"]
    assert rows["federated"]["auroc"]["trainings"][0] == first
    for site in "abc":  # the second training of a site alone is ditto's second without its pull
        alone = named.load(folder / "arms" / f"local-{site}~2" / "model.safetensors")
        assert_same(trained(personal(folder, "ditto~2", site)), trained(alone))
        other = named.load(folder / "arms" / f"local-{site}" / "model.safetensors")
        assert any((alone[name] != other[name]).any() for name in trained(alone))
    assert "trained 2 times" in (folder / "report.html").read_text()


def test_sites_out_of_sample_are_tested_but_never_train(study_file: Path, hospitals: Path, tmp_path: Path) -> None:
    changes = {"data": {"out_of_sample": ["c"]}, "federation": {"rounds": 1}, "comparisons": NOTHING_BESIDE}
    path = study_with(study_file, tmp_path / "study.yaml", **changes)
    assert normfed("simulate", path, "--data", hospitals, "--out", tmp_path / "r", "-q", "--workers", 0).exit_code == 0
    found = metrics(run_folder(tmp_path / "r"))
    assert set(found["rounds"][0]["outcomes"]) == {"a", "b"}
    assert set(found["evaluation"]["federated"]["sites"]) == {"a", "b", "c"}
    fedbn = study_with(path, tmp_path / "fedbn.yaml", strategy="fedbn")
    assert normfed("simulate", fedbn, "--data", hospitals, "--out", tmp_path / "s", "-q", "--workers", 0).exit_code == 0
    folder = run_folder(tmp_path / "s")
    found = metrics(folder)
    assert set(found["evaluation"]["federated"]["sites"]) == {"a", "b"}
    assert "fedbn keeps part of the model" in found["not_served"]["federated"]["c"]
    assert "serves no model to c" in (folder / "report.html").read_text()


def test_leave_one_site_out_in_one_command(study_file: Path, tmp_path: Path) -> None:
    alone = study_with(study_file, tmp_path / "study.yaml", federation={"rounds": 1}, comparisons=NOTHING_BESIDE)
    result = normfed("simulate", alone, "--leave-one-site-out", "--out", tmp_path / "l", "-q", "--workers", 0)
    assert result.exit_code == 0, result.output
    folder = run_folder(tmp_path / "l")
    found = metrics(folder)
    assert set(found["evaluation"]["leave-one-site-out"]["sites"]) == {"a", "b", "c"}
    assert set(found["rounds_of"]["without-a"][0]["outcomes"]) == {"b", "c"}
    pair = study_with(alone, tmp_path / "pair.yaml", data={"train_sites": ["b", "c"]})
    assert normfed("simulate", pair, "--out", tmp_path / "p", "-q", "--workers", 0).exit_code == 0
    model = named.load(folder / "arms" / "without-a" / "model.safetensors")
    assert_same(model, weights(run_folder(tmp_path / "p")))
    fedbn = study_with(study_file, tmp_path / "fedbn.yaml", strategy="fedbn")
    with pytest.raises(StudyError, match="has no whole model"):
        normfed("simulate", fedbn, "--leave-one-site-out", "--out", tmp_path / "q", "-q", "--workers", 0)


def test_a_study_may_start_from_a_public_model(league: Path, study_file: Path, tmp_path: Path) -> None:
    (tmp_path / "public.safetensors").write_bytes((league / "model.safetensors").read_bytes())
    path = study_with(
        study_file,
        tmp_path / "study.yaml",
        initial_model="public.safetensors",
        federation={"rounds": 1},
        comparisons=NOTHING_BESIDE,
    )
    assert normfed("simulate", path, "--out", tmp_path / "r", "-q", "--workers", 0).exit_code == 0
    folder = run_folder(tmp_path / "r")
    assert str(tmp_path) not in (folder / "study.yaml").read_text()  # its digest, not its path
    moved = max(np.abs(weights(folder)[n] - w).max() for n, w in weights(league).items())
    assert 0 < moved < 0.2
    other = study_with(path, tmp_path / "other.yaml", model={"patch_size": 15})
    with pytest.raises(RunError, match="initial_model: is of another network"):
        normfed("simulate", other, "--out", tmp_path / "s", "-q", "--workers", 0)
    gone = study_with(path, tmp_path / "gone.yaml", initial_model="nowhere.safetensors")
    with pytest.raises(StudyError, match="is not a file"):
        normfed("simulate", gone, "--out", tmp_path / "t", "-q")


def test_hospital_time_costs_no_waiting_and_says_what_it_would_take(study_file: Path, tmp_path: Path) -> None:
    federation = {"rounds": 2, "quorum": 2, "patience_s": 0, "largest_may_be_left_out": True}
    path = study_with(study_file, tmp_path / "study.yaml", federation=federation, comparisons=NOTHING_BESIDE)
    result = normfed("simulate", path, "--hospital-times", "--out", tmp_path / "r", "--workers", 0)
    assert result.exit_code == 0, result.output
    folder = run_folder(tmp_path / "r")
    found = metrics(folder)
    late = [s for entry in found["rounds"] for s, outcome in entry["outcomes"].items() if outcome == "late"]
    assert len(late) == 2  # two of three are enough, and nobody is waited for
    assert found["hospital_time"]["rounds_h"] > 0.05
    assert "Partial: the federated model was trained without" in result.output.replace("\n", " ")
    page = (folder / "report.html").read_text()
    assert "In real hospitals" in page
    assert "Partial: the federated model was trained without" in page


def test_malicious_sites_are_said_and_survived(study_file: Path, tmp_path: Path) -> None:
    path = study_with(
        study_file, tmp_path / "study.yaml", federation={"rounds": 2}, comparisons={"pooled": False, "baselines": []}
    )
    result = normfed(
        "compare", path, "--strategies", "fedavg,median,local", "--attack", "c:scale", "--out", tmp_path / "r", "-q",
        "--workers", 0,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    folder = run_folder(tmp_path / "r")
    first = named.load(folder / "arms" / "local-a" / "model.safetensors")
    distance = {
        arm: named.norm(trained(named.load(folder / "arms" / arm / "model.safetensors")), trained(first))
        for arm in ("federated", "median")
    }
    assert distance["federated"] > 5 * distance["median"]
    assert "Malicious by order: c (scale)" in (folder / "report.html").read_text()
    result = normfed("simulate", path, "--attack", "c:nan", "--out", tmp_path / "s", "--workers", 0)
    assert "federated round 1, c set aside" in result.output.replace("\n", " ")
    with pytest.raises(StudyError, match="expected SITE:ATTACK"):
        normfed("simulate", path, "--attack", "c", "--out", tmp_path / "t")
    with pytest.raises(NormfedError, match="no site called zebra"):
        normfed("simulate", path, "--attack", "zebra:nan", "--out", tmp_path / "t", "-q", "--workers", 0)


def test_compressions_stand_beside_each_other(study_file: Path, tmp_path: Path) -> None:
    path = study_with(
        study_file,
        tmp_path / "study.yaml",
        model={"name": "autoencoder", "patch_size": None},
        federation={"rounds": 1},
        comparisons={"pooled": False, "baselines": []},
    )
    raw = yaml.safe_load(path.read_text())
    raw["model"] = {"name": "autoencoder", "size": 32, "filters": 8, "most_filters": 16, "latent": 16,
                    "slices_per_subject": 4}  # fmt: skip
    path.write_text(yaml.safe_dump(raw))
    result = normfed("compare", path, "--compressions", "fp16,bf16,int8", "--out", tmp_path / "r", "-q", "--workers", 0)
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in metrics(run_folder(tmp_path / "r"))["league"]}
    size = {name: row["megabytes_per_round"] for name, row in rows.items()}
    for kind, share in (("fp16", 0.5), ("bf16", 0.5), ("int8", 0.375)):
        assert size[f"fedavg+{kind}"] == pytest.approx(share * size["federated"], rel=0.2)
        assert rows[f"fedavg+{kind}"]["auroc"]["mean"] == pytest.approx(rows["federated"]["auroc"]["mean"], abs=0.02)


def test_what_a_strategy_cannot_serve_is_one_sentence(study_file: Path, tmp_path: Path) -> None:
    cases = [
        ({"model": {"name": "atlas"}}, "ditto", "the model atlas learns from sums over sites"),
        ({"model": {"one_class": {"fit_on": "federated"}}}, "fedbn", "sites do not have the same network"),
        ({"model": {"norm": "none"}}, "fedbn", "has no normalisation layers"),
        ({}, "krum", "needs 5 training sites, and 3 can train"),
        ({}, {"name": "fedper", "personal": ["head"]}, "no part called head. Its parts are stem, encoder, decoder"),
        ({}, {"name": "prior-clusters", "clusters": {"x": ["zebra"]}}, "clusters names zebra"),
    ]
    for number, (changes, strategy, sentence) in enumerate(cases):
        path = tmp_path / f"{number}.yaml"
        raw = yaml.safe_load(study_file.read_text())
        for key, value in changes.items():
            raw[key] = value if "name" in value else {**raw[key], **value}
        path.write_text(yaml.safe_dump({**raw, "strategy": strategy}))
        with pytest.raises(StudyError) as caught:
            normfed("simulate", path, "--out", tmp_path / f"r{number}", "-q", "--workers", 0)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)


def test_scans_are_scored_with_the_model_of_a_site(study_file: Path, hospitals: Path, tmp_path: Path) -> None:
    path = study_with(
        study_file, tmp_path / "s.yaml", strategy="fedbn", federation={"rounds": 1},
        comparisons=NOTHING_BESIDE,
    )  # fmt: skip
    assert normfed("simulate", path, "--out", tmp_path / "r", "-q", "--workers", 0).exit_code == 0
    folder = run_folder(tmp_path / "r")
    scans = [tmp_path / f"sub-new_space-MNI152NLin2009aSym_{m}.nii.gz" for m in ("T1w", "FLAIR")]
    for scan, modality in zip(scans, ("T1w", "FLAIR"), strict=True):
        scan.write_bytes(next(hospitals.rglob(f"*_{modality}.nii.gz")).read_bytes())
    with pytest.raises(RunError, match=r"Say whose with --site: a, b, c"):
        normfed("score", folder, *scans, "--out", tmp_path / "maps")
    with pytest.raises(RunError, match="no site is called zebra"):
        normfed("score", folder, *scans, "--out", tmp_path / "maps", "--site", "zebra")
    assert normfed("score", folder, *scans, "--out", tmp_path / "maps", "--site", "a").exit_code == 0
    assert list((tmp_path / "maps" / "sub-new" / "anat").glob("*.nii.gz"))


def test_strategies_are_listed_with_parameters_and_source() -> None:
    listed = " ".join(normfed("strategies").output.split())
    for name in ALGORITHMS:
        assert name in listed
        assert ALGORITHMS[name].in_print in listed
    assert "pull of the personal model" in normfed("strategies", "ditto").output
    with pytest.raises(StudyError, match="No strategy is called 'nope'"):
        normfed("strategies", "nope")


def test_the_findings_call_no_strategy_a_trivial_baseline(league: Path) -> None:
    from normfed_server.report.headline import headline

    found = metrics(league)
    for metric in ("auroc", "auprc"):
        for model in found["evaluation"].values():
            model["all"][metric]["n"] = 20
        found["evaluation"]["federated"]["all"][metric] |= {"mean": 0.7, "ci95": [0.6, 0.8]}
        found["evaluation"]["atlas"]["all"][metric]["mean"] = 1.0  # the best baseline, which a sentence begins with
        for name in ("ditto", "atlas"):
            found["differences"][name] = found["differences"]["atlas"]
            found["differences"][name]["all"][metric] = {"mean": -0.4, "ci95": [-0.5, -0.3]}
    text = " ".join(headline(run_results(**found)))
    assert "atlas" in text
    assert "Worse than" in text
    assert "ditto" not in text
