"""A server that changed its code, or an operator who edited a study, against a hospital's client."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cohorts
import common_edges
import nibabel
import numpy as np
import pytest
import yaml
from attacker import MINIMUM, Server, offered, otherwise, study

from normfed_client.answering.journal import LOG
from normfed_client.evaluating.evaluation import Evaluation
from normfed_client.hospital import site as site_module
from normfed_client.hospital.folder import open_hospital
from normfed_client.hospital.site import Site, people_of
from normfed_client.imaging.template import common_grid
from normfed_client.operation.services import services
from normfed_common.foundation.errors import SiteCode, WireError
from normfed_common.foundation.files import inside
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.metrics.tissue import CLASSES
from normfed_common.models.catalogue import MODELS
from normfed_common.wire.answers import CanaryBack, Described
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_common.wire.messages import error_code
from normfed_deploy.rehearsal import Rehearsal

ATLAS = {"name": "atlas"}


@pytest.mark.parametrize("arm", ["/etc", "../../outside", "..", "a/b", "a\0b", "", "x" * 300, "~", "a\n"])
@pytest.mark.parametrize("task", ["train.round", "evaluate.score", "evaluate.measure"])
def test_no_name_of_a_model_is_a_path(server: Server, cohort: Path, task: str, arm: str) -> None:
    """Once `evaluate.score` and `evaluate.measure` with an absolute path deleted what was there."""
    before = sorted(path for path in cohort.rglob("*"))
    assert error_code(server.header(task, study(), arm=arm)) is SiteCode.BAD_REQUEST
    assert sorted(path for path in cohort.rglob("*")) == before


@pytest.mark.parametrize(
    ("task", "field"),
    [
        ("train.sums", {"run": "../other"}),
        ("train.sums", {"run": ""}),
        ("train.sums", {"phase": "../x"}),
        ("train.sums", {"iteration": -1}),
        ("train.sums", {"version": "1" * 99}),
        ("train.sums", {"repeat": -1}),
        ("train.sums", {"unknown": 1}),
        ("train.round", {"round": 10**9}),
        ("evaluate.count", {"low": float("nan")}),
        ("evaluate.measure", {"threshold": None}),
    ],
)
def test_every_text_and_size_of_a_request_has_a_pattern_and_a_bound(
    server: Server, task: str, field: dict[str, Any]
) -> None:
    reply = server.header(task, study(), **field)
    assert error_code(reply) in (SiteCode.BAD_REQUEST, SiteCode.VERSION_DIFFERS)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/a", "a\0", "x" * 300, "a\\b"])
def test_a_path_of_foreign_names_stays_below_its_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(WireError):
        inside(tmp_path, name)


def test_a_path_of_foreign_names_does_not_follow_a_link_out(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path.parent)
    with pytest.raises(WireError, match="by a link"):
        inside(tmp_path, "out", "file")
    assert inside(tmp_path, "in", "file") == tmp_path / "in" / "file"


WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
_watched: list[list[str]] = []


def _audit(event: str, values: tuple[Any, ...]) -> None:
    if not _watched:
        return
    if event == "open" and isinstance(values[0], str | bytes) and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        _watched[-1].append(os.fsdecode(values[0]))
    elif event in WRITES and values[-1] in (-1, None):  # else a part of a tree whose removal was seen
        _watched[-1] += [os.fsdecode(value) for value in values[:2] if isinstance(value, str | bytes)]
    elif event == "sqlite3.connect":
        _watched[-1].append(str(values[0]))


sys.addaudithook(_audit)


@contextmanager
def written() -> Iterator[list[str]]:
    """Every path that Python writes to, makes or removes in the meantime."""
    _watched.append([])
    try:
        yield _watched[-1]
    finally:
        _watched.pop()


def settings(server: Server, **changes: object) -> None:
    """Change the hospital's site.yaml."""
    path = server.folder / "site.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def whole_run(server: Server, run: str = "run-1", **fields: Any) -> dict[str, np.ndarray]:
    """Every task of a run, as an honest server asks; returns the last answer's arrays."""
    asked = study()
    network = build(MODELS, asked.model, Setting(asked.data.modalities, 4, (1, 1, 1), asked.seed)).share()
    first = offered(network)
    server.answer("query.describe", asked, run=run)
    server.answer("train.canary", asked, first, run=run)
    for number in (1, 2):
        server.answer("train.round", asked, first, run=run, round=number)
    server.answer("train.sums", asked, run=run, phase="moments", model=asked.comparisons.baselines[1], arm="atlas")
    low, high = server.answer("evaluate.score", asked, first, run=run)[1]["range"]
    server.answer("evaluate.count", asked, run=run, low=float(low), high=float(high))
    threshold = float(fields.pop("threshold", high))
    arrays = common_edges.arrays(np.linspace(low, high, 50), threshold)
    return server.answer("evaluate.measure", asked, arrays, run=run, threshold=threshold, maps=True, **fields)[1]


def test_a_hospitals_client_writes_nowhere_but_into_its_folder(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = open_hospital(server.folder)
    for name in ("TMPDIR", "TORCHINDUCTOR_CACHE_DIR"):  # as its processes are started
        monkeypatch.setenv(name, services(hospital)[1].environment[name])
    with written() as paths:
        whole_run(server)
    assert len(paths) > 50
    allowed = (server.folder.resolve(), cache.resolve())
    outside = [path for path in paths if not any(Path(path).resolve().is_relative_to(root) for root in allowed)]
    assert [path for path in outside if not path.startswith("/dev/")] == []


@pytest.mark.parametrize("minimum", [1, MINIMUM - 1])
def test_a_study_that_asks_for_fewer_people_than_the_hospitals_floor_is_refused(server: Server, minimum: int) -> None:
    """Once an atlas of one person was that person's scan, voxel by voxel."""
    asked = study(model=ATLAS, federation={"minimum_cohort": minimum})
    for task in ("query.describe", "train.sums"):
        assert error_code(server.ask(task, asked)) is SiteCode.MINIMUM_TOO_LOW


def test_the_default_floors_of_a_new_hospital_are_ten_and_twenty(cohort: Path, tmp_path: Path) -> None:
    config = open_hospital(Rehearsal(tmp_path, cohort, {"north": ("north",)}).folder / "north").config
    assert (config.minimum_people, config.minimum_people_per_voxel) == (10, 20)


def people(sums: dict[str, np.ndarray]) -> int:
    """How many people an atlas' sums are over, where most have brain."""
    return round(float(sums["count"].max()))


def test_numbers_and_seeds_of_a_study_do_not_decide_who_is_in_a_sum(server: Server) -> None:
    """Once two requests that differed in `held_out_people` gave one person's scan by subtraction."""
    found = [
        server.sums(study(model=ATLAS, seed=seed, data={"held_out_people": held, "held_out_share": share}), f"r{i}")
        for i, (seed, held, share) in enumerate([(7, 0, 0.2), (7, 1, 0.2), (8, None, 0.0), (9, None, 0.7)])
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other["sum"], found[0]["sum"])


def edited(server: Server, cohort: Path, tmp_path: Path, names: list[str], added: int) -> Path:
    """The hospital's dataset without some people and with new ones; its site.yaml points there."""
    other = tmp_path / "edited"
    shutil.copytree(cohort, other)
    rows = (other / "participants.tsv").read_text().splitlines()
    (other / "participants.tsv").write_text("\n".join(r for r in rows if r.split("\t")[0] not in names) + "\n")
    for name in names:
        shutil.rmtree(other / name)
        shutil.rmtree(other / "derivatives" / "masks" / name)
    if added:
        extra = cohorts.write(tmp_path / "extra", {"north": {"new": added}}, seed=77)
        for path in extra.rglob("*.nii.gz"):
            target = other / path.relative_to(extra)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        with open(other / "participants.tsv", "a") as file:
            file.writelines(f"sub-northnew{number:02d}\tnorth\tcontrol\t50\tF\n" for number in range(added))
    settings(server, data=str(other))
    return other


def training(server: Server) -> list[str]:
    """Names of the people whom an untouched run trains on."""
    site = Site(open_hospital(server.folder).site_config("run-1"), study(model=ATLAS))
    return sorted({visit.participant.subject for visit in site.roles.train})


def training_before(server: Server, cohort: Path) -> list[str]:
    """The same, of the dataset as it was."""
    config = open_hospital(server.folder).site_config("run-1").model_copy(update={"data": cohort})
    return sorted({visit.participant.subject for visit in Site(config, study(model=ATLAS)).roles.train})


def test_people_who_come_and_go_between_two_studies_cannot_be_told_by_subtraction(
    server: Server, cohort: Path, tmp_path: Path
) -> None:
    first = server.sums(study(model=ATLAS), "r1")
    trained = training(server)
    assert people(first) == len(trained) >= 2 * MINIMUM
    edited(server, cohort, tmp_path, trained[:1], added=1)
    second = server.sums(study(model=ATLAS, seed=8), "r2")
    # The one who left takes as many with them as it needs, the one who came waits.
    assert people(first) - people(second) == MINIMUM
    log = (server.folder / "state" / "r2" / LOG).read_text()
    assert f"wait: {MINIMUM - 1} train" in log or f"wait: {MINIMUM} train" in log


def test_a_run_that_loses_a_person_in_its_middle_is_refused(server: Server, cohort: Path, tmp_path: Path) -> None:
    server.sums(study(model=ATLAS), "r1")
    edited(server, cohort, tmp_path, training(server)[:1], added=0)
    reply = server.ask("train.sums", study(model=ATLAS), otherwise(1), run="r1")
    assert error_code(reply) is SiteCode.TOO_CLOSE_TO_EARLIER
    assert "put them back, or begin a new run" in (server.folder / "state" / "r1" / LOG).read_text()


def test_a_run_keeps_its_people_when_more_come(server: Server, cohort: Path, tmp_path: Path) -> None:
    first = server.sums(study(model=ATLAS), "r1")
    edited(server, cohort, tmp_path, [], added=30)
    again = server.answer("train.sums", study(model=ATLAS), otherwise(1), run="r1")[1]
    np.testing.assert_array_equal(first["sum"], again["sum"])
    later = server.sums(study(model=ATLAS), "r2")
    assert people(later) - people(first) >= MINIMUM


def without_slab(dataset: Path, people: list[str]) -> None:
    """Take a slab off the brain masks of these people."""
    for name in people:
        path = next(dataset.glob(f"derivatives/masks/{name}/anat/*desc-brain_mask.nii.gz"))
        image = nibabel.load(path)
        mask = np.asarray(image.dataobj).copy()
        mask[:, :, :12] = 0
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), path)


def test_where_few_people_have_brain_nothing_is_told(server: Server, cohort: Path, tmp_path: Path) -> None:
    """At a voxel that one person alone has, the sum over all people is that person's."""
    trained = training(server)
    other = edited(server, cohort, tmp_path, [], added=0)
    without_slab(other, trained[: len(trained) - MINIMUM + 1])
    sums = server.sums(study(model=ATLAS), "r1")
    assert (sums["count"][sums["count"] > 0] >= MINIMUM).all()
    for array in sums.values():
        assert not array[..., :, :, :12].any()
    assert people(sums) == len(trained)


def test_where_few_of_the_newcomers_have_brain_the_next_sum_tells_nothing(
    server: Server, cohort: Path, tmp_path: Path
) -> None:
    """Else the difference of the two sums at that voxel would be about those few."""
    first = server.sums(study(model=ATLAS), "r1")
    other = edited(server, cohort, tmp_path, [], added=20)
    newcomers = sorted(set(training(server)) - set(training_before(server, cohort)))
    assert len(newcomers) >= 2 * MINIMUM
    without_slab(other, newcomers[1:])
    second = server.sums(study(model=ATLAS), "r2")
    assert people(second) == people(first) + len(newcomers)
    difference = second["count"] - first["count"]
    told = second["count"] > 0
    assert ((difference[told] == 0) | (difference[told] >= MINIMUM)).all()
    assert not second["sum"][..., :12].any()


@pytest.mark.parametrize("name", ["sub-northWMH00", "sub-nobody"])
def test_whether_a_person_exists_cannot_be_found_out_by_excluding_them(server: Server, name: str) -> None:
    asked = study(data={"exclude": {name: "curious"}})
    assert error_code(server.ask("query.describe", asked)) is SiteCode.NAMES_PEOPLE


@pytest.mark.parametrize("change", [{"control_groups": ["nobody"]}, {"control_groups": ["north"]}])
def test_few_people_and_nobody_look_the_same(server: Server, change: dict[str, Any]) -> None:
    answer, _ = server.answer("query.describe", study(data=change))
    counts = answer.told(Described).counts
    assert (counts["train"], counts["held_out"]) == (BELOW_MINIMUM, BELOW_MINIMUM)


def test_a_kind_of_lesion_of_few_patients_is_not_named(server: Server, cohort: Path, tmp_path: Path) -> None:
    other = edited(server, cohort, tmp_path, [], added=0)
    rare = next(other.glob("derivatives/masks/sub-northMS00/anat/*label-MS*"))
    rare.rename(rare.with_name(rare.name.replace("label-MS", "label-rare")))
    answer, _ = server.answer("query.describe", study())
    assert set(answer.told(Described).kinds) <= {"MS", "WMH"}
    assert answer.told(Described).counts["test"] == 11


def test_a_canary_sends_back_what_it_was_sent(server: Server) -> None:
    """Once it sent what one batch had taught, which is about four people at most."""
    asked = study()
    network = build(MODELS, asked.model, Setting(asked.data.modalities, 4, (1, 1, 1), 3)).share()
    answer, arrays = server.answer("train.canary", asked, offered(network))
    assert answer.payload == CanaryBack(steps=1)  # and no loss
    for name, array in network.items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"federation": {"rounds": 100_000}}, SiteCode.TOO_MUCH_ASKED),
        ({"federation": {"local_epochs": 1000}}, SiteCode.TOO_MUCH_ASKED),
        ({"model": {"pairs_per_subject": 9_000_000}}, SiteCode.TOO_MUCH_ASKED),
        ({"strategy": {"name": "fine-tuning", "epochs": 9_000}}, SiteCode.TOO_MUCH_ASKED),
    ],
)
def test_more_work_than_the_hospital_allows_is_refused(server: Server, changes: dict[str, Any], code: SiteCode) -> None:
    assert error_code(server.ask("query.describe", study(**changes))) is code


@pytest.mark.parametrize("corner", [True, False])
def test_an_atlas_of_nobody_is_refused_whether_or_not_anybody_has_brain_at_that_voxel(
    server: Server, corner: bool
) -> None:
    """Once the site said that its maps were not finite, only if somebody had."""
    shape = common_grid(4).shape
    asked = study(model=ATLAS)
    channels = (len(asked.data.modalities), *shape)
    where = (0, 0, 0) if corner else tuple(n // 2 for n in shape)
    sums = {"count": np.full(shape, 9.0), "sum": np.full(channels, 4.5), "squares": np.full(channels, 3.0)}
    sums["count"][where], sums["sum"][(slice(None), *where)] = 1e-300, 1e300
    arrays = {f"sums.moments.{name}": value for name, value in sums.items()}
    assert error_code(server.ask("evaluate.score", asked, offered(arrays))) is SiteCode.BAD_REQUEST


def test_what_the_study_does_not_contain_is_refused(server: Server) -> None:
    asked = study()
    for fields in (
        {"model": {"name": "siamese", "pairs_per_subject": 1}},
        {"strategy": {"name": "fedprox", "mu": 1.0}},
        {"round": 4},
        {"round": 1, "since": 2},
        {"repeat": 1},
        {"compression": "int8"},
    ):
        assert error_code(server.ask("train.round", asked, **fields)) is SiteCode.BAD_REQUEST, fields


@pytest.mark.parametrize("task", ["train.canary", "train.round", "train.personal", "evaluate.score"])
def test_arrays_that_are_no_offer_of_one_model_are_refused(server: Server, task: str) -> None:
    asked = study(strategy={"name": "fine-tuning"})
    network = build(MODELS, asked.model, Setting(asked.data.modalities, 4, (1, 1, 1), asked.seed)).share()
    for arrays in (network, offered(network, network), {"1/w": np.zeros(3)}):
        assert error_code(server.ask(task, asked, arrays)) is SiteCode.BAD_REQUEST


@pytest.mark.parametrize("shape", [None, (1,), ()])
def test_a_control_variate_that_is_not_the_models_is_refused(server: Server, shape: tuple[int, ...] | None) -> None:
    asked = study(strategy={"name": "scaffold"}, federation={"optimiser": "sgd"})
    network = build(MODELS, asked.model, Setting(asked.data.modalities, 4, (1, 1, 1), asked.seed)).share()
    beside = {} if shape is None else {name: np.zeros(shape, np.float32) for name in network}
    assert error_code(server.ask("train.round", asked, offered(network, **beside))) is SiteCode.BAD_REQUEST


def test_a_hospital_answers_about_so_many_models_and_no_more(server: Server) -> None:
    settings(server, most_models=2, most_requests_per_model=3)
    asked = study(model=ATLAS)
    for number in range(3):
        server.answer("train.sums", asked, otherwise(number), arm="atlas")
    assert error_code(server.ask("train.sums", asked, otherwise(9), arm="atlas")) is SiteCode.TOO_MUCH_ASKED
    server.answer("train.sums", asked, arm="atlas~2", phase="moments")
    assert error_code(server.ask("train.sums", asked, arm="atlas~3", phase="moments")) is SiteCode.TOO_MUCH_ASKED


def test_a_hospital_keeps_so_many_runs_and_no_more(server: Server) -> None:
    settings(server, most_runs=2)
    asked = study(model=ATLAS)
    for run in ("r1", "r2", "r1"):
        server.answer("query.describe", asked, run=run)
    for _ in range(2):  # once the second time it was served: the refusal's own log had made a folder of the run
        assert error_code(server.ask("query.describe", asked, run="r3")) is SiteCode.TOO_MUCH_ASKED
    assert "most_runs: 2 runs are kept" in (server.folder / "log" / LOG).read_text()


def test_a_message_larger_than_the_hospital_takes_is_refused(server: Server) -> None:
    settings(server, largest_message_mb=0.5)
    arrays = {"w": np.zeros(200_000, np.float32)}
    assert error_code(server.ask("train.round", study(), arrays, round=1)) is SiteCode.TOO_MUCH_ASKED
    # Its own answer, too: an atlas' sums are larger than that.
    assert error_code(server.ask("train.sums", study(model=ATLAS), phase="moments")) is SiteCode.TOO_MUCH_ASKED


def test_sums_per_voxel_over_few_people_leave_as_means_of_cubes(server: Server) -> None:
    exact = server.sums(study(model=ATLAS), "r1")
    settings(server, minimum_people_per_voxel=40, cube_mm=8.0)
    server.answer("query.describe", study(model=ATLAS), run="r2")
    answer, coarse = server.answer("train.sums", study(model=ATLAS), run="r2", phase="moments")
    assert "means of cubes of 8 mm: they are over fewer people than the 40" in answer.notes[0]
    for name, array in exact.items():
        volumes, cubes = array.reshape(-1, *array.shape[-3:]), coarse[name].reshape(-1, *array.shape[-3:])
        for corner in ((0, 0, 0), (20, 24, 18)):
            cube = (0, *(slice(start, start + 2) for start in corner))
            assert np.ptp(cubes[cube]) == 0
            assert cubes[cube].flat[0] == pytest.approx(volumes[cube].mean())
        assert coarse[name].sum() == pytest.approx(array.sum())


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("preprocessing", {"percentiles": [45.0, 45.002]}),
        ("preprocessing", {"percentiles": [1.0, 45.0]}),
        ("preprocessing", {"clip": [-1e5, 1e5]}),
        ("preprocessing", {"clip": [1.9, 2.0]}),
        ("preprocessing", {"lesion_margin_mm": 20.0}),
        ("data", {"normal": "lesion-free-tissue", "lesion_labels": ["WMH"]}),
        ("data", {"normal": "lesion-free-slices"}),
        ("transforms", [{"name": "percentiles", "percentiles": [45.0, 45.002]}]),
        ("transforms", [{"name": "z-score"}, {"name": "nyul", "percentiles": [50.0, 50.002, 50.004]}]),
        ("transforms", [{"name": "nyul", "scale": [0.0, 1e4]}]),
        ("transforms", [{"name": "white-stripe", "width": 1e-6}]),
        ("transforms", [{"name": "z-score", "clip": [-1e5, 1e5]}]),
        ("transforms", [{"name": "tissue", "clip": [7.9, 8.0]}]),
    ],
)
def test_no_way_of_preparing_scans_makes_one_person_outweigh_the_others(
    server: Server, section: str, change: dict[str, Any]
) -> None:
    """Divided by the distance of two neighbouring percentiles, a sum over all is nearly one person's scan."""
    assert error_code(server.ask("query.describe", study(**{section: change}))) is SiteCode.RECIPE_REFUSED


def test_scans_are_prepared_for_a_server_in_so_many_ways_and_no_more(server: Server) -> None:
    settings(server, most_recipes=2)
    for number, clip in enumerate((2.0, 2.1, 2.0)):
        server.answer("query.describe", study(preprocessing={"clip": [0.0, clip]}), run=f"r{number}")
    other = server.ask("query.describe", study(preprocessing={"clip": [0.0, 2.2]}), run="other")
    assert error_code(other) is SiteCode.TOO_MUCH_ASKED


def test_a_made_up_atlas_does_not_read_single_voxels_of_single_people(server: Server) -> None:
    """Its mean and spread can give every chosen voxel scores of its own: one bin, one voxel, one person."""
    asked = study(model=ATLAS)
    shape, brain = common_grid(4).shape, np.flatnonzero(common_grid(4).brain)
    variance = np.full((2, *shape), 4.0)
    for decade, voxel in enumerate(brain[1000:11_000:2000], start=1):
        variance.reshape(2, -1)[0, voxel] = 100.0**-decade
    crafted = {
        "sums.moments.count": np.full(shape, 1e6),
        "sums.moments.sum": np.zeros((2, *shape)),
        "sums.moments.squares": 1e6 * variance,
    }
    low, high = server.answer("evaluate.score", asked, offered(crafted))[1]["range"]
    found = server.answer("evaluate.count", asked, low=float(low), high=float(high))[1]
    for counts in found.values():
        assert (counts[counts > 0] >= MINIMUM).all()
    assert found["normal"].sum() > 100_000


def test_a_sum_and_a_figure_of_almost_the_same_people_are_not_both_released(server: Server) -> None:
    """A figure of a made-up model can be a sum of intensities: both are held against all that was released."""
    server.sums(study(model=ATLAS, data={"control_groups": ["WMH", "MS"]}), "r1")
    answer, _ = server.answer("query.describe", study(data={"control_groups": ["control"]}), run="r2")
    site = Site(open_hospital(server.folder).site_config("r2"), study())
    first = Site(
        open_hospital(server.folder).site_config("r1"), study(model=ATLAS, data={"control_groups": ["WMH", "MS"]})
    )
    learnt, tested = set(people_of(first.train)), set(people_of(site.test))
    assert learnt <= set(people_of(first.cases("train")))
    for only in (learnt - tested, tested - learnt, learnt & tested):
        assert not 0 < len(only) < MINIMUM
    assert answer.told(Described).counts["test"] in (BELOW_MINIMUM, len(tested))


def test_people_of_whom_a_site_makes_its_own_part_of_a_model_are_on_record(server: Server) -> None:
    """Figures of maps that one-class machines made are about those the machines were fitted on, too: once a server that
    asked for nothing else could have them again after one person was added, and nothing noticed."""
    one_class = {"fit_on": "location", "minimum_subjects": MINIMUM, "spacing_mm": 24.0}
    asked = study(model={"name": "siamese", "patch_size": 9, "one_class": one_class})
    model = build(MODELS, asked.model, Setting(asked.data.modalities, 4, common_grid(4).shape, asked.seed))
    places, first, second = np.prod(model.head.gaussians.cells), *model.head.gaussians.upper
    crafted = {
        "sums.moments.count": np.full(places, 100.0),
        "sums.moments.sum": np.zeros((places, model.head.gaussians.dimension)),
        "sums.moments.products": np.tile(100.0 * (first == second), (places, 1)),
    }
    server.answer("evaluate.score", asked, offered(model.share() | crafted))
    site = Site(open_hospital(server.folder).site_config("run-1"), asked)
    released = [r.people for r in open_hospital(server.folder).releases().all() if r.kind == "learning"]
    assert released == [len(people_of(site.train))]


def test_of_few_patients_with_a_lesion_nothing_is_told(server: Server, cohort: Path, tmp_path: Path) -> None:
    other = edited(server, cohort, tmp_path, [], added=0)
    for path in sorted(other.glob("derivatives/masks/sub-north*/anat/*label-*"))[: 11 - MINIMUM + 1]:
        image = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), path)
    found = whole_run(server)
    for name in ("lesion", "regions", "patients"):
        assert not found[name].any()
    assert "image_auroc" not in found


def test_a_hospital_that_only_holds_people_out_tells_of_these_alone_and_of_enough_and_it_is_on_record(
    server: Server,
) -> None:
    """It refuses what only those who test answer, and counts again once one person fewer is held out."""
    asked = study(model={"name": "intensity"}, data={"lesion_labels": ["none-such"]})
    low, high = server.answer("evaluate.score", asked, offered({}))[1]["range"]
    answer, counts = server.answer("evaluate.count", asked, low=float(low), high=float(high))
    people = answer.subjects
    assert people >= MINIMUM
    assert [r.people for r in open_hospital(server.folder).releases().all() if r.kind == "figures"] == [people]
    assert not counts["normal"].any()
    assert not counts["lesion"].any()
    for name in ("held_out", "held_out_people"):
        assert counts[name].any()
        assert (counts[name][counts[name] > 0] >= MINIMUM).all()
    measure = common_edges.arrays(np.linspace(low, high, 50), float(high))
    for refused in (
        server.ask("evaluate.measure", asked, measure, threshold=float(high)),
        server.ask("evaluate.score", asked, offered({}), detail="ranking"),
    ):
        assert error_code(refused) is SiteCode.COHORT_TOO_SMALL
    site = Site(open_hospital(server.folder).site_config("run-1"), asked)
    settings(server, exclude=[sorted(people_of(site.held_out))[0]])
    site_module.site_for.cache_clear()
    again = server.ask("evaluate.count", asked, otherwise(1), low=float(low), high=float(high))
    assert error_code(again) is SiteCode.TOO_CLOSE_TO_EARLIER


@pytest.mark.parametrize("task", ["train.canary", "train.round", "query.describe", "train.sums"])
def test_every_kind_of_question_is_counted(server: Server, task: str) -> None:
    settings(server, most_requests_per_model=3)
    asked = study()
    network = build(MODELS, asked.model, Setting(asked.data.modalities, 4, (1, 1, 1), asked.seed)).share()
    codes = []
    for number in range(12):
        if task == "train.sums":
            reply = server.ask(task, asked, otherwise(number), model=asked.comparisons.baselines[1])
        else:
            reply = server.ask(task, asked, offered({n: a * np.float32(1 + number / 100) for n, a in network.items()}))
        codes.append(error_code(reply) if reply.has_error() else None)
    most = 10 if task == "train.round" else 3
    assert codes == [None] * most + [SiteCode.TOO_MUCH_ASKED] * (12 - most)


def test_no_round_and_no_sums_are_answered_that_the_model_does_not_have(server: Server) -> None:
    """However few or many the study has: the model itself says how many rounds its phases take."""
    asked = study()
    network = build(MODELS, asked.model, Setting(asked.data.modalities, 4, (1, 1, 1), asked.seed)).share()
    beyond = asked.federation.rounds + 1
    assert error_code(server.ask("train.round", asked, offered(network), round=beyond)) is SiteCode.BAD_REQUEST
    for phase, iteration in (("moments", 1), ("nothing", 0)):
        reply = server.ask("train.sums", study(model=ATLAS), run="r2", phase=phase, iteration=iteration)
        assert error_code(reply) is SiteCode.BAD_REQUEST


def test_only_rounds_have_a_number(server: Server) -> None:
    for task, number in (("train.sums", 1), ("evaluate.score", 2), ("train.round", 0)):
        assert error_code(server.header(task, study(), round=number)) is SiteCode.BAD_REQUEST


def test_scans_of_too_few_people_are_not_even_opened(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """How long that takes would tell whether there is somebody."""
    opened: list[str] = []
    prepare = site_module.prepare
    monkeypatch.setattr(site_module, "prepare", lambda visit, *rest: opened.append(visit.name) or prepare(visit, *rest))
    few = {"control_groups": ["MS", "WMH"], "lesion_labels": ["none-such"]}
    server.answer("query.describe", study(data=few))
    assert opened
    opened.clear()
    settings(server, minimum_people=12)
    asked = study(data=few, federation={"minimum_cohort": 12})
    server.answer("query.describe", asked, run="r2")
    assert not opened


def test_an_old_copy_of_the_record_is_noticed(server: Server) -> None:
    record = server.folder / "releases.sqlite"
    old = record.read_bytes()
    server.sums(study(model=ATLAS), "r1")
    server.answer("query.describe", study(model=ATLAS, seed=8), run="r2")
    record.write_bytes(old)
    assert error_code(server.ask("query.describe", study(), run="r3")) is SiteCode.RECORD_UNUSABLE


@pytest.mark.parametrize("damage", ["releases.sqlite", "people.secret", "state/run-1/members.json"])
def test_with_a_damaged_record_nothing_is_released(server: Server, damage: str) -> None:
    server.answer("query.describe", study())
    path = server.folder / damage
    content = bytearray(path.read_bytes())
    place = len(content) // 2 if damage.endswith("json") else 0
    content[place] ^= 1
    path.write_bytes(bytes(content))
    site_module.site_for.cache_clear()
    run = "run-1" if damage.endswith("json") else "run-2"
    assert error_code(server.ask("query.describe", study(), run=run)) is SiteCode.RECORD_UNUSABLE


def test_answers_given_under_laxer_rules_are_not_given_again(server: Server) -> None:
    asked = study(model=ATLAS)
    server.sums(asked, "run-1")
    settings(server, minimum_people=13)
    again = server.ask("train.sums", asked, phase="moments")
    assert error_code(again) is SiteCode.MINIMUM_TOO_LOW


def test_no_threshold_singles_out_the_person_with_the_highest_score(server: Server) -> None:
    honest = whole_run(server, "r1")
    beyond = whole_run(server, "r2", threshold=1e9)
    np.testing.assert_array_equal(honest["moments"], beyond["moments"])


@pytest.mark.parametrize("place", range(len(CLASSES)))
def test_no_threshold_of_a_class_of_place_singles_out_a_person(server: Server, place: int) -> None:
    """Once a threshold at the rounded end of the range was reached by fewer patients than the minimum."""
    asked = study(evaluation={"threshold_by": "tissue"})
    who = {"model": asked.comparisons.baselines[1], "arm": "atlas"}
    sums = {f"sums.moments.{n}": v for n, v in server.sums(study(model=ATLAS), "r0").items()}
    site = Site(open_hospital(server.folder).site_config("r1"), asked)
    low, high = server.answer("evaluate.score", asked, offered(sums), run="r1", **who)[1]["range"]
    evaluation = Evaluation(site, "atlas", asked.seed)
    tops: dict[str, float] = {}
    for case in site.test:
        person, scores = case.visit.participant.subject, evaluation._scores(case)[evaluation._classes(case) == place]
        tops[person] = max(tops.get(person, 0.0), float(scores.max()))
    ordered = sorted(tops.values(), reverse=True)
    beyond = [np.nextafter(np.float32(ordered[MINIMUM - 1]), np.float32(np.inf)), *ordered[:MINIMUM:2], high]
    found = []
    for number, level in enumerate(beyond):
        run = f"r{number + 2}"
        server.answer("evaluate.score", asked, offered(sums), run=run, **who)
        arrays = common_edges.arrays(np.linspace(low, high, 50), float(low + (high - low) / 10))
        arrays["thresholds"][place] = level
        asking = {"run": run, "threshold": float(arrays["thresholds"][place - 1]), **who}
        found.append(server.answer("evaluate.measure", asked, arrays, **asking)[1]["moments"])
    for moments in found[1:]:
        np.testing.assert_array_equal(moments, found[0])
    assert (found[0][..., 0] > 0).any()


def test_brains_are_cut_into_classes_alike_whatever_a_study_asks(server: Server) -> None:
    """Else the difference of two sums over the same people would be that of a class of few of them."""
    counted = []
    for run, by in (("r1", "whole-brain"), ("r2", "tissue")):
        asked = study(evaluation={"threshold_by": by})
        who = {"model": asked.comparisons.baselines[0], "arm": "intensity", "run": run}
        low, high = server.answer("evaluate.score", asked, offered({}), **who)[1]["range"]
        counted.append(server.answer("evaluate.count", asked, low=float(low), high=float(high), **who)[1])
    assert counted[0].keys() == counted[1].keys() == {"normal", "lesion", "held_out", "held_out_people"}
    for name, counts in counted[0].items():
        np.testing.assert_array_equal(counts, counted[1][name])
    assert (counted[0]["held_out"].sum(1) > 100).all()


def test_a_range_narrower_than_the_scores_and_foreign_edges_are_refused(server: Server) -> None:
    asked = study()
    network = build(MODELS, asked.model, Setting(asked.data.modalities, 4, (1, 1, 1), asked.seed)).share()
    low, high = server.answer("evaluate.score", asked, offered(network))[1]["range"]
    narrow = server.ask("evaluate.count", asked, low=float(low), high=float(low + (high - low) / 2))
    assert error_code(narrow) is SiteCode.BAD_REQUEST
    for edges, counts in (
        (np.array([1.0, 0.0]), np.zeros(3, np.int64)),
        (np.linspace(0, 1, 500), np.zeros(501, np.int64)),
        (np.zeros((2, 2)), np.zeros(3, np.int64)),
        (np.array([0.0, 1.0]), np.array([0, -1, 0])),
        (np.array([0.0, 1.0]), np.zeros(2, np.int64)),
    ):
        arrays = {**common_edges.arrays(np.linspace(0, 1, 2), 0.5), "edges": edges, "held_out_people": counts}
        reply = server.ask("evaluate.measure", asked, arrays, threshold=0.5)
        assert error_code(reply) is SiteCode.BAD_REQUEST


def test_what_is_asked_of_a_hospital_is_in_its_own_log(server: Server) -> None:
    whole_run(server)
    log = (server.folder / "state" / "run-1" / LOG).read_text()
    for task in ("query.describe", "train.canary", "train.round", "train.sums", "evaluate.score", "evaluate.measure"):
        assert task in log
    described = next(line for line in log.splitlines() if "query.describe" in line)
    for part in ("study asked", "model siamese", "2 rounds of 1 epochs", f'"minimum_people":{MINIMUM}', "take part: "):
        assert part in described


def test_scores_that_are_damaged_between_two_steps_are_made_again(server: Server) -> None:
    asked = study()
    network = build(MODELS, asked.model, Setting(asked.data.modalities, 4, (1, 1, 1), asked.seed)).share()
    low, high = server.answer("evaluate.score", asked, offered(network))[1]["range"]
    expected = server.answer("evaluate.count", asked, low=float(low), high=float(high))[1]
    folder = server.folder / "state" / "run-1" / "scores" / "federated"
    first, second, *_ = sorted(folder.glob("sub-*.safetensors"))
    first.write_bytes(first.read_bytes()[:-100])
    second.unlink()
    another = {"not": np.zeros(1)}  # the same asked otherwise, so that the outbox does not have it
    again = server.answer("evaluate.count", asked, another, low=float(low), high=float(high))[1]
    for name, counts in expected.items():
        np.testing.assert_array_equal(again[name], counts)


def test_a_range_that_is_wider_than_numbers_reach_is_a_bad_request(server: Server) -> None:
    asked = study(model={"name": "intensity"})
    server.answer("query.describe", asked)
    server.answer("evaluate.score", asked, offered({"w": np.zeros(1, np.float32)}))
    reply = server.ask("evaluate.count", asked, low=-1e308, high=1e308)
    assert error_code(reply) == SiteCode.BAD_REQUEST
