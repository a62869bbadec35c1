"""The last look before anything leaves, with a client made to send what is not in the manifest."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attacker
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict

from normfed_client.answering import departure, vocabulary
from normfed_client.consent.approvals import Approvals
from normfed_client.consent.decisions import Decision
from normfed_client.consent.making import manifest_of
from normfed_client.consent.manifest import AtMost, Manifest, keep, kept
from normfed_client.consent.policy import digest_of_rules
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.hospital.policy import ApprovalRule
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.foundation.versions import installed_version
from normfed_common.study.config import StudyConfig
from normfed_common.wire import messages, packing
from normfed_common.wire.answers import Answer, Described, Figures, Machine, Summed, Trained
from normfed_common.wire.requests import Describe, FineTune, Measure, Request, Sums, TrainRound

MINIMUM = attacker.MINIMUM
STUDY = attacker.study(comparisons={"local": True, "repeats": 2}, strategy={"name": "fedavg"})
SITE = "north"
Change = Callable[[RecordDict], None]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """A hospital without a dataset, where a person approved the study."""
    folder = tmp_path_factory.mktemp("hospital")
    config = HospitalConfig(site=SITE, server="fed.example.org:8000", data=folder / "none", minimum_people=MINIMUM)
    found = Hospital(folder, config)
    manifest = manifest_of(found, STUDY)
    keep(found, manifest)
    approve(found, manifest)
    return found


def approve(hospital: Hospital, manifest: Manifest) -> None:
    rules = digest_of_rules(hospital.config)
    decision = Decision(
        study=STUDY.digest, name=STUDY.name, manifest=manifest.digest, rules=rules, verdict="approved", by="a", at="now"
    )
    Approvals(hospital.folder).decide(decision)


@pytest.fixture
def manifest(hospital: Hospital) -> Manifest:
    found = kept(hospital, STUDY.digest)
    assert found is not None
    return found


def asked(payload: Any, **fields: Any) -> Message:
    """A request as the server sends it."""
    values = {"arm": "federated", "model": STUDY.model, "strategy": STUDY.strategy, "run": "run-1", **fields}
    header = Request(study=STUDY.model_dump_json(), payload=payload, **values)
    metadata = Metadata(1, "m", 0, 2, "", "", 1.0, 99.0, payload.task)
    return Message(content=messages.encode(header, {}, packed=True), metadata=metadata)  # type: ignore[call-overload,no-any-return]


def honest(manifest: Manifest, request: Message) -> tuple[Answer, Arrays]:
    """What the manifest says of an answer, filled with numbers that may leave."""
    header = messages.asked(request)
    leaving = departure.declared(manifest, header)
    arrays = {
        row.array: np.full([3 if isinstance(axis, AtMost) else axis for axis in row.shape], MINIMUM, row.dtype)
        for row in leaving.rows
    }
    payloads = {"train.sums": Summed(), "train.round": Trained(loss=0.5, steps=3)}
    told = payloads.get(header.task, Figures(groups=("all", "MS", "WMH")))
    return Answer(site=SITE, subjects=MINIMUM, seconds=1.0, notes=manifest.notes[:1], payload=told), arrays


def sent(hospital: Hospital, request: Message, record: RecordDict) -> None:
    departure.check(hospital, request, Message(record, reply_to=request))


ATLAS = STUDY.comparisons.baselines[1]
REQUESTS = {
    "sums": asked(Sums(phase="patches")),
    "round": asked(TrainRound(round=2)),
    "figures": asked(Measure(threshold=0.5), arm="atlas", model=ATLAS),
}


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("kind", REQUESTS)
def test_what_is_declared_leaves(hospital: Hospital, manifest: Manifest, kind: str, packed: bool) -> None:
    answer, arrays = honest(manifest, REQUESTS[kind])
    assert arrays
    sent(hospital, REQUESTS[kind], messages.encode(answer, arrays, packed))


def one_more(arrays: Arrays) -> Arrays:
    return {**arrays, "scan": np.zeros(3)}


def renamed(arrays: Arrays) -> Arrays:
    first, *others = arrays
    return {f"{first}_": arrays[first], **{name: arrays[name] for name in others}}


def larger(arrays: Arrays) -> Arrays:
    return {name: np.concatenate([array.ravel(), array.ravel()]) for name, array in arrays.items()}


def more_than_at_most(arrays: Arrays) -> Arrays:
    return arrays | {"patients": np.full(2 * STUDY.evaluation.bins + 4, MINIMUM)}


def other_type(arrays: Arrays) -> Arrays:
    return {name: array.astype(np.float64 if array.dtype != np.float64 else np.int64) for name, array in arrays.items()}


def metric_of_few(arrays: Arrays) -> Arrays:
    moments = arrays["moments"].copy()
    moments[1, 2, 0] = MINIMUM - 1
    return arrays | {"moments": moments}


def count_of_few(arrays: Arrays) -> Arrays:
    return arrays | {"patients": np.array([0, MINIMUM - 1, MINIMUM])}


@pytest.mark.parametrize(
    ("kind", "lie"),
    [(kind, lie) for kind in REQUESTS for lie in (one_more, renamed, larger, other_type)]
    + [("figures", lie) for lie in (metric_of_few, count_of_few, more_than_at_most)],
)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
def test_arrays_that_are_not_declared_do_not_leave(
    hospital: Hospital, manifest: Manifest, kind: str, lie: Callable[[Arrays], Arrays], packed: bool
) -> None:
    answer, arrays = honest(manifest, REQUESTS[kind])
    with pytest.raises(SiteError) as refused:
        sent(hospital, REQUESTS[kind], messages.encode(answer, lie(arrays), packed))
    assert refused.value.code == SiteCode.UNDECLARED


def header(change: Callable[[dict[str, Any]], None]) -> Change:
    def changed(record: RecordDict) -> None:
        found = json.loads(str(record.config_records["header"]["json"]))
        change(found)
        record["header"] = ConfigRecord({"json": json.dumps(found, separators=(",", ":"))})

    return changed


def spelt_twice(record: RecordDict) -> None:
    text = str(record.config_records["header"]["json"])
    record["header"] = ConfigRecord({"json": '{"site":"sub-01",' + text[1:]})


def spaced(record: RecordDict) -> None:
    record["header"] = ConfigRecord({"json": str(record.config_records["header"]["json"]) + "\t \t"})


def another_record(record: RecordDict) -> None:
    record["metrics"] = MetricRecord({"age": 71.0})


def another_header(record: RecordDict) -> None:
    record["header"] = ConfigRecord({**record.config_records["header"], "more": "sub-01"})


def repacked(change: Callable[[bytes], bytes]) -> Change:
    def changed(record: RecordDict) -> None:
        content = change(record.array_records["arrays"][packing.NAME].data)
        array = Array("uint8", (len(content),), packing.STYPE, content)
        record["arrays"] = ArrayRecord({packing.NAME: array})

    return changed


def with_metadata(content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    text = b'{"__metadata__":{"who":"sub-01"},' + content[9 : 8 + length]
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def padded(content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + length] + b" " * 64
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


@pytest.mark.parametrize(
    "change",
    [
        header(lambda found: found.update(age=71)),
        header(lambda found: found["payload"].update(age=71)),
        header(lambda found: found.update(site="sub-01")),
        header(lambda found: found.update(subjects=MINIMUM - 1)),
        header(lambda found: found.update(notes=["the oldest is 71"])),
        spelt_twice,
        spaced,
        another_record,
        another_header,
        repacked(lambda content: content + b"sub-01"),
        repacked(with_metadata),
        repacked(padded),
    ],
)
def test_whatever_else_is_said_does_not_leave(hospital: Hospital, manifest: Manifest, change: Change) -> None:
    answer, arrays = honest(manifest, REQUESTS["sums"])
    record = messages.encode(answer, arrays, packed=True)
    change(record)
    with pytest.raises(SiteError) as refused:
        sent(hospital, REQUESTS["sums"], record)
    assert refused.value.code == SiteCode.UNDECLARED
    assert "sub-01" not in refused.value.detail
    assert "71" not in refused.value.detail


@pytest.mark.parametrize(
    "request_",
    [
        asked(TrainRound(round=3)),
        asked(TrainRound(round=1), repeat=1),
        asked(TrainRound(round=1), arm="local-south"),
        asked(TrainRound(round=1, compression="int8")),
        asked(Sums(phase="patches", iteration=1)),
        asked(Sums(phase="moments")),
        asked(FineTune(round=3)),
        asked(Measure(threshold=0.5), model=ATLAS),
    ],
    ids=["round", "repeat", "site", "compression", "iteration", "phase", "task", "arm"],
)
def test_nothing_leaves_beyond_the_rounds_and_models_that_are_declared(
    hospital: Hospital, manifest: Manifest, request_: Message
) -> None:
    task = messages.asked(request_).task
    payloads = {"train.round": Trained(), "train.sums": Summed(), "evaluate.measure": Figures(groups=())}
    told = payloads.get(task, Trained())
    with pytest.raises(SiteError) as refused:
        sent(hospital, request_, messages.encode(Answer(site=SITE, payload=told), {}, packed=True))
    assert refused.value.code == SiteCode.UNDECLARED


def figures(*groups: str) -> Answer:
    return Answer(site=SITE, payload=Figures(groups=groups))


def described(**changes: Any) -> Answer:
    told = Machine(
        normfed=installed_version(),
        flwr=version("flwr"),
        torch=version("torch"),
        python=platform.python_version(),
        study=STUDY.digest,
        cores=2,
        memory_gb=3.1,
        disk_gb=40.2,
        gpu="NVIDIA A100-SXM4-80GB",
        power_w=150.0,
    )
    kinds = changes.pop("kinds", ("MS", "WMH"))
    return Answer(site=SITE, payload=Described(counts={}, kinds=kinds, machine=told.model_copy(update=changes)))


LABELLED = attacker.study(data={"modalities": ["T1w", "FLAIR"], "lesion_labels": ["MS", "WMH"]})


@pytest.mark.parametrize(
    ("study", "answer", "leaves"),
    [
        (STUDY, figures("all", "MS", "WMH"), True),
        (STUDY, figures("all", "WMH", "MS"), False),  # an order is a message, too
        (STUDY, figures("all", "MS", "MS"), False),
        (STUDY, figures("MS"), False),
        (STUDY, figures("all", *(f"kind-{number:02}" for number in range(21))), False),
        (LABELLED, figures("all", "MS", "MS+WMH", "none"), True),
        (LABELLED, figures("all", "sub-01-is-71"), False),
        (STUDY, described(), True),
        (LABELLED, described(study=LABELLED.digest, kinds=("MS+71",)), False),
        (STUDY, described(study="sub-01"), False),
        (STUDY, described(normfed="0.1.0+sub01"), False),
        (STUDY, described(torch=version("torch").partition("+")[0] + "+sub01"), False),
        (STUDY, described(python="3.71.1"), False),
        (STUDY, described(protocol=71), False),
        (STUDY, described(gpu="x" * 65), False),
        (STUDY, described(memory_gb=3.1000071), False),
        (STUDY, described(power_w=71.0), False),
    ],
)
def test_words_that_leave_are_of_a_closed_vocabulary_or_bounded(
    hospital: Hospital, study: StudyConfig, answer: Answer, leaves: bool
) -> None:
    told = vocabulary.strange(hospital, study, answer)
    assert (told == "") is leaves
    assert "71" not in told
    assert "sub" not in told


def in_the_padding(record: RecordDict) -> None:
    """NumPy pads a header with blanks, of which a reader sees nothing."""
    found = record.array_records["arrays"]
    name = min(found)
    first = found[name]
    content = bytearray(first.data)
    end = 10 + int.from_bytes(content[8:10], "little")
    place = content.rindex(b"}", 0, end) + 1
    content[place : place + 6] = b"\n \n  \n"
    found[name] = Array(first.dtype, first.shape, first.stype, bytes(content))


def test_nothing_is_hidden_in_the_padding_of_a_plain_array(hospital: Hospital, manifest: Manifest) -> None:
    record = messages.encode(*honest(manifest, REQUESTS["sums"]))
    sent(hospital, REQUESTS["sums"], record)
    in_the_padding(record)
    with pytest.raises(SiteError, match="UNDECLARED"):
        sent(hospital, REQUESTS["sums"], record)


def test_lists_of_studies_that_nobody_decided_on_are_bounded(
    hospital: Hospital, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server asks for ever another seed of what a rule lets in; what a person decided on stays."""
    monkeypatch.setattr("normfed_client.consent.manifest.MOST_UNDECIDED", 3)
    other = Hospital(tmp_path, hospital.config)
    approve(other, manifest)
    keep(other, manifest)
    for number in range(6):
        path = keep(other, manifest.model_copy(update={"study_digest": f"{number:032x}"}))
        os.utime(path, ns=(number, number))
    left = sorted(path.stem for path in path.parent.glob("*.json"))
    assert left == sorted([STUDY.digest, *(f"{number:032x}" for number in (3, 4, 5))])
    monkeypatch.setattr("normfed_client.consent.manifest.LARGEST_BYTES", 1000)
    with pytest.raises(UserError, match="at most 1,000 are kept"):
        keep(other, manifest)


def test_an_error_leaves_as_a_code_and_its_own_sentence(hospital: Hospital) -> None:
    request = REQUESTS["sums"]
    departure.check(hospital, request, messages.refusal(request, SiteCode.DATA_UNUSABLE))
    for error in (
        Error(int(SiteCode.DATA_UNUSABLE), "sub-01_T1w.nii.gz is damaged"),
        Error(7, "no such file: /data/sub-01"),
        Error(int(SiteCode.DATA_UNUSABLE), None),
    ):
        with pytest.raises(SiteError):
            departure.check(hospital, request, Message(error, reply_to=request))


def test_a_count_of_few_people_is_not_told(hospital: Hospital) -> None:
    request = asked(Describe())
    for count, leaves in ((MINIMUM, True), (0, True), (-1, True), (MINIMUM - 1, False)):
        answer = Answer(site=SITE, payload=Described(counts={"train": count}))
        record = messages.encode(answer, {}, packed=True)
        if leaves:
            sent(hospital, request, record)
            continue
        with pytest.raises(SiteError):
            sent(hospital, request, record)


def test_a_manifest_that_nobody_approved_lets_nothing_leave(
    hospital: Hospital, manifest: Manifest, tmp_path: Path
) -> None:
    other = Hospital(tmp_path, hospital.config)
    approve(other, manifest)
    answer, arrays = honest(manifest, REQUESTS["sums"])
    record = messages.encode(answer, arrays, packed=True)
    with pytest.raises(SiteError, match="UNDECLARED"):  # it is not there any more
        sent(other, REQUESTS["sums"], record)
    keep(other, manifest.model_copy(update={"minimum": 1}))
    with pytest.raises(SiteError, match="UNDECLARED"):
        sent(other, REQUESTS["sums"], record)
    keep(other, manifest)
    sent(other, REQUESTS["sums"], record)


def test_a_study_in_other_words_is_not_the_one_that_was_approved(hospital: Hospital, manifest: Manifest) -> None:
    """A default that is left out is the same study to whoever fills it in, and has another digest."""
    answer, arrays = honest(manifest, REQUESTS["round"])
    said = json.loads(STUDY.model_dump_json())
    del said["description"]
    request = asked(TrainRound(round=2))
    header = json.loads(request.content.config_records["header"]["json"]) | {"study": json.dumps(said)}
    request.content["header"] = ConfigRecord({"json": json.dumps(header)})
    with pytest.raises(SiteError, match="UNDECLARED"):
        sent(hospital, request, messages.encode(answer, arrays, packed=True))


@pytest.mark.parametrize("verdict", ["refused", "taken back"])
def test_of_a_study_that_is_refused_while_it_is_worked_on_nothing_leaves(
    hospital: Hospital, manifest: Manifest, tmp_path: Path, verdict: Any
) -> None:
    other = Hospital(tmp_path, hospital.config.model_copy(update={"approve_by_rule": (ApprovalRule(),)}))
    keep(other, manifest)
    record = messages.encode(*honest(manifest, REQUESTS["round"]), packed=True)
    sent(other, REQUESTS["round"], record)  # a rule lets it in
    decision = Decision(study=STUDY.digest, name=STUDY.name, rules="0" * 32, verdict=verdict, by="a", at="now")
    Approvals(other.folder).decide(decision)
    with pytest.raises(SiteError, match="UNDECLARED"):
        sent(other, REQUESTS["round"], record)


def test_of_an_approval_that_lapsed_while_it_was_worked_on_nothing_leaves(
    hospital: Hospital, manifest: Manifest, tmp_path: Path
) -> None:
    other = Hospital(tmp_path, hospital.config)
    keep(other, manifest)
    approve(other, manifest)
    record = messages.encode(*honest(manifest, REQUESTS["round"]), packed=True)
    sent(other, REQUESTS["round"], record)
    stricter = Hospital(tmp_path, hospital.config.model_copy(update={"minimum_people": MINIMUM + 1}))
    with pytest.raises(SiteError) as caught:
        sent(stricter, REQUESTS["round"], record)
    assert "rules of site.yaml that change what leaves were changed" in caught.value.detail


def test_a_server_that_starts_an_approved_study_again_and_again_gets_one_run_of_answers(
    hospital: Hospital, manifest: Manifest, tmp_path: Path
) -> None:
    """The worker's guard may be passed over by a plug-in in its process: runs are counted where bytes leave."""
    other = Hospital(tmp_path, hospital.config)
    keep(other, manifest)
    approve(other, manifest)
    record = messages.encode(*honest(manifest, REQUESTS["round"]), packed=True)
    for _ in range(3):
        sent(other, asked(TrainRound(round=2)), record)  # the run goes on, or is resumed
    for number in range(2, 20):
        with pytest.raises(SiteError) as caught:
            sent(other, asked(TrainRound(round=2), run=f"run-{number}"), record)
        assert f"for 1 run, which began (run-1); run-{number} is one more" in caught.value.detail


def test_a_rule_lets_nothing_leave_before_there_is_a_list_but_where_it_says_so(
    hospital: Hospital, manifest: Manifest, tmp_path: Path
) -> None:
    record = messages.encode(*honest(manifest, REQUESTS["round"]), packed=True)
    held, free = (
        Hospital(tmp_path, hospital.config.model_copy(update={"approve_by_rule": (rule,)}))
        for rule in (ApprovalRule(), ApprovalRule(manifest=False))
    )
    with pytest.raises(SiteError, match="UNDECLARED"):
        sent(held, REQUESTS["round"], record)
    sent(free, REQUESTS["round"], record)


def test_the_same_study_and_rules_have_the_same_manifest(hospital: Hospital, manifest: Manifest) -> None:
    again = manifest_of(hospital, STUDY)
    assert again.digest == manifest.digest
    config = hospital.config.model_copy(update={"minimum_people": MINIMUM + 1})
    assert manifest_of(Hospital(hospital.folder, config), STUDY).digest != manifest.digest
