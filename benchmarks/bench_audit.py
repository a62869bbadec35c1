"""What the audit costs: milliseconds per record, and the share of a round that guards and audit take together.

The round is one of a site with a real network on synthetic people: requests go through the site's own gate, as they do
when the server asks; guards, audit and the whole are timed in the same requests. Beside it, records with as many arrays
as a network has are appended to a chain, split into signing and flushing to disk, and verified.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from common import machine
from flwr.app import Message, Metadata

from normfed_client.answering import recorded
from normfed_client.answering.guards import order
from normfed_client.answering.serving import call
from normfed_client.hospital.folder import HOME_VARIABLE, open_hospital
from normfed_client.operation import runner
from normfed_client.recording.audit import Audit
from normfed_common.chain import files, keys
from normfed_common.chain.files import Chain
from normfed_common.chain.keys import SigningKey, VerifyingKey
from normfed_common.chain.kinds.content import Content
from normfed_common.chain.kinds.shared import Asked
from normfed_common.chain.kinds.site import Answered, Asker, Sent
from normfed_common.chain.verifying import verify
from normfed_common.foundation.versions import installed_version
from normfed_common.learning.setting import Setting
from normfed_common.models.combined.pipeline import assemble
from normfed_common.studies import resolve
from normfed_common.wire import offers
from normfed_common.wire.head import Heads
from normfed_common.wire.messages import encode
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Describe, Request, TrainRound
from normfed_deploy.playing import Silent
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.state.chain import chain_of
from normfed_simulation import study_data

SITE = "siemens-3T"
STUDY: dict[str, Any] = {
    "name": "audit",
    "data": {
        "modalities": ["T1w", "FLAIR"],
        "phantom": {"sites": [{"name": SITE, "vendor": "siemens", "field_tesla": 3.0, "controls": 12}]},
    },
    "model": {"name": "autoencoder"},
    "federation": {"rounds": 20, "minimum_cohort": 4},
}


def append_cost(folder: Path, arrays: int, records: int = 200) -> tuple[float, float, float, int]:
    """Milliseconds per record, of which signing and flushing, and its bytes."""
    key, spent = keys.make(folder / f"{arrays}.key"), defaultdict[str, float](float)
    chain = Chain(folder / f"{arrays}.jsonl", lambda: key, "north")
    content = answer_of(arrays)
    chain.append(content)
    with timed(SigningKey, "sign", spent), timed(files.os, "fsync", spent):
        begin = time.perf_counter()
        for _ in range(records):
            record = chain.append(content)
        whole = time.perf_counter() - begin
    begin = time.perf_counter()
    assert verify(chain.lines(), VerifyingKey(key.line)).good
    print(f"  verified: {1000 * (time.perf_counter() - begin) / (records + 2):.2f} ms per record")
    return (*(1000 * s / records for s in (whole, spent["sign"], spent["fsync"])), len(record.line()))


def answer_of(arrays: int) -> Content:
    """A record of a round's answer."""
    sent = tuple(
        Sent(name=f"encoder.{n}.weight", dtype="float32", shape=(64, 64, 3, 3), bytes=147456, sha256="ab" * 32)
        for n in range(arrays)
    )
    by = Asker(server="fed.example.org:8000", authority=" ".join(["ABCD"] * 8))
    asked = Asked(study="ab" * 16, run="run-1", task="train.round", arm="federated", model="autoencoder", turn=1)
    total = sum(one.bytes for one in sent)
    return Answered(
        by=by, asked=asked, people="20-49", epsilon=None, kept=False, arrays=sent, bytes=total, content="cd" * 32
    )


@contextmanager
def timed(owner: Any, name: str, spent: dict[str, float], under: str = "") -> Iterator[None]:
    """Add up the seconds of a function under its name."""
    real: Callable[..., Any] = getattr(owner, name)

    def slower(*given: Any, **more: Any) -> Any:
        begin = time.perf_counter()
        try:
            return real(*given, **more)
        finally:
            spent[under or name] += time.perf_counter() - begin

    with patch.object(owner, name, slower):
        yield


def rounds(folder: Path, count: int, voxel_size_mm: int) -> None:
    """Rounds of one site through its gate."""
    study = resolve(STUDY | {"preprocessing": {"voxel_size_mm": voxel_size_mm}}, "bench")
    data = study_data.ready(study, None, folder / "cache", 2, Silent())
    rules = {"device": "cpu", "minimum_people": 4, "quality_gate": "off"}
    federation = Rehearsal(folder / "federation", data, {SITE: (SITE,)}, settings=rules)
    home = federation.folder / SITE
    os.environ[HOME_VARIABLE] = str(home)
    weights = assemble(study.transforms, study.model, Setting.of(study)).share()

    def ask(payload: Any, arrays: dict[str, np.ndarray]) -> tuple[Message, Message]:
        request = Request(
            study=study.model_dump_json(),
            run="run-1",
            version=installed_version(),
            arm="federated",
            model=study.model,
            strategy=study.strategy,
            payload=payload,
            heads=Heads(server=chain_of(federation.home).head()),
        )
        metadata = Metadata(1, "m", 0, 2, "", "", 1.0, 99.0, request.task)
        message = Message(content=encode(request, arrays), metadata=metadata)  # type: ignore[call-overload]
        reply = call(message)
        assert not reply.has_error(), reply.error
        return message, reply

    ask(Describe(), {})
    ask(TrainRound(round=1), offers.encode(Offer((weights,), {})))  # prepares, compiles, reads caches
    shares: dict[str, list[float]] = defaultdict(list)
    for number in range(2, count + 2):
        spent = defaultdict[str, float](float)
        kinds = [(kind, name) for kind in order.ORDER for name in ("inbound", "outbound") if name in vars(kind)]
        with ExitStack() as stack:
            for kind, name in kinds:
                stack.enter_context(timed(kind, name, spent, "guards"))
            for name in ("answered", "check_heads"):
                stack.enter_context(timed(recorded, name, spent, "audit"))
            begin = time.perf_counter()
            message, reply = ask(TrainRound(round=number), offers.encode(Offer((weights,), {})))
            with timed(runner, "check_recorded", spent, "audit"):
                runner.check_recorded(open_hospital(home), message, reply)
            whole = time.perf_counter() - begin
        shares["whole"].append(whole)
        for name in ("guards", "audit"):
            shares[name].append(spent[name])
    size = sum(array.nbytes for array in weights.values()) / 1e6
    whole, guards, audit = (float(np.median(shares[name])) for name in ("whole", "guards", "audit"))
    share = 100 * (guards + audit) / whole
    print(
        f"a round of {whole:.2f} s at {voxel_size_mm} mm ({len(weights)} arrays, {size:.1f} MB): guards "
        f"{1000 * guards:.1f} ms, audit {1000 * audit:.1f} ms, together {share:.2f} % (limit 1 %: rounds of "
        f"{100 * (guards + audit):.1f} s and more)"
    )
    found = Audit(open_hospital(home)).verify()
    assert found.good
    print(f"the audit of it: {len(found.records)} records, whole")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--voxel-size-mm", type=int, default=2, help="2, as studies have it; 4: as tests have it")
    arguments = parser.parse_args()
    print(machine())
    with TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        for arrays in (0, 40):
            whole, sign, flush, size = append_cost(folder, arrays)
            told = f"{whole:.2f} ms per record, of which signing {sign:.2f}, fsync {flush:.2f}"
            print(f"{arrays} arrays, {size:,} bytes: {told}")
        rounds(folder, arguments.rounds, arguments.voxel_size_mm)


if __name__ == "__main__":
    main()
