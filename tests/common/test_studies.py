"""What the command line changes in a study file, where its models are looked for, and whose fault an error names."""

from __future__ import annotations

import copy
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import toys
import yaml
from conftest import TINY

from normfed_common.foundation.errors import StudyError
from normfed_common.learning.cohort import Scan
from normfed_common.models.catalogue import MODELS
from normfed_common.shipped import shipped_study
from normfed_common.studies import MAXIMUM_BYTES, load_study, resolve, validate_learner, validate_strategy
from normfed_common.study.base import Frozen
from normfed_common.study.postprocessing import PostprocessingConfig
from normfed_common.transforms.base import ScanTransform
from normfed_common.transforms.catalogue import TRANSFORMS

ROOT = Path(__file__).parents[2]


PARTITION = ROOT.parent / "shared" / "data" / "public-partitions" / "fets2022_partitioning_1.csv"


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes the tiny study with some keys changed; None takes a key away."""

    def write(**changes: Any) -> Path:
        raw = copy.deepcopy(TINY) | changes
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in raw.items() if value is not None}))
        return path

    return write


def test_a_named_entry_of_the_command_line_replaces_the_files_with_its_parameters(written: Any) -> None:
    """A parameter of the one means nothing to the other."""
    path = written(strategy={"name": "fedprox", "mu": 0.5}, model={"name": "atlas"})
    assert load_study(path).strategy == {"name": "fedprox", "mu": 0.5}
    changed = load_study(path, strategy={"name": "ditto"}, model={"name": "intensity"})
    assert changed.strategy == {"name": "ditto", "lambda": 0.1}
    assert changed.model["name"] == "intensity"


def test_values_without_a_name_change_the_files_entry(written: Any) -> None:
    path = written(strategy={"name": "fedprox", "mu": 0.5})
    assert load_study(path, strategy={"mu": 0.25}).strategy == {"name": "fedprox", "mu": 0.25}


def test_a_section_that_the_file_lacks_is_made(written: Any) -> None:
    path = written(evaluation=None)
    assert load_study(path, evaluation={"bins": 77}).evaluation.bins == 77
    assert load_study(path, evaluation={"bins": 77}).federation == load_study(path).federation


def test_a_change_of_the_command_line_is_checked_like_the_file(written: Any) -> None:
    with pytest.raises(StudyError, match=r"study\.yaml with federation changed: federation\.rounds: .*\(got '0'\)"):
        load_study(written(), federation={"rounds": 0})


@pytest.mark.parametrize(
    ("said", "found"),
    [("old/model", "{folder}/old/model"), ("/models/m", "/models/m"), ("sha256:0f", "sha256:0f")],
)  # fmt: skip
def test_an_initial_model_is_looked_for_beside_the_study(written: Any, said: str, found: str) -> None:
    path = written(initial_model=said)
    assert load_study(path).initial_model == found.format(folder=path.parent)


@pytest.mark.parametrize(
    ("comparisons", "sentence"),
    [
        ({"baselines": [{"name": "atlas"}, {"name": "unet"}]}, "No model is called 'unet'"),
        ({"baselines": [{"name": "atlas"}, {"x": 1}]}, "comparisons.baselines[1]: name is missing. Known: "),
        ({"baselines": [{"name": "atlas", "x": 1}]}, "comparisons.baselines[0]: x is not a parameter of atlas"),
        ({"strategies": ["fedavg", {"mu": 1.0}]}, "comparisons.strategies[1]: name is missing. Known: cfl,"),
        ({"strategies": ["fedavg", {"name": "fedprox", "mu": -1}]}, "comparisons.strategies[1]: mu: "),
        ({"strategies": [{"name": 3}]}, "comparisons.strategies[0]: name is missing"),
    ],
)  # fmt: skip
def test_an_error_in_a_list_says_which_entry(written: Any, comparisons: dict[str, Any], sentence: str) -> None:
    path = written(comparisons=comparisons)
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_entries_of_comparisons_get_their_defaults_in_their_order(written: Any) -> None:
    found = load_study(written(comparisons={"baselines": [{"name": "intensity"}], "strategies": ["ditto", "fedavg"]}))
    assert found.comparisons.strategies == ({"name": "ditto", "lambda": 0.1}, {"name": "fedavg"})
    assert found.comparisons.baselines == (validate_learner(MODELS, {"name": "intensity"}, "x"),)


def test_checking_an_entry_leaves_what_was_given_alone() -> None:
    given = {"name": "fedprox"}
    assert validate_strategy(given, "x") == {"name": "fedprox", "mu": validate_strategy(given, "x")["mu"]}
    assert given == {"name": "fedprox"}


def test_a_study_file_may_be_as_large_as_a_request_takes(written: Any) -> None:
    path = written()
    path.write_text(path.read_text() + "#" * (MAXIMUM_BYTES - len(path.read_bytes())))
    assert load_study(path).name == "tiny"
    path.write_text(path.read_text() + "#")
    with pytest.raises(StudyError, match="larger than 1,000,000 bytes, so not a study file"):
        load_study(path)


class Greedy(ScanTransform):
    """Needs all that scans have; does nothing."""

    Config = Frozen

    def transform(self, scan: Scan) -> Scan:
        return scan


T1W, FLAIR = ({"name": "intensity", "modality": modality} for modality in ("T1w", "FLAIR"))


@pytest.mark.parametrize(
    ("may_lack", "changes", "who"),
    [
        ("FLAIR", {"model": {"name": "siamese"}}, "siamese (model)"),
        ("FLAIR", {"model": {"name": "autoencoder"}}, "autoencoder (model)"),
        ("FLAIR", {"comparisons": {"baselines": [T1W, {"name": "atlas"}]}}, None),
        ("FLAIR", {"comparisons": {"baselines": [T1W, FLAIR]}}, "intensity (comparisons.baselines[1])"),
        ("T1w", {"comparisons": {"baselines": [FLAIR, {"name": "intensity"}]}}, None),
        ("T1w", {"model": {"name": "toy-mixture"}}, "toy-mixture (model)"),
        ("FLAIR", {"model": {"name": "toy-mixture"}}, None),
        ("FLAIR", {"model": {"name": "two-phases"}, "transforms": ["centring"]}, "two-phases (model)"),
        ("FLAIR", {"model": {"name": "two-phases"}, "transforms": ["filling"]}, None),
        ("FLAIR", {"model": {"name": "ensemble", "members": ["siamese", FLAIR]}}, "ensemble (model)"),
        ("FLAIR", {"model": {"name": "ensemble", "members": ["siamese", FLAIR, T1W]}}, None),
        ("FLAIR", {"transforms": ["greedy", "filling"]}, "greedy (transforms[0])"),
        ("FLAIR", {"transforms": ["filling", "greedy"]}, None),
    ],
)
def test_what_needs_a_modality_that_scans_may_lack_is_refused_unless_it_is_filled_in_before(
    written: Any, monkeypatch: pytest.MonkeyPatch, may_lack: str, changes: dict[str, Any], who: str | None
) -> None:
    monkeypatch.setitem(TRANSFORMS._entries, "greedy", Greedy)
    data = {**copy.deepcopy(TINY["data"]), "may_lack": [may_lack]}  # type: ignore[dict-item]
    path = written(**{"data": data, "model": {"name": "atlas"}, "comparisons": {"baselines": []}, **changes})
    with toys.registered():
        if who is None:
            assert load_study(path).data.may_lack == (may_lack,)
            return
        with pytest.raises(StudyError) as caught:
            load_study(path)
    assert f"study.yaml: data.may_lack: scans may have no {may_lack}, which {who} needs." in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_study_in_which_nothing_is_absent_keeps_its_digest_and_its_synthetic_people(written: Any) -> None:
    study = load_study(written())
    text = json.dumps(study.model_dump(mode="json"))
    assert "may_lack" not in text
    assert "without" not in text
    data = {**copy.deepcopy(TINY["data"]), "may_lack": []}  # type: ignore[dict-item]
    assert load_study(written(data=data)).digest == study.digest
    assert study.data.required == ("T1w", "FLAIR")


def test_what_scans_may_lack_is_part_of_the_digest_and_stays_when_the_study_is_written_again(written: Any) -> None:
    data = {**copy.deepcopy(TINY["data"]), "may_lack": ["FLAIR"]}  # type: ignore[dict-item]
    changes = {"model": {"name": "atlas"}, "comparisons": {"baselines": []}}
    study, plain = load_study(written(data=data, **changes)), load_study(written(**changes))
    assert (study.data.required, plain.data.required) == (("T1w",), ("T1w", "FLAIR"))
    assert study.digest != plain.digest
    assert load_study(written(**study.model_dump(mode="json"))) == study


def test_a_study_without_post_processing_keeps_its_digest(written: Any) -> None:
    study = load_study(written())
    assert "postprocessing" not in json.dumps(study.model_dump(mode="json"))
    assert load_study(written(postprocessing={})).digest == study.digest
    assert load_study(written(postprocessing={"smoothing_mm": 1.4})).digest != study.digest


def test_post_processing_is_in_the_resolved_study_with_all_that_is_done_and_stays_when_it_is_written_again(
    written: Any,
) -> None:
    baselines = ["atlas", {"name": "intensity", "postprocessing": {"smoothing_mm": 1.4}}]
    study = load_study(written(postprocessing={"edge_mm": 5}, comparisons={"baselines": baselines}))
    assert study.postprocessing == PostprocessingConfig(edge_mm=5.0)
    plain, own = study.comparisons.baselines
    assert "postprocessing" not in plain
    assert own["postprocessing"] == PostprocessingConfig(smoothing_mm=1.4).model_dump()
    assert load_study(written(**study.model_dump(mode="json"))) == study


def fluid_of_a_patient(**changes: Any) -> dict[str, Any]:
    raw = copy.deepcopy(TINY)
    raw["data"]["modalities"] = ["pet"]  # type: ignore[index]
    return {**raw, "comparisons": {"baselines": []}, "model": {"name": "atlas"}, **changes}


PATIENT = {"fluid": "patient"}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"postprocessing": PATIENT}, "postprocessing"),
        ({"model": {"name": "atlas", "postprocessing": PATIENT}}, "model.postprocessing"),
        (
            {"comparisons": {"baselines": ["atlas", {"name": "atlas", "postprocessing": PATIENT}]}},
            "comparisons.baselines[1].postprocessing",
        ),
        (
            {"model": {"name": "ensemble", "members": ["atlas", {"name": "atlas", "postprocessing": PATIENT}]}},
            "model.members[1].postprocessing",
        ),
    ],
)
def test_a_patients_fluid_needs_a_modality_that_shows_it(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(StudyError) as caught:
        resolve(fluid_of_a_patient(**changes), "study.yaml")
    expected = f"study.yaml: {place}.fluid: `patient` tells fluid by T1w, FLAIR or T2w, and the study has only pet."
    assert str(caught.value).startswith(expected)
    resolve({**fluid_of_a_patient(**changes), "data": TINY["data"]}, "study.yaml")


def changed(path: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(TINY)
    *parents, last = path.split(".")
    place: Any = raw
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return raw


BAD = [
    (changed("federation.rouns", 3), "federation.rouns is not a key"),
    (changed("federation.rounds", 0), "federation.rounds"),
    (changed("federation.rounds", "three"), "federation.rounds"),
    (changed("federation.learning_rate", float("nan")), "federation.learning_rate"),
    (changed("federation.learning_rate", float("inf")), "federation.learning_rate"),
    (
        changed("strategy", "fedmagic"),
        "strategy: No strategy is called 'fedmagic'. Did you mean fed",
    ),
    (
        changed("strategy", "fed_avg"),
        "study.yaml: strategy: No strategy is called 'fed_avg'. Did you mean fedavg? Known",
    ),
    (changed("strategy", [3]), "strategy: keys with values are expected, such as {name: ditto, lambda: 0.5} (got"),
    (changed("transforms", "standardise"), "transforms: a list is expected, such as [nyul] (got"),
    (changed("model", ["atlas"]), "model: keys with values are expected, such as {name: siamese} (got"),
    (changed("modle", "atlas"), "study.yaml: modle is not a key that a study knows (did you mean model?)."),
    (changed("model.patchsize", 9), "model: patchsize is not a parameter of siamese (did you mean patch_size?)."),
    (changed("strategy", {"mu": 1.0}), "strategy: name is missing. Known: cfl"),
    (changed("strategy", {"name": "fedprox", "mu": -1.0}), "strategy: mu"),
    (changed("strategy", {"name": "fedavg", "mu": 1.0}), "strategy: mu is not a parameter of fedavg (known: none)."),
    (changed("strategy", "prior-clusters"), "strategy: clusters is missing"),
    (changed("strategy", {"name": "prior-clusters", "clusters": {"x": ["a"], "y": ["a"]}}), "a is in two clusters"),
    (changed("comparisons.strategies", ["fedavg", "nope"]), "No strategy is called 'nope'"),
    (changed("federation.quorum", 0), "federation.quorum"),
    (changed("model.name", "unet"), "study.yaml: model: No model is called 'unet'. Known: atlas, autoencoder, "),
    (changed("model", {"patch_size": 9}), "model: name is missing"),
    (changed("model.patch_size", 10), "patch_size must be 9, 15, 21"),
    (changed("model.one_class", {"nu": 1.5}), "one_class.nu"),
    (changed("model.one_class", {"fit_on": "moon"}), "one_class.fit_on"),
    (changed("data.modalities", ["T1w", "T1w"]), "modalities lists one of them twice"),
    (
        changed("data.modalities", ["CT"]),
        "data.modalities.0: must be one of T1w, T2w, FLAIR, pet, FA, MD, or ce-AGENT_T1w",
    ),
    (changed("data.modalities", ["T1w", "Flair"]), "such as ce-gadolinium_T1w. Did you mean FLAIR? (got 'Flair')."),
    (changed("data.may_lack", ["T2w"]), "may_lack names T2w, which modalities does not list"),
    (changed("data.may_lack", ["FLAIR", "T1w"]), "may_lack lists every modality: of a scan without any"),
    (changed("data.may_lack", ["CT"]), "data.may_lack"),
    (changed("preprocessing.percentiles", [99, 1]), "percentiles must ascend"),
    (changed("preprocessing.voxel_size_mm", 0), "preprocessing.voxel_size_mm"),
    (
        changed("postprocessing.smoothing", 1.4),
        "postprocessing.smoothing is not a key that a study knows (did you mean",
    ),
    (changed("postprocessing.fluid", "moon"), "postprocessing.fluid"),
    (changed("model.postprocessing", {"edge_mm": -1}), "model.postprocessing: edge_mm"),
    (changed("model.postprocessing", {"edge": 1}), "model.postprocessing: edge is not a key of post-processing (did"),
    (changed("model.postprocessing", 3), "model.postprocessing: keys with values are expected, such as {smoothing_mm"),
    (changed("transforms", [{"name": "x", "postprocessing": {}}]), "transforms[0]"),
    (changed("name", "../escape"), "name"),
    (changed("seed", -1), "seed"),
    ({"name": "x"}, "data is missing"),
    (["not", "a", "mapping"], "not a study"),
]


@pytest.mark.parametrize(("raw", "sentence"), BAD, ids=[str(s)[:40] for _, s in BAD])
def test_a_wrong_study_is_one_sentence_that_names_the_key(tmp_path: Path, raw: Any, sentence: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_model_without_parameters_may_be_its_name_alone(written: Any) -> None:
    changes = {"comparisons": {"baselines": ["atlas"]}}
    long = {"comparisons": {"baselines": [{"name": "atlas"}]}}
    assert load_study(written(model="atlas", **changes)) == load_study(written(model={"name": "atlas"}, **long))


def test_a_space_that_is_missing_after_a_colon_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("name: x\ndata: {modalities: [T1w]}\nmodel:{name: atlas}\n")
    with pytest.raises(StudyError, match=r"model:\{name is not a key .* \(a space is missing after the colon\)\.$"):
        load_study(path)


def test_training_sites_must_take_part(tmp_path: Path) -> None:
    raw = changed("data.sites", ["a", "b"])
    raw["data"]["train_sites"] = ["c"]
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(StudyError, match="train_sites names c"):
        load_study(path)


def test_a_strategy_may_be_one_word_and_gets_its_published_defaults(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(changed("strategy", "ditto")))
    study = load_study(path)
    assert study.strategy == {"name": "ditto", "lambda": 0.1}
    path.write_text(yaml.safe_dump(study.model_dump(mode="json")))
    assert load_study(path) == study


def test_sites_out_of_sample_never_train(tmp_path: Path) -> None:
    raw = changed("data.out_of_sample", ["a"])
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert not load_study(path).data.trains("a")
    assert load_study(path).data.trains("b")
    raw["data"]["train_sites"] = ["a"]
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(StudyError, match="a is in train_sites and in out_of_sample"):
        load_study(path)


def test_a_file_that_is_not_yaml_or_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [1, 2\nb: }")
    with pytest.raises(StudyError, match="not YAML"):
        load_study(tmp_path / "broken.yaml")
    with pytest.raises(StudyError, match="no such file"):
        load_study(tmp_path / "absent.yaml")
    (tmp_path / "huge.yaml").write_text("#" * 1_000_001)
    with pytest.raises(StudyError, match="not a study file"):
        load_study(tmp_path / "huge.yaml")


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text("name: !!python/object/apply:os.system ['touch evil']")
    with pytest.raises(StudyError, match="not YAML"):
        load_study(tmp_path / "evil.yaml")


def test_resolving_twice_changes_nothing(tmp_path: Path, study_file: Path) -> None:
    once = load_study(study_file)
    path = tmp_path / "resolved.yaml"
    path.write_text(yaml.safe_dump(once.model_dump(mode="json")))
    assert load_study(path) == once
    assert load_study(path).digest == once.digest


def test_command_line_values_replace_the_studys(study_file: Path) -> None:
    study = load_study(study_file, federation={"rounds": 9}, seed=1)
    assert (study.federation.rounds, study.seed) == (9, 1)
    assert study.federation.minimum_cohort == TINY["federation"]["minimum_cohort"]  # type: ignore[index]


@pytest.mark.parametrize("value", [3, 0, [], "often"])
def test_a_section_that_is_none_is_one_sentence_with_values_of_the_command_line_too(
    tmp_path: Path, value: object
) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(changed("federation", value)))
    for changes in ({}, {"federation": {"rounds": 2}}):
        with pytest.raises(StudyError, match=r"study\.yaml( with federation changed)?: federation: [^\n]+\.$"):
            load_study(tmp_path / "study.yaml", **changes)


def test_an_empty_section_takes_values_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(changed("federation", None)))
    assert load_study(tmp_path / "study.yaml", federation={"rounds": 2}).federation.rounds == 2


@pytest.mark.parametrize("name", ["demo", "real-brains", "real-t1-controls", "real-flair"])
def test_shipped_studies_are_valid(name: str) -> None:
    assert load_study(shipped_study(name)).name == name


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_study_resolves_under_its_own_name(path: Path) -> None:
    assert load_study(path).name == path.stem


def test_the_23_institutions_have_the_sizes_of_fets_2022() -> None:
    if not PARTITION.exists():
        pytest.skip(f"the official partition is not at {PARTITION}")
    with open(PARTITION) as file:
        sizes = Counter(int(row["Partition_ID"]) for row in csv.DictReader(file))
    study = load_study(ROOT / "studies" / "fets-sizes.yaml")
    assert study.data.phantom is not None
    found = {int(site.name.rpartition("-")[2]): site.controls - 1 for site in study.data.phantom.sites}
    total = sum(sizes.values())
    assert found == {site: max(2, round(42 * count / total)) for site, count in sizes.items()}


@pytest.mark.parametrize(
    "privacy", [{"delta": 0.5}, {"delta": 1e-300}, {"sampling_rate": 1e-9}, {"central": {"delta": 0.5}}]
)
def test_privacy_that_is_none_or_that_nobody_can_work_out_is_refused(privacy: dict[str, Any]) -> None:
    """A delta of one half gives every other person away; a rate of 1e-9 made 1e9 steps of nothing but noise."""
    with pytest.raises(StudyError, match=next(iter(privacy))):
        resolve({"name": "s", "data": {"modalities": ["T1w"]}, "privacy": {"epsilon": 4, **privacy}}, "test")
