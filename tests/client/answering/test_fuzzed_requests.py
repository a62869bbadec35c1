"""Whatever arrives at a site, an answer or a code leaves it, and its worker lives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attacker import EXAMPLES, PAYLOADS
from audited import furnish
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from normfed_client.answering.app import WORK
from normfed_client.answering.serving import UNREADABLE, call, from_bytes, serve_message, to_bytes
from normfed_client.hospital.config import SiteConfig
from normfed_client.hospital.folder import HospitalConfig, open_hospital
from normfed_client.hospital.simulated import SITES_VARIABLE, write_sites
from normfed_client.operation.runner import Runner
from normfed_common.deployment import settings as yaml_settings
from normfed_common.foundation.errors import SiteCode, WireError
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import FENCE, encode
from normfed_common.wire.requests import Describe, Request

LISTED = "a" * 64
many = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def message(kind: str, content: RecordDict | None = None, error: Error | None = None, node: int = 1) -> Message:
    metadata = Metadata(1, "m", 0, node, "", "", 1.0, 99.0, kind)
    made = Message(content=RecordDict(), metadata=metadata)  # type: ignore[call-overload]
    made.__dict__.update(_content=content, _error=error)
    return made  # type: ignore[no-any-return]


@pytest.fixture
def site(hospitals: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """This process plays hospital a, with the tiny dataset."""
    folder = tmp_path_factory.mktemp("fuzzed")
    config = SiteConfig(
        name="a", data=hospitals, owns=("a",), cache=cache / "scans", output=folder / "out", device="cpu"
    )
    write_sites(folder / "sites.json", (config,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SITES_VARIABLE, str(folder / "sites.json"))
        yield folder


def check(reply: Message) -> None:
    """An answer, or one of our codes with its public sentence; nothing else."""
    if reply.has_error():
        assert reply.error.reason == SiteCode(reply.error.code).sentence
    else:
        assert reply.has_content()


@pytest.mark.parametrize("kind", ["train.evil", "query.describe2", "train", "query", "get_parameters", "reconnect"])
def test_an_unknown_type_of_message_is_a_bad_request(site: Path, kind: str) -> None:
    assert call(message(kind, RecordDict())).error.code == SiteCode.BAD_REQUEST


def test_an_unknown_type_of_message_and_one_that_cannot_be_parsed_kill_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = HospitalConfig(site="a", server="fed.example.org:8000", data=tmp_path, bundles=(LISTED,))
    yaml_settings.write(tmp_path / "site.yaml", config)
    furnish(tmp_path)
    runner = Runner(open_hospital(tmp_path), "127.0.0.1:9")
    broken = message("train.round", RecordDict({"x": ConfigRecord({"y": 1})}))
    broken.content.config_records["x"].__dict__["_data"] = {"y": object()}  # no protobuf has a place for it
    try:
        runner._pool.submit(lambda: b"").result(120)
        worker = runner._pool._processes[0]
        assert runner._answer(message("train.evil", RecordDict()), LISTED).error.code == SiteCode.BAD_REQUEST
        assert runner._answer(broken, LISTED).error.code == SiteCode.BAD_REQUEST
        assert runner._pool.submit(lambda: b"\xff not a message").result(120) == UNREADABLE
        assert runner._answer(message(FENCE, RecordDict()), LISTED).has_content()
        assert runner._pool.submit(lambda: b"").result(120) == b""
        assert runner._pool._processes[0] is worker
        assert worker.poll() is None
    finally:
        runner._pool.close()


@pytest.mark.parametrize("kind", ["", "a.b.c", "../etc", "train.0"])
def test_what_flower_knows_no_type_of_is_unreadable(site: Path, kind: str) -> None:
    proto = message_to_proto(message("train.round", RecordDict()))
    proto.metadata.message_type = kind
    assert serve_message(proto.SerializeToString()) == UNREADABLE


@given(st.binary(max_size=400))
@many
def test_any_bytes_are_a_message_or_unreadable(site: Path, payload: bytes) -> None:
    answered = serve_message(payload)
    if answered != UNREADABLE:
        check(from_bytes(answered))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
kinds = st.sampled_from([*WORK, FENCE]) | st.from_regex(r"(train|evaluate|query)(\.[a-z_]{1,9})?", fullmatch=True)
dtypes = st.sampled_from(["float32", "float64", "int64", "float16", "uint16", "int8", "object", "S3", "", "complex128"])
shapes = st.lists(st.integers(-1, 2**31 - 1), max_size=4).map(tuple)
raw_arrays = st.builds(
    Array, dtypes, shapes, st.sampled_from(["numpy.ndarray", "safetensors", "torch", ""]), st.binary(max_size=200)
)
good_arrays = st.builds(
    lambda shape, kind, value: Array(np.full(shape, value).astype(kind)),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.sampled_from(["float32", "float64", "int64", "int8"]),
    st.integers(-5, 5),
)
KNOWN = ("packed", "edges", "held_out_people", "held_out", "thresholds", "0/network.decoder.0.bias")
names = st.text(max_size=12) | st.sampled_from(KNOWN)
arrays = st.dictionaries(names, raw_arrays | good_arrays, max_size=4).map(lambda found: ArrayRecord(found))


@given(kinds, st.text(max_size=300) | anything.map(json.dumps), arrays, st.booleans(), st.integers(-(2**63), 2**63))
@many
def test_any_header_with_any_arrays_is_answered_or_refused(
    site: Path, kind: str, text: str, record: ArrayRecord, more: bool, node: int
) -> None:
    content = RecordDict({"header": ConfigRecord({"json": text}), "arrays": record})
    if more:
        content["more"] = MetricRecord({"x": 1.0})
    check(call(message(kind, content, node=1 if more else node)))


def test_what_is_an_error_or_nothing_at_all_is_answered_or_refused(site: Path) -> None:
    for kind in (*WORK, FENCE, "train.x"):
        check(call(message(kind, error=Error(1, "?"))))
        check(call(message(kind)))


FIELDS = {
    "run": st.text(max_size=10) | st.just("r"),
    "version": st.text(max_size=5),
    "arm": st.text(max_size=10) | st.sampled_from(["federated", "/", "..", "a/../b"]),
    "model": st.just({"name": "atlas"}) | st.dictionaries(st.text(max_size=5), scalars, max_size=3),
    "strategy": st.sampled_from([{"name": "ditto"}, {"name": "scaffold"}, {"name": "ifca"}, {"name": "?"}, {}]),
    "task": st.sampled_from(sorted(WORK)) | st.text(max_size=9),
    "compression": st.sampled_from(["none", "fp16", "bf16", "int8", "zip"]),
    "round": st.integers(-1, 2**70),
    "repeat": st.integers(-1, 2**70),
    "since": st.integers(-1, 2**70),
    "phase": st.text(max_size=10) | st.sampled_from(["moments", "variance", "machine"]),
    "iteration": st.integers(-1, 2**70),
    "detail": st.sampled_from(["full", "ranking", "all"]),
    "low": scalars,
    "high": scalars,
    "threshold": scalars,
    "maps": st.booleans(),
}


@given(st.sampled_from(sorted(WORK)), st.fixed_dictionaries({}, optional=FIELDS), arrays)
@many
def test_requests_that_are_almost_right_are_answered_or_refused(
    site: Path, study: StudyConfig, kind: str, changes: dict[str, Any], record: ArrayRecord
) -> None:
    text = study.model_dump_json()
    asked = Request(
        study=text, arm="federated", model={"name": "atlas"}, payload=PAYLOADS[kind](**EXAMPLES.get(kind, {}))
    )
    header = json.loads(asked.model_dump_json())
    for name, value in changes.items():
        (header["payload"] if name in header["payload"] else header)[name] = value
    for strange in header.keys() - Request.model_fields.keys():
        del header[strange]
    content = RecordDict({"header": ConfigRecord({"json": json.dumps(header)}), "arrays": record})
    payload = serve_message(to_bytes(message(kind, content)))
    check(from_bytes(payload))


def test_the_bytes_of_a_message_are_read_back(study: StudyConfig) -> None:
    header = Request(study=study.model_dump_json(), arm="federated", model=study.model, payload=Describe())
    sent = message("query.describe", encode(header, {"x": np.arange(3.0)}))
    assert to_bytes(from_bytes(to_bytes(sent))) == to_bytes(sent)
    with pytest.raises(WireError):
        from_bytes(b"\xff")
