"""Whole studies on tiny synthetic hospitals, through the command line where a person would use it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from commands import assert_same, normfed, run_folder, weights
from scipy.stats import spearmanr

from normfed_client.answering.serving import to_bytes
from normfed_client.hospital.simulated import read_sites
from normfed_client.hospital.site import Site
from normfed_client.imaging.bids import read_dataset
from normfed_common.foundation import arrays as named
from normfed_common.foundation import seeds
from normfed_common.foundation.errors import NormfedError, RunError
from normfed_common.study.config import StudyConfig
from normfed_server.events.kinds import Event, RoundDone
from normfed_server.events.log import EventLog
from normfed_simulation import experiment
from normfed_simulation.engines import local
from normfed_simulation.paper.writing import write_paper

pytestmark = pytest.mark.xdist_group("journeys")


@pytest.fixture(scope="module")
def run(study_file: Path, hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study, run once in this process."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "write_paper", write_paper)
        result = normfed("simulate", study_file, "--out", out, "--workers", 0, "--quiet")
    assert result.exit_code == 0, result.output
    assert Path(result.stdout.strip()) == run_folder(out) / "report.html"
    return run_folder(out)


@dataclass
class OneRound:
    """The tiny study over one round, what a program reads of it meanwhile, and every answer that a site gave."""

    folder: Path
    lines: list[dict[str, Any]]
    answers: list[bytes]


@pytest.fixture(scope="module")
def one_round(study_file: Path, hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> OneRound:
    out, answers, call = tmp_path_factory.mktemp("one"), list[bytes](), local.call

    def sniff(message: Any) -> Any:
        reply = call(message)
        answers.append(to_bytes(reply))
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "call", sniff)
        result = normfed("simulate", study_file, "--rounds", 1, "--out", out, "--workers", 0, "--json")
    assert result.exit_code == 0, result.output
    return OneRound(run_folder(out), [json.loads(line) for line in result.stdout.splitlines()], answers)


@pytest.fixture(scope="module")
def alone(study: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study over one round with nothing beside its federated model."""
    raw = study.model_dump(mode="json")
    raw["federation"] |= {"rounds": 1}
    raw["comparisons"] |= {"local": False, "pooled": False, "baselines": []}
    path = tmp_path_factory.mktemp("alone") / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture(scope="module")
def metrics(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return loaded


def test_a_run_leaves_everything_it_promises(run: Path, metrics: dict[str, Any]) -> None:
    for name in ("study.yaml", "metrics.json", "report.html", "model.safetensors", "events.jsonl", "maps"):
        assert (run / name).exists(), name
    for folder in ("tables", "tables/patients", "figures", "figures/patients"):
        assert any((run / folder).glob("*.*")), folder
    baselines = {"flair-intensity", "atlas", "mean-brain-residual"}
    assert set(metrics["evaluation"]) == {"federated", "local", "pooled", *baselines}
    assert [site["name"] for site in metrics["sites"]] == ["a", "b", "c"]
    assert [entry["round"] for entry in metrics["rounds"]] == [1, 2, 3]
    assert set(metrics["rounds"][0]["loss"]) == {"a", "b", "c"}
    for model in metrics["evaluation"].values():
        assert set(model["sites"]) == {"a", "b", "c"}
        for metric in ("auroc", "auroc30", "auprc", "aupro", "aupro30", "best_dice", "dice", "surface_dice"):
            assert {"mean", "sd", "n"} <= set(model["all"][metric]), metric
            assert 0 <= model["worst_site"][metric]["mean"] <= 1
        assert model["all"]["auroc"]["n"] == 7
    assert list(run.rglob(".*")) == []  # nothing half-written


def test_figures_over_all_sites_are_the_mean_over_everybody(run: Path, metrics: dict[str, Any]) -> None:
    rows = [row for path in run.glob("sites/*/people/federated.json") for row in json.loads(path.read_text())]
    assert len(rows) == 7
    for metric in ("auroc", "auprc", "surface_dice"):
        values = [row[metric] for row in rows if row[metric] is not None]
        found = metrics["evaluation"]["federated"]["all"][metric]
        assert found["mean"] == pytest.approx(np.mean(values))
        assert found["sd"] == pytest.approx(np.std(values, ddof=1))


def test_merged_histograms_bracket_what_all_maps_in_one_place_would_give(run: Path, metrics: dict[str, Any]) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores, truth = [], []
    model_arrays = weights(run)
    for config in read_sites(run / "sites.json"):
        if config.name == "pooled":
            continue
        site = Site(config, _study(run))
        model = site.model(site.study.model, site.study.seed)
        model.load(model_arrays)
        for case in site.test:
            rng, mask = seeds.generator(site.study.seed, "score", case.visit.name), case.entry.mask()
            scores.append(model.score([case.scan()], rng).anomaly[mask])
            truth.append(case.entry.lesion()[mask])
    pooled_scores, pooled_truth = np.concatenate(scores), np.concatenate(truth)
    merged = metrics["evaluation"]["federated"]["merged"]
    for name, exact in (
        ("auroc", roc_auc_score(pooled_truth, pooled_scores)),
        ("auprc", average_precision_score(pooled_truth, pooled_scores)),
    ):
        assert merged[name]["low"] - 1e-6 <= exact <= merged[name]["high"] + 1e-6


def _study(run: Path) -> StudyConfig:
    from normfed_common.studies import load_study

    return load_study(run / "study.yaml")


def test_maps_overlay_on_their_scans(run: Path, hospitals: Path) -> None:
    visits = {visit.name: visit for visit in read_dataset(hospitals).visits}
    maps = sorted((run / "maps").glob("*desc-anomaly_map.nii.gz"))
    assert len(maps) == 7
    for path in maps:
        found, scan = nibabel.load(path), nibabel.load(visits[path.name.split("_space")[0]].images["T1w"])
        assert found.shape == scan.shape
        np.testing.assert_allclose(found.affine, scan.affine)
        data = found.get_fdata()
        assert np.isfinite(data).all()
        assert data.std() > 0
        assert data.min() == 0  # outside the brain, so that the background is the darkest of all
        assert (data[np.asarray(scan.dataobj) == 0] == 0).mean() > 0.95
        assert 0 < found.header["cal_min"] < found.header["cal_max"] <= data.max()


def test_the_report_is_one_file_that_asks_for_nothing(run: Path) -> None:
    page = (run / "report.html").read_text()
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", outside)
    # Best, median, worst and healthy: T1, FLAIR, the model's map, the best baseline's, and projections each.
    assert outside.count("data:image/jpeg;base64,") == 4 * 5
    for words in ("Who gains, who loses", "worst site", "The study", "FLAIR intensity", "minimum_cohort"):
        assert words in page


def test_the_report_can_be_built_again(run: Path) -> None:
    before = (run / "report.html").read_text()
    (run / "report.html").unlink()
    assert normfed("report", run).exit_code == 0
    strip = lambda text: re.sub(r"written [-0-9: ]+|[0-9a-f]{8}-[0-9a-f-]{27}", "", text)  # noqa: E731
    assert strip((run / "report.html").read_text()) == strip(before)


def test_worker_processes_give_the_same_weights_and_figures(
    run: Path, metrics: dict[str, Any], study_file: Path, tmp_path: Path
) -> None:
    assert normfed("simulate", study_file, "--out", tmp_path, "--workers", 2, "--quiet").exit_code == 0
    folder = run_folder(tmp_path)
    assert_same(weights(folder), weights(run))
    assert json.loads((folder / "metrics.json").read_text())["evaluation"] == metrics["evaluation"]


def test_another_seed_gives_other_weights(one_round: OneRound, alone: Path, hospitals: Path, tmp_path: Path) -> None:
    result = normfed("simulate", alone, "--data", hospitals, "--seed", 8, "--out", tmp_path, "--workers", 0, "--quiet")
    assert result.exit_code == 0, result.output
    before = weights(one_round.folder)
    assert any((before[n] != w).any() for n, w in weights(run_folder(tmp_path)).items())


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_study_resumes_to_the_same_weights(
    run: Path, metrics: dict[str, Any], study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    say = EventLog.say

    def pull_the_plug(self: EventLog, event: Event) -> None:
        say(self, event)
        if isinstance(event, RoundDone) and event.arm == "federated" and event.round == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "say", pull_the_plug)
        stopped = normfed("simulate", study_file, "--out", tmp_path, "--workers", 0, "--quiet")
    assert stopped.exit_code == 130
    folder = run_folder(tmp_path)
    assert f"normfed simulate --resume {folder}" in re.sub(r"\s+", " ", stopped.output.replace("\n", "")) or str(
        folder
    ) in stopped.output.replace("\n", "")
    assert not (folder / "model.safetensors").exists()
    assert normfed("simulate", "--resume", folder, "--workers", 0, "--quiet").exit_code == 0
    assert_same(weights(folder), weights(run))
    assert json.loads((folder / "metrics.json").read_text())["evaluation"] == metrics["evaluation"]


def test_what_cannot_be_resumed_is_said(run: Path, study_file: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="already finished"):
        normfed("simulate", "--resume", run)
    with pytest.raises(RunError, match="where a run folder is needed"):
        normfed("simulate", "--resume", tmp_path)
    with pytest.raises(NormfedError, match="leave out STUDY"):
        normfed("simulate", study_file, "--resume", run)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / "metrics.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        normfed("report", unfinished)


def patches_of(site: Site) -> dict[str, np.ndarray]:
    model = site.model(site.study.model, site.study.seed)
    return model.statistics("patches", site.training_cohort(), np.random.default_rng(0))


def plain_training(site: Site, rounds: int, patches: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The oracle: train by hand, with no federation, no messages and no loop of ours."""
    federation = site.study.federation
    model = site.model(site.study.model, site.study.seed)
    assert model.network is not None
    model.absorb("patches", patches)
    cohort = site.training_cohort()
    for number in range(1, rounds + 1):
        model.network.train()
        optimiser = torch.optim.Adam(model.network.parameters(), lr=federation.learning_rate, fused=True)
        for epoch in range(federation.local_epochs):
            rng = seeds.generator(site.study.seed, "training", site.config.name, number, epoch)
            for batch in model.batches("training", cohort, rng):
                optimiser.zero_grad()
                model.loss("training", batch, torch.Generator()).mean().backward()
                optimiser.step()
    return model.share()


@pytest.mark.parametrize("arm", ["pooled", "local-a"])
def test_a_federation_of_one_site_is_plain_training_bit_for_bit(run: Path, arm: str) -> None:
    name = arm.removeprefix("local-")
    config = next(site for site in read_sites(run / "sites.json") if site.name == name)
    torch.set_num_threads(1)
    site = Site(config, _study(run))
    expected = plain_training(site, 3, patches_of(site))
    assert_same(named.load(run / "arms" / arm / "model.safetensors"), expected)


def test_the_federated_model_is_the_weighted_mean_of_what_sites_trained(one_round: OneRound) -> None:
    folder = one_round.folder
    torch.set_num_threads(1)
    sites = [Site(config, _study(folder)) for config in read_sites(folder / "sites.json") if config.name != "pooled"]
    patches = named.add([patches_of(site) for site in sites])
    trained = [(len(site.train), plain_training(site, 1, patches)) for site in sites]
    total = sum(people for people, _ in trained)
    for name, found in weights(folder).items():
        expected = sum(people / total * arrays[name].astype(float) for people, arrays in trained)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_federated_atlas_of_a_run_equals_the_atlas_of_all_scans_in_one_place(run: Path) -> None:
    config = next(site for site in read_sites(run / "sites.json") if site.name == "pooled")
    site = Site(config, _study(run))
    atlas = site.model({"name": "atlas"}, site.study.seed)
    pooled = atlas.statistics("moments", site.training_cohort(), np.random.default_rng(0))
    found = named.load(run / "arms" / "atlas" / "model.safetensors")
    for name, value in pooled.items():
        np.testing.assert_allclose(found[f"sums.moments.{name}"], value, rtol=1e-8)


def test_no_name_path_or_voxel_is_in_any_message(
    one_round: OneRound, hospitals: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Sniff every answer of a whole run: no subject, no path, and no array of a scan's size from one person."""
    everything = b"".join(one_round.answers)
    assert len(one_round.answers) > 40
    for visit in read_dataset(hospitals).visits:
        assert visit.participant.subject.encode() not in everything
    for word in (str(hospitals), str(tmp_path_factory.getbasetemp()), "nii.gz", "participants", "/tmp", "/dev"):
        assert word.encode() not in everything


def test_a_site_that_fails_stops_the_run_with_its_code_and_its_log_tells_the_reason_to_who_simulates(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from normfed_client.answering import tasks

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret reason in /data/sub-007")

    monkeypatch.setattr(tasks, "personal_arrays", broken)
    with pytest.raises(
        RunError, match=r"Round 1 of \S+: 0 of \d sites .* are needed. .*its own log says more"
    ) as caught:
        normfed("simulate", study_file, "--out", tmp_path, "--workers", 0, "--quiet")
    run = run_folder(tmp_path)
    first, _, quoted = str(caught.value).partition("\n")
    assert "secret" not in first + (run / "events.jsonl").read_text()  # what the server knows
    log = min(run.glob("sites/*/site.log"))
    assert quoted.startswith(f"Site {log.parent.name}'s log ({log}): RuntimeError: secret reason in /data/sub-007; ")


def test_json_mode_is_one_object_a_line(one_round: OneRound) -> None:
    events = one_round.lines
    kinds = [event["event"] for event in events]
    assert {"begin", "done", "plan", "round", "evaluated", "finished", "report"} <= set(kinds)
    assert kinds[-1] == "report"
    assert Path(events[-1]["path"]).exists()


def test_every_scan_of_an_evaluation_is_told_while_it_goes_on_and_none_is_in_the_log(one_round: OneRound) -> None:
    (plan,) = (event for event in one_round.lines if event["event"] == "plan")
    sites = [site for name, site in plan["sites"].items() if name != "pooled"]
    test, held_out = (sum(site[role] for site in sites) for role in ("test", "held_out"))
    federated = [event for event in one_round.lines if event.get("arm") == "federated"]
    tasks = [event["task"] for event in federated if event["event"] == "scanned"]
    assert (tasks.count("evaluate.score"), tasks.count("evaluate.measure")) == (test + held_out, test)
    answers = [event for event in federated if event["event"] == "answered"]
    assert [event["done"] for event in answers] == [*range(1, 10)]  # three steps at three sites
    assert {event["total"] for event in answers} == {9}
    assert "scanned" not in (one_round.folder / "events.jsonl").read_text()


def test_p_values_overlay_on_their_scans_and_are_small_where_the_anomaly_is_high(run: Path) -> None:
    maps = sorted((run / "maps").glob("*desc-pvalue_map.nii.gz"))
    assert len(maps) == 7
    for path in maps:
        image, anomaly = nibabel.load(path), nibabel.load(str(path).replace("desc-pvalue", "desc-anomaly"))
        np.testing.assert_allclose(image.affine, anomaly.affine)
        p, scores = image.get_fdata(), anomaly.get_fdata()
        assert 0 < p.min() < 0.05
        assert p.max() == 1
        assert (p[scores == 0] == 1).all()  # outside the brain nothing is abnormal
        assert spearmanr(p[scores > 0], scores[scores > 0]).statistic < -0.9


def test_what_the_threshold_keeps_is_in_the_figures_and_on_the_page(run: Path) -> None:
    found = json.loads((run / "metrics.json").read_text())["evaluation"]["federated"]["calibration"]
    assert found["promised"] == pytest.approx(1 - _study(run).evaluation.specificity)
    held_out = {site["name"]: site["held_out"] for site in json.loads((run / "metrics.json").read_text())["sites"]}
    assert {site: its["people"] for site, its in found["sites"].items()} == {s: n for s, n in held_out.items() if n}
    for its in found["sites"].values():
        assert its["measured"]["low"] <= its["measured"]["value"] <= its["measured"]["high"]
    assert "What the thresholds promise and what they keep" in (run / "report.html").read_text()


def test_new_scans_are_scored_like_those_of_the_run(run: Path, hospitals: Path, tmp_path: Path) -> None:
    name = json.loads(next(run.glob("sites/a/people/federated.json")).read_text())[0]["name"]
    visit = next(v for v in read_dataset(hospitals).visits if v.name == name)
    scans = []
    for modality, path in visit.images.items():
        scans.append(tmp_path / f"sub-new_space-MNI152NLin2009aSym_{modality}.nii.gz")
        scans[-1].write_bytes(path.read_bytes())
    assert normfed("score", run, *scans, "--out", tmp_path / "maps").exit_code == 0
    (written,) = (tmp_path / "maps").rglob("*desc-anomaly_map.nii.gz")
    found, scan = nibabel.load(written), nibabel.load(scans[0])
    p = nibabel.load(str(written).replace("desc-anomaly", "desc-pvalue")).get_fdata()
    assert spearmanr(p[found.get_fdata() > 0], found.get_fdata()[found.get_fdata() > 0]).statistic < -0.9
    assert found.shape == scan.shape
    # These scans bring no brain mask and another name, so other latents are drawn: alike, not equal.
    known = nibabel.load(next((run / "maps").glob(f"{name}_*desc-anomaly*"))).get_fdata()
    both = (known != 0) & (found.get_fdata() != 0)
    assert both.mean() > 0.1
    assert np.corrcoef(known[both], found.get_fdata()[both])[0, 1] > 0.4


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["sub-1_T1w.nii.gz"], "FLAIR is missing"),
        (["scan.nii.gz"], "does not say the modality"),
        (["x/sub-1_T1w.nii.gz", "y/sub-1_T1w.nii.gz"], "a second T1w"),
        (["sub-1_T1w.nii.gz", "sub-1_FLAIR.nii.gz"], "Copy or convert it again"),
    ],
)
def test_scans_that_cannot_be_scored_are_named(run: Path, tmp_path: Path, names: list[str], sentence: str) -> None:
    for path in (tmp_path / name for name in names):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    refused = normfed("score", run, *(tmp_path / name for name in names), "--out", tmp_path / "maps")
    assert refused.exit_code == 2
    assert sentence in refused.output
    assert not (tmp_path / "maps").exists()


def test_inspect_and_preprocess_show_what_there_is(hospitals: Path) -> None:
    shown = normfed("inspect", hospitals, "--check").stdout
    assert "22 visits" in shown
    assert all(site in shown for site in "abc")
    assert normfed("preprocess", hospitals, "--voxel-size", 4, "--workers", 1).exit_code == 0


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ((13, 13), None),
        ((13, 12), None),  # 10 are left of 12 or 13
        ((13, 11), "Only a has the 10 people to train on that hospitals ask for"),
        ((11, 11), "No site has the 10 people to train on that hospitals ask for"),
        ((13, 2), "Only a has the 3 people to train on that a study asks for"),
        ((2, 2), "No site has the 3 people to train on that a study asks for"),
        ((13,), "Only a has the 3 people to train on that a study asks for"),
    ],
)
def test_inspect_warns_where_fewer_than_two_sites_could_train(
    tmp_path: Path, controls: tuple[int, ...], said: str | None
) -> None:
    lines = ["participant_id\tsite\tgroup"]
    for site, count in zip("ab", controls, strict=False):
        for number in range(count):
            subject = f"sub-{site}{number}"
            lines.append(f"{subject}\t{site}\tcontrol")
            scan = tmp_path / subject / "anat" / f"{subject}_T1w.nii.gz"
            scan.parent.mkdir(parents=True)
            scan.touch()
    (tmp_path / "participants.tsv").write_text("\n".join(lines))
    shown = " ".join(normfed("inspect", tmp_path).stdout.split())
    assert ("no federation" in shown) == (said is not None)
    assert said is None or said in shown


def test_missing_data_and_unknown_sites_are_said_before_anything_runs(
    study_file: Path, tmp_path: Path, hospitals: Path
) -> None:
    with pytest.raises(NormfedError, match="no such folder"):
        normfed("simulate", study_file, "--data", tmp_path / "nowhere", "--out", tmp_path / "r")
    import yaml

    raw = yaml.safe_load(study_file.read_text())
    raw["data"]["sites"] = ["a", "zebra"]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(NormfedError, match=r"no site is called zebra .*Known: a, b, c"):
        normfed("simulate", tmp_path / "s.yaml", "--data", hospitals, "--out", tmp_path / "r")
    raw["data"]["sites"], raw["data"]["out_of_sample"] = None, ["C"]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(NormfedError, match=r"data\.out_of_sample: no site is called C .*Did you mean c\?"):
        normfed("simulate", tmp_path / "s.yaml", "--data", hospitals, "--out", tmp_path / "r")
    raw["data"]["out_of_sample"], raw["data"]["exclude"] = [], {"sub-0100": "moved"}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(NormfedError, match=r"data\.exclude: no person is called sub-0100 .*Did you mean sub-01"):
        normfed("simulate", tmp_path / "s.yaml", "--data", hospitals, "--out", tmp_path / "r")
    raw["data"]["exclude"], raw["data"]["control_groups"] = {}, ["martian"]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(NormfedError, match="nobody of 22 people is in the group martian"):
        normfed(
            "simulate", tmp_path / "s.yaml", "--data", hospitals, "--out", tmp_path / "r", "--workers", 0, "--quiet"
        )
    assert not list((tmp_path / "r").glob("*"))
    with pytest.raises(NormfedError, match="no usable CUDA device"):
        normfed("simulate", study_file, "--device", "cuda")


def test_memory_of_a_site_does_not_hold_its_cohort(run: Path) -> None:
    config = next(site for site in read_sites(run / "sites.json") if site.name == "pooled")
    cohort = Site(config, _study(run)).training_cohort()
    base: Any = cohort.scan(0).images
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_ray_gives_the_same_weights(one_round: OneRound, alone: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    result = normfed("simulate", alone, "--engine", "ray", "--out", tmp_path, "--workers", 2, "--quiet")
    assert result.exit_code == 0, result.output
    assert_same(weights(run_folder(tmp_path)), weights(one_round.folder))
