"""A word stands in every name at a hospital, of people, folders, files and columns. Nothing that leaves has it.

Neither in a good run nor when the client fails, at whatever function of ours, with the word in the exception.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import canary
import cohorts
import numpy as np
import pytest
from attacker import RULES, study
from canary import WORD
from flwr.app import ConfigRecord, Message, Metadata, RecordDict

import normfed_client
import normfed_common
from normfed_client.answering.serving import call, from_bytes, to_bytes
from normfed_client.hospital.folder import HOME_VARIABLE, open_hospital
from normfed_client.hospital.site import site_for
from normfed_common.foundation.errors import SiteCode
from normfed_common.foundation.versions import installed_version
from normfed_common.wire import npy, packing
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.runs.folder import begin
from normfed_simulation import run_folder as runs
from normfed_simulation.engines import local

pytestmark = pytest.mark.xdist_group("canary token")

SITES = ("north", "south")
PEOPLE = {"control": 12, "WMH": 5}
EVERY_POINT = "NORMFED_EVERY_POINT"  # set: fail at each function, which takes some minutes; else at these many
POINTS = 60
OURS = tuple(str(Path(str(package.__file__)).parent) for package in (normfed_client, normfed_common))


class Unspeakable(Exception):
    """An error that cannot even be written down."""

    def __str__(self) -> str:
        raise RuntimeError(WORD)


ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: OSError(2, f"No such file: {WORD}", f"/data/{WORD}/sub-{WORD}01_T1w.nii.gz"),
    lambda: ValueError(f"sub-{WORD}01: bad value"),
    lambda: KeyError(WORD),
    lambda: MemoryError(WORD),
    lambda: RecursionError(WORD),
    lambda: UnicodeEncodeError("ascii", WORD, 0, 1, WORD),
    lambda: OSError(28, f"No space left on device: {WORD}"),
    Unspeakable,
)


def named(root: Path) -> Path:
    """A cohort in which whatever can be called something is called by the word."""
    folder = root / WORD / f"study {WORD}"
    folder.mkdir(parents=True)
    cohorts.write(folder, dict.fromkeys(SITES, PEOPLE))
    canary.plant(folder)
    return folder


@dataclass
class Played:
    """The requests of a whole run at one hospital, its folder as it was before each, and what it said."""

    home: Path
    data: Path
    asked: list[bytes] = field(default_factory=list)
    before: list[Path] = field(default_factory=list)
    replies: list[Message] = field(default_factory=list)

    def again(self, number: int) -> None:
        """Put the folder back to what it was before a request; what is remembered of it is forgotten."""
        shutil.rmtree(self.home)
        shutil.copytree(self.before[number], self.home, symlinks=True)
        site_for.cache_clear()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """A run with statistics, sums, a round and figures, simulated to have its requests; then asked of a hospital."""
    root = tmp_path_factory.mktemp("canary")
    data = named(root)
    hospitals = Rehearsal(root / f"{WORD} homes", data, {name: (name,) for name in SITES}, settings=RULES)
    found, environment = Played(hospitals.folder / SITES[0], data), dict(os.environ)
    asked = study(federation={"rounds": 1}, comparisons={"baselines": [{"name": "atlas"}]})

    class Grid(local.LocalGrid):
        def _push(self, message: Message) -> str:
            if message.metadata.dst_node_id == 1:
                found.asked.append(of_a_hospital(message))
            return super()._push(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "LocalGrid", Grid)
        for number, options in enumerate(({"statistics": True}, {})):
            run = begin(asked, root / f"run {number}", options)
            custody = {site: open_hospital(hospitals.folder / site).custody("simulated") for site in SITES}
            runs.write_site_configs(run, data, list(SITES), found.home / "cache", "cpu", custody)
            local.run(run.folder, run.sites_file, len(SITES), 0)
            assert run.finished
    os.environ.clear()
    os.environ.update(environment)
    shutil.move(hospitals.folder / SITES[0] / "cache", root / "cache")
    (found.home / "cache").symlink_to(root / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(found.home))
        for number, payload in enumerate(found.asked):
            found.before.append(root / f"before {number}")
            shutil.copytree(found.home, found.before[-1], symlinks=True)
            found.replies.append(call(from_bytes(payload)))
        yield found


def of_a_hospital(message: Message) -> bytes:
    """A simulation's request as a server sends it to a hospital."""
    content = message.content
    header = json.loads(content.config_records["header"]["json"])
    text = json.dumps(header | {"run": "run-1", "version": installed_version()})
    record = RecordDict({"header": ConfigRecord({"json": text}), "arrays": content.array_records["arrays"]})
    metadata = message.metadata
    made = Metadata(
        metadata.run_id, "m", 0, metadata.dst_node_id, "", metadata.group_id, 1.0, 99.0, metadata.message_type
    )
    return to_bytes(Message(content=record, metadata=made))  # type: ignore[call-overload]


def everything(message: Message) -> bytes:
    """All that a message says, as it leaves and with its arrays unpacked."""
    parts = [to_bytes(message)]
    if message.has_content():
        record: RecordDict = message.content
        parts += [repr(record.config_records).encode(), repr(record.metric_records).encode()]
        for arrays in record.array_records.values():
            if packing.is_packed(arrays):
                unpacked = packing.unpack(arrays, consume=False)
            else:
                unpacked = {name: npy.read(array) for name, array in arrays.items()}
            parts += [name.encode() + np.asarray(value).tobytes() for name, value in unpacked.items()]
    return b"\n".join(parts)


def has_the_word(message: Message) -> bool:
    return WORD.lower().encode() in everything(message).lower()


def test_no_message_of_a_good_run_has_the_word(played: Played) -> None:
    answered = {reply.metadata.message_type for reply in played.replies if not reply.has_error()}
    assert {"query.describe", "train.sums", "train.round", "evaluate.score", "evaluate.measure"} <= answered
    assert not [reply.metadata.message_type for reply in played.replies if has_the_word(reply)]


@contextmanager
def watching(see: Callable[[CodeType], None]) -> Iterator[None]:
    """Within: told of every function of ours that is called; what it raises is raised there."""

    def hook(frame: FrameType, _event: str, _argument: Any) -> None:
        if frame.f_code.co_filename.startswith(OURS):
            see(frame.f_code)

    before = sys.gettrace()
    sys.settrace(hook)  # it is told of calls alone, and so costs a fraction of a profile
    try:
        yield
    finally:
        sys.settrace(before)


def points(played: Played) -> dict[CodeType, int]:
    """Every function that a request comes through, and the first request that does."""
    found: dict[CodeType, int] = {}
    for number, payload in enumerate(played.asked):
        played.again(number)
        message = from_bytes(payload)
        with watching(lambda code, number=number: found.setdefault(code, number) and None):
            call(message)
    return found


def outside_the_gate(code: CodeType) -> bool:
    """What makes the refusal itself, and registers the gate: there is nothing to refuse with."""
    return code.co_qualname.split(".")[0] in {"call", "_register", "_Answering", "guarded", "refusal", "SiteCode"}


def test_wherever_the_client_fails_a_code_leaves_and_not_the_word(played: Played) -> None:
    whole = {code: number for code, number in points(played).items() if not outside_the_gate(code)}
    assert len(whole) > 300
    every = list(whole.items())
    chosen = every if os.environ.get(EVERY_POINT) else every[:: max(1, len(every) // POINTS)]
    told, failed = [], 0
    for turn, (point, number) in enumerate(chosen):
        raised: list[Exception] = []

        def fail(code: CodeType, point: CodeType = point, turn: int = turn, raised: list[Exception] = raised) -> None:
            if code is point and not raised:
                raised.append(ERRORS[turn % len(ERRORS)]())
                raise raised[0]

        played.again(number)
        message = from_bytes(played.asked[number])
        with watching(fail):
            reply = call(message)
        assert raised, point
        failed += reply.has_error()
        well = not has_the_word(reply)
        if reply.has_error():
            well &= reply.error.reason == SiteCode(reply.error.code).sentence
        if not well:
            told.append(f"{point.co_filename}:{point.co_qualname}")
    assert told == []
    assert failed > len(chosen) / 2
