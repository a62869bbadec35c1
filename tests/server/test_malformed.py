"""One site answers whatever it likes, to whatever it is asked: it is set aside, or the run ends in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_results import run_results
from scripted import PEOPLE, TOLD, ScriptedGrid, asks_for_patches, federation, patches, trained_alone
from summaries import PER_SCAN

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import NormfedError, RunError, SiteCode
from normfed_common.metrics.histograms import COARSE_BINS
from normfed_common.metrics.tissue import CLASSES
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer, Counted, Described, Figures, FineTuned, ScoredPeople, Summed
from normfed_common.wire.messages import decode_request, encode, refusal
from normfed_common.wire.requests import Request, ScorePeople
from normfed_server.coordinator import Coordinator
from normfed_server.report.page import write_report
from normfed_server.report.words import warnings
from normfed_server.runs.folder import reopen
from normfed_server.sites.asking import SiteFailed
from normfed_server.sites.participants import Admitted, Simulated
from normfed_simulation.engines.local import identify

TASKS = (
    *("query.describe", "train.canary", "train.round", "train.personal", "train.sums"),
    *("evaluate.score", "evaluate.count", "evaluate.measure"),
)
TESTED, HELD_OUT = 4, 3
Content = tuple[Answer, Arrays]
Tamper = Callable[[str, Request, Content], Content | RecordDict | None]


def honest(task: str, site: str, people: int, request: Request, arrays: Arrays) -> Content:
    """What a site of ``people`` would answer: every patient's figures are 1/2, every voxel's score lies in [0, 1]."""
    if task == "query.describe":
        counts = {"train": people, "held_out": HELD_OUT, "test": TESTED}
        return Answer(site=site, payload=Described(counts=counts, kinds=("MS",))), {}
    if task in ("train.canary", "train.round"):
        moved = {n: a + np.float32(0.1) for n, a in trained_alone(offers.decode(arrays).models[0]).items()}
        return Answer(site=site, subjects=people, payload=TOLD[task]), moved
    if asks_for_patches(request):
        return Answer(site=site, payload=Summed()), patches(request)
    if task == "train.sums":
        count = np.full((4, 4, 2), float(people))
        both = np.stack([count, count])  # T1w and FLAIR
        return Answer(site=site, payload=Summed()), {"count": count, "sum": both / 2, "squares": both / 3}
    if task == "evaluate.count":
        counts = {name: np.ones(COARSE_BINS, np.int64) for name in ("normal", "lesion")}
        counts["held_out"] = np.ones((len(CLASSES), COARSE_BINS), np.int64)
        counts["held_out_people"] = np.bincount([9, 99, 999], minlength=COARSE_BINS)
        return Answer(site=site, payload=Counted()), counts
    if task == "train.personal":
        return Answer(site=site, payload=FineTuned(loss=1.0)), {}
    if request.payload == ScorePeople(detail="full"):
        return Answer(site=site, payload=ScoredPeople()), {"range": np.array([0.0, 1.0])}
    figures = {
        "moments": np.tile([TESTED, TESTED / 2, TESTED / 4], (1, len(PER_SCAN), 1)).astype(float),
        "bootstrap": np.stack(2 * [np.full((1, len(PER_SCAN), 50), float(TESTED))], 2) * [[1.0], [0.5]],
    }
    ranking = task == "evaluate.score"
    if not ranking:
        size = len(arrays["edges"]) + 1
        figures |= {name: np.ones(size, np.int64) for name in ("normal", "lesion")}
        figures["regions"] = np.full(size, TESTED / size)
        figures["normal_people"] = np.bincount([1] * HELD_OUT, minlength=size)
        figures["patients"] = np.bincount([2] * TESTED, minlength=size)
        figures["image_auroc"] = np.array(0.75)
    groups = ("all",)
    return Answer(site=site, payload=ScoredPeople(groups=groups) if ranking else Figures(groups=groups)), figures


class Hospitals(ScriptedGrid):
    """Sites that answer every task; one of them tampers with its answer to one task."""

    concurrent_arms = 1

    def __init__(self, task: str, tamper: Tamper, liars: str = "b", people: dict[str, int] = PEOPLE) -> None:
        super().__init__(lambda *_: None, people)
        self.task, self.tamper, self.liars = task, tamper, liars

    def _reply(self, message: Message) -> Message | None:
        site = next((n for n, node in self.connected.items() if node == message.metadata.dst_node_id), None)
        if site is None:
            return None  # who left says nothing
        task, (request, arrays) = message.metadata.message_type, decode_request(message)
        if task.startswith("evaluate") and not self.people[site]:
            return refusal(message, SiteCode.NO_TEST_SUBJECTS)
        found = honest(task, site, self.people[site], request, arrays)
        if task == self.task and site in self.liars and not asks_for_patches(request):
            made = self.tamper(task, request, found)
            if made is None or isinstance(made, RecordDict):
                reply = Message(RecordDict(), reply_to=message)
                reply.__dict__["_content"] = made
                return reply
            found = made
        return Message(encode(*found), reply_to=message)


def small(study: StudyConfig, **changes: Any) -> StudyConfig:
    raw = federation(study).model_dump(mode="json")
    raw["comparisons"] |= {"local": False, "pooled": False, "baselines": [{"name": "atlas"}]}
    return resolve(raw | changes, "test")


def play(
    study: StudyConfig, folder: Path, grid: Hospitals, forgiving: bool = True, report: bool = False
) -> tuple[dict[str, Any], str]:
    """A whole run; its figures and its events."""
    identify()
    (folder / "study.yaml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json")))
    members = Admitted(lambda: dict(grid.connected), frozenset)
    Coordinator(grid, folder, members if forgiving else Simulated(len(grid.connected))).run()
    if report:
        write_report(reopen(folder))
    return json.loads((folder / "metrics.json").read_text()), (folder / "events.jsonl").read_text()


def changed(header: dict[str, Any] | None = None, **arrays: Any) -> Tamper:
    """The honest answer with other fields of header or payload, or other arrays; None takes one away."""

    def tamper(task: str, request: Request, content: Content) -> Content:
        answer, given = content
        found = {name: value for name, value in {**given, **arrays}.items() if value is not None}
        said = {name: value for name, value in (header or {}).items() if name in type(answer.payload).model_fields}
        payload = answer.payload.model_copy(update=said)  # as a liar does, unchecked
        others = {name: value for name, value in (header or {}).items() if name not in said}
        return answer.model_copy(update={**others, "payload": payload}), found

    return tamper


def scaled(name: str, factor: float) -> Tamper:
    return lambda task, request, content: (content[0], {**content[1], name: content[1][name] * factor})


def regridded(task: str, request: Request, content: Content) -> Content:
    """The same sums over another grid."""
    return content[0], {name: value[..., :3, :3, :2] for name, value in content[1].items()}


EVERYWHERE = {
    "nothing at all": lambda *_: None,
    "an empty record": lambda *_: RecordDict(),
    "no header": lambda *_: RecordDict({"arrays": ArrayRecord()}),
    "a header that is no answer": lambda *_: RecordDict(
        {"header": ConfigRecord({"json": '{"evil": 1}'}), "arrays": ArrayRecord()}
    ),
    "arrays that promise more than there is": lambda *_: RecordDict(
        {
            "header": ConfigRecord({"json": '{"site": "b"}'}),
            "arrays": ArrayRecord({"x": Array("float64", (10**9, 10**9), "numpy.ndarray", b"\x93NUMPY\x01\x00")}),
        }
    ),
    "not a number": lambda task, request, content: (content[0], {"x": np.array([np.nan])}),
    "another site's name": changed({"site": "a"}),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("what", EVERYWHERE)
def test_one_malformed_answer_sets_its_site_aside_and_the_run_goes_on(
    study: StudyConfig, tmp_path: Path, task: str, what: str
) -> None:
    strategy = {"name": "fine-tuning"} if task == "train.personal" else {"name": "fedavg"}
    grid = Hospitals(task, EVERYWHERE[what])
    mended = small(study, strategy=strategy)
    if (task, what) == ("query.describe", "another site's name"):
        with pytest.raises(RunError, match="Site b refuses"):  # a key stands for one site: the operator must look
            play(mended, tmp_path / "r", grid)
        return
    if task == "train.canary":
        with pytest.raises(RunError, match=r"The canary did not come back from 1 of 4 sites\. b: .*excuse"):
            play(mended, tmp_path / "r", grid)
        return
    metrics, events = play(mended, tmp_path / "r", grid)
    said = [json.loads(line) for line in events.splitlines()]
    about = [event for event in said if event["event"] in ("missing", "note") and event.get("site") == "b"]
    assert all(event.get("why", event.get("text")) for event in about)
    assert about
    if task == "query.describe":
        assert "what it said of itself cannot be used" in metrics["left_out"]["b"]
        assert any(text.startswith("Partial: b takes no part: ") for text in warnings(run_results(**metrics), {}))
        assert {site["name"] for site in metrics["sites"]} == {"a", "c", "d"}
    if task == "train.round":
        assert metrics["rounds"][0]["outcomes"]["b"] == "set aside"
    if task.startswith("evaluate"):
        assert any(text.startswith("Without b in part (") for text in warnings(run_results(**metrics), {}))
        assert set(metrics["evaluation"]["federated"]["sites"]) == {"a", "c", "d"}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("what", EVERYWHERE)
def test_in_a_simulation_it_is_one_sentence_that_names_the_site(
    study: StudyConfig, tmp_path: Path, task: str, what: str
) -> None:
    """There it is the researcher's own fault: the run stops, and can be resumed."""
    strategy = {"name": "fine-tuning"} if task == "train.personal" else {"name": "fedavg"}
    grid = Hospitals(task, EVERYWHERE[what])
    if task in ("train.canary", "train.round") or (task, what) == ("query.describe", "another site's name"):
        return  # no canary is tried, a round sets aside, and who a node is a simulation does not know beforehand
    with pytest.raises(
        SiteFailed, match=rf"Site (b|node 2) could not answer {task}( of [a-z]+)?( in round 2)?: "
    ) as caught:
        play(small(study, strategy=strategy), tmp_path / "r", grid, forgiving=False)
    assert "\n" not in str(caught.value)


HALF = np.full(COARSE_BINS, 0.5)
CASES: list[tuple[str, Tamper, str]] = [
    ("query.describe", changed({"counts": {"train": 10**6, "held_out": 0, "test": 1}}), "1,000,000 people"),
    (
        "query.describe",
        changed({"counts": {"train": 10**400, "held_out": 0, "test": 1}}),
        "wrong at ('payload', 'query.describe', 'counts', 'train')",
    ),
    ("query.describe", changed({"counts": {"train": -5, "held_out": 0, "test": 1}}), "wrong at"),
    ("query.describe", changed({"counts": {"train": 5, "held_out": 0, "test": 1, "evil": 1}}), "differs at evil"),
    ("query.describe", changed({"counts": {"train": 5}}), "differs at held_out, test"),
    (
        "query.describe",
        changed({"kinds": tuple(map(str, range(101)))}),
        "wrong at ('payload', 'query.describe', 'kinds'",
    ),
    ("query.describe", changed({"kinds": ("x" * 101,)}), "wrong at ('payload', 'query.describe', 'kinds', 0)"),
    ("query.describe", changed({"kinds": ("MS", "MS")}), "a kind of lesion twice"),
    ("train.sums", regridded, "other names or shapes than those of most"),
    ("train.sums", changed(count=np.ones((3, 3))), "count is of shape (3, 3), not (4, 4, 2)"),
    ("train.sums", changed(evil=np.ones(3)), "other names or shapes than those of most"),
    ("train.sums", changed(count=None), "no sums of count"),
    ("train.sums", changed(count=np.ones((4, 4, 2), np.int64)), "int64, not float64"),
    ("train.sums", scaled("count", -1), "count is between -5"),
    ("train.sums", scaled("count", 1000), "count is between 0 and 5e+03"),
    ("train.sums", scaled("squares", -1), "squares is between"),
    ("train.sums", scaled("squares", 1e9), "squares are not of values between 0 and 2"),
    ("train.sums", scaled("squares", 0.5), "sums and squares contradict each other"),
    ("train.sums", scaled("sum", 2e13), "sums are not of values between 0 and 2"),
    ("train.sums", scaled("sum", -1), "sums are not of values between 0 and 2"),
    ("train.sums", scaled("sum", 1e300), "a sum above 1e+15"),
    ("evaluate.score", changed(range=np.array([1.0, 0.0])), "between 1 and 0"),
    ("evaluate.score", changed(range=np.array([0.0, 1e300])), "between 0 and 1e+300"),
    ("evaluate.score", changed(range=np.array([-1e30, 1.0])), "at most 200 fits the other sites'"),
    ("evaluate.score", changed(range=np.array([0.0, 4000.0])), "its scores go to 4e+03"),
    ("evaluate.score", changed(range=np.zeros(3)), "of shape (3,)"),
    ("evaluate.score", changed(range=None), "other arrays than it was asked for: range"),
    ("evaluate.count", changed(normal=np.ones(7, np.int64)), "of shape (7,)"),
    ("evaluate.count", changed(normal=HALF), "normal is float64"),
    ("evaluate.count", scaled("lesion", -1), "lesion is not a count"),
    ("evaluate.count", scaled("normal", 2**40), "normal is not a count"),
    ("evaluate.count", scaled("held_out", 10**6), "held_out is not a count"),
    ("evaluate.count", changed(held_out=np.ones(COARSE_BINS, np.int64)), "not of (4, 65536)"),
    ("evaluate.count", scaled("normal", 2**62), "normal is not a count"),
    ("evaluate.count", scaled("held_out_people", 10**6), "held_out_people is not a count"),
    ("evaluate.count", changed(held_out=None), "other arrays than it was asked for: held_out"),
    ("evaluate.measure", changed(moments=None), "lacks moments"),
    ("evaluate.measure", changed(moments=np.zeros((2, 3))), "a summary has shapes"),
    ("evaluate.measure", scaled("moments", -1), "fewer than nobody"),
    ("evaluate.measure", scaled("moments", 10**6), "more people than it tests"),
    ("evaluate.measure", scaled("moments", 0), "of nobody"),
    ("evaluate.measure", scaled("bootstrap", 1e9), "more people than it tests"),
    ("evaluate.measure", changed({"groups": ()}), "of everybody and of the kinds"),
    ("evaluate.measure", changed({"groups": ("MS",)}), "of everybody and of the kinds"),
    ("evaluate.measure", changed({"groups": ("all", "secret")}), "of everybody and of the kinds"),
    ("evaluate.measure", changed(patients=None), "other arrays than it was asked for: patients"),
    ("evaluate.measure", scaled("patients", 1000), "patients is not a count"),
    ("evaluate.measure", scaled("regions", 1e9), "regions is not a count"),
    ("evaluate.measure", changed(image_auroc=np.array(7.0)), "not between 0 and 1"),
    ("evaluate.measure", changed(image_auroc=np.zeros(2)), "not between 0 and 1"),
]


@pytest.mark.parametrize(("task", "tamper", "reason"), CASES, ids=[f"{c[0]}: {c[2]}" for c in CASES])
def test_what_cannot_be_sets_its_site_aside_with_the_reason(
    study: StudyConfig, tmp_path: Path, task: str, tamper: Tamper, reason: str
) -> None:
    _, events = play(small(study), tmp_path / "r", Hospitals(task, tamper))
    assert any(
        reason in event.get("why", event.get("text", ""))
        for event in map(json.loads, events.splitlines())
        if event.get("site") == "b"
    )


def test_figures_that_no_person_can_have_are_not_in_the_mean(study: StudyConfig, tmp_path: Path) -> None:
    def boast(task: str, request: Request, content: Content) -> Content:
        moments = content[1]["moments"].copy()
        moments[..., 1:] = 1000 * moments[..., :1]
        return content[0], {**content[1], "moments": moments}

    metrics, events = play(small(study), tmp_path / "r", Hospitals("evaluate.measure", boast))
    assert "figures that no person can have" in events
    assert metrics["evaluation"]["federated"]["all"]["auroc"]["mean"] == pytest.approx(0.5)
    assert metrics["evaluation"]["federated"]["all"]["auroc"]["n"] == 3 * TESTED


@pytest.mark.parametrize("task", [task for task in TASKS if task != "train.personal"])
def test_nobody_answers_what_can_be_used(study: StudyConfig, tmp_path: Path, task: str) -> None:
    grid = Hospitals(task, lambda *_: RecordDict(), liars="abcd")
    if task == "train.sums":  # only the atlas is made of sums
        metrics, _ = play(small(study), tmp_path / "r", grid)
        assert "no site sent sums of moments. a: its answer cannot be used" in metrics["failed"]["atlas"]
        return
    with pytest.raises(RunError) as caught:
        play(small(study), tmp_path / "r", grid)
    assert "a: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sums_of_which_nobody_knows_who_is_right_stop_their_model_alone(study: StudyConfig, tmp_path: Path) -> None:
    grid = Hospitals("train.sums", regridded, liars="bd")
    metrics, _ = play(small(study), tmp_path / "r", grid)
    assert "other names or shapes at a, c than at b, d" in metrics["failed"]["atlas"]
    assert "federated" in metrics["evaluation"]


def test_a_site_with_other_kinds_for_one_model_than_for_another_leaves_that_model_out(
    study: StudyConfig, tmp_path: Path
) -> None:
    def fickle(task: str, request: Request, content: Content) -> Content:
        if request.arm != "atlas":
            return content
        doubled = {n: np.concatenate([content[1][n]] * 2) for n in ("moments", "bootstrap")}
        answer = content[0].model_copy(update={"payload": Figures(groups=("all", "MS"))})
        return answer, {**content[1], **doubled}

    metrics, _ = play(small(study), tmp_path / "r", Hospitals("evaluate.measure", fickle))
    assert set(metrics["evaluation"]["federated"]["sites"]) == set(PEOPLE)
    assert set(metrics["evaluation"]["atlas"]["sites"]) == {"a", "c", "d"}


def test_people_count_as_they_were_enrolled(study: StudyConfig, tmp_path: Path) -> None:
    """b says 5 and was enrolled with 2: the update of 0.1 is everybody's, so look at the shares."""
    identify()
    grid = Hospitals("query.describe", changed({"counts": {"train": 90_000, "held_out": 0, "test": 4}}))
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(small(study).model_dump(mode="json")))
    deployment = Admitted(lambda: dict(grid.connected), frozenset, lambda: {"b": 5})
    Coordinator(grid, folder, deployment).run()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["rounds"][0]["shares"] == pytest.approx({s: n / 20 for s, n in PEOPLE.items()})
    events = (folder / "events.jsonl").read_text()
    assert "says that it has 90,000 to train, 0 to held out, 4 to test; counted are 5 to train" in events


def test_who_is_away_at_the_last_step_of_fine_tuning_is_said(study: StudyConfig, tmp_path: Path) -> None:
    grid = Hospitals("train.round", lambda task, request, content: content)
    reply = grid._reply

    def leaving(message: Message) -> Message | None:
        found = reply(message)
        if message.metadata.message_type == "train.round" and message.metadata.dst_node_id == 4:
            grid.connected.pop("b", None)  # after its own update
        return found

    grid._reply = leaving  # type: ignore[method-assign]
    members = dict(grid.connected)
    identify()
    folder = tmp_path / "r"
    folder.mkdir()
    mended = small(study, strategy={"name": "fine-tuning"})
    (folder / "study.yaml").write_text(yaml.safe_dump(mended.model_dump(mode="json")))
    Coordinator(grid, folder, Admitted(lambda: members, frozenset)).run()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    (missing,) = [e for e in events if e["event"] == "missing" and e["outcome"] == "not trained on"]
    assert missing["site"] == "b"
    assert missing["why"].startswith("not connected")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "site": st.sampled_from(["a", "../b", ""]) | scalars,
    "subjects": st.integers(-1, 2**70) | scalars,
    "loss": scalars,
    "received_loss": scalars,
    "steps": st.integers(-1, 2**70),
    "cluster": st.integers(-1, 3) | st.integers(),
    "seconds": scalars,
    "notes": st.lists(st.text(max_size=9), max_size=2),
    "task": st.sampled_from(TASKS) | scalars,
    "kinds": st.lists(st.sampled_from(["MS", "WMH"]) | st.text(max_size=5), max_size=3),
    "groups": st.lists(st.sampled_from(["all", "MS"]) | st.text(max_size=5), max_size=3),
    "counts": st.fixed_dictionaries({role: st.integers(-3, 2**17) for role in ("train", "held_out", "test")})
    | st.dictionaries(st.text(max_size=5), st.integers(-3, 2**70), max_size=4),
    "machine": st.none() | st.dictionaries(st.text(max_size=5), scalars, max_size=2),
    "evil": scalars,
}
OF_A_PAYLOAD = {*FIELDS} - {*Answer.model_fields, "evil"}
one_field = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: FIELDS[name].map(lambda value: {name: value}))
headers = st.just({}) | one_field | st.fixed_dictionaries({}, optional=FIELDS)
dtypes = st.sampled_from(["float32", "float64", "int64", "float16", "uint16", "int8", "bool", "S3"])
values = st.sampled_from([0.0, 1.0, -1.0, 0.5, 3.0, 1e9, 1e300, -1e300, float("nan"), float("inf")])


@st.composite
def tampering(draw: st.DrawFn) -> Tamper:
    """Another header, and arrays that are left out, renamed, of another shape, type or value, or bytes."""
    header, raw = draw(headers), draw(st.booleans())
    action = draw(st.sampled_from(["keep", "drop", "rename", "reshape", "retype", "fill", "spoil", "bytes", "none"]))
    pick, kind, value = draw(st.integers(0, 9)), draw(dtypes), draw(values)
    content, shape = draw(st.binary(max_size=80)), tuple(draw(st.lists(st.integers(0, 5), max_size=4)))

    def tamper(task: str, request: Request, honest_content: Content) -> RecordDict | None:
        answer, given = honest_content
        record: dict[str, Array] = {}
        for number, (name, array) in enumerate(given.items()):
            chosen = number == pick % max(len(given), 1)
            with np.errstate(all="ignore"):
                if chosen and action == "drop":
                    continue
                if chosen and action == "rename":
                    name = f"{name}/../x"
                if chosen and action == "reshape":
                    array = np.ones(shape, array.dtype)
                if chosen and action == "retype":
                    array = array.astype(kind)
                if chosen and action == "fill":
                    array = np.full_like(array, 0).astype(np.float64) + value
                    array = array if raw else array.astype(given[name].dtype)
                if chosen and action == "spoil" and array.size:
                    array = array.copy()
                    array.flat[pick % array.size] = np.array(value).astype(array.dtype)
            record[name] = Array(np.asarray(array, order="C"))
            if chosen and action == "bytes":
                record[name] = Array(str(array.dtype), array.shape, "numpy.ndarray", content)
        if action == "none":
            record = {"packed": Array("uint8", (len(content),), "safetensors", content)}
        said = json.loads(answer.model_dump_json())
        for field, claim in header.items():
            (said["payload"] if field in said["payload"] else said)[field] = claim
        text = json.dumps({name: claim for name, claim in said.items() if name not in OF_A_PAYLOAD})
        return RecordDict({"header": ConfigRecord({"json": text}), "arrays": ArrayRecord(record)})

    return tamper


STRATEGIES = ["fedavg", "qfedavg", "fednova", "scaffold", "ifca", "cfl", "fedadam", "fedbn", "fine-tuning"]


@given(st.sampled_from(TASKS), tampering(), st.sampled_from(STRATEGIES), st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_one_site_answers_a_run_ends_well_or_in_one_sentence(
    study: StudyConfig,
    tmp_path_factory: pytest.TempPathFactory,
    task: str,
    tamper: Tamper,
    strategy: str,
    forgiving: bool,
) -> None:
    folder, sentence = tmp_path_factory.mktemp("fuzzed"), ""
    try:
        grid = Hospitals(task, tamper)
        metrics, _ = play(
            small(study, strategy={"name": strategy}), folder, grid, forgiving, report=strategy == "fedavg"
        )
    except NormfedError as error:
        sentence = str(error)
    assert "\n" not in sentence
    if sentence:
        return
    saved = named.load(folder / "model.safetensors")
    assert all(np.isfinite(array).all() for array in saved.values())
    assert {"a", "c", "d"} <= set(metrics["evaluation"]["federated"]["sites"])


def test_a_code_that_is_none_of_ours_is_an_error_inside_the_site(study: StudyConfig, tmp_path: Path) -> None:
    grid = Hospitals("train.round", lambda *_: None)
    reply = grid._reply

    def strange(message: Message) -> Message | None:
        found = reply(message)
        if found is not None and not found.has_content():
            return Message(Error(10**6, "\x1b[31m evil"), reply_to=message)
        return found

    grid._reply = strange  # type: ignore[method-assign]
    metrics, events = play(small(study), tmp_path / "r", grid)
    assert metrics["rounds"][0]["outcomes"]["b"] == "failed"
    assert "evil" not in events
