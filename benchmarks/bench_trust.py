"""What guards of trust cost: the look at a message before it leaves, beside the round that it ends.

Messages are those of a study as its manifest declares them, packed as they go over a network. A round is taken to be the
shortest that the study could have: one batch forward and backward per message would be longer. The claim is below 1 %.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import machine
from flwr.app import Message, Metadata

from normfed_client.answering import departure
from normfed_client.consent.manifest import AtMost, Manifest, keep, manifest_of
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_common.studies import load_study
from normfed_common.study.config import StudyConfig
from normfed_common.wire import messages
from normfed_common.wire.answers import Answer, Counted, Summed, Trained
from normfed_common.wire.requests import Count, Payload, Request, Sums, TrainRound

SITE, REPEATS = "north", 50


def message(
    study: StudyConfig, manifest: Manifest, payload: Payload, told: Trained | Summed | Counted
) -> list[Message]:
    """A request, and the answer that its manifest declares."""
    header = Request(
        study=study.model_dump_json(), arm="federated", model=study.model, strategy=study.strategy, payload=payload
    )
    metadata = Metadata(1, "m", 0, 2, "", "", 1.0, 99.0, payload.task)
    request = Message(content=messages.encode(header, {}, packed=True), metadata=metadata)  # type: ignore[call-overload]
    shapes = {row.array: row for row in departure.declared(manifest, header).rows}
    arrays = {
        name: np.full([a.most if isinstance(a, AtMost) else a for a in row.shape], manifest.minimum, row.dtype)
        for name, row in shapes.items()
    }
    answer = Answer(site=SITE, subjects=manifest.minimum, payload=told)
    return [request, Message(messages.encode(answer, arrays, packed=True), reply_to=request)]


def milliseconds(hospital: Hospital, request: Message, reply: Message) -> float:
    """Of processor time of a look, the median."""
    found = []
    for _ in range(REPEATS):
        begin = time.process_time()
        departure.check(hospital, request, reply)
        found.append(time.process_time() - begin)
    return 1000 * statistics.median(found)


def main(path: Path) -> None:
    """Print a row per kind of message."""
    torch.set_num_threads(1)
    study, folder = load_study(path), Path(tempfile.mkdtemp())
    hospital = Hospital(folder, HospitalConfig(site=SITE, server="fed.example.org:8000", data=folder))
    begin = time.process_time()
    manifest = manifest_of(hospital, study)
    made = time.process_time() - begin
    keep(hospital, manifest)
    print(f"{machine()}; {study.name}; the manifest was made in {made:.1f} s of one processor")
    sums = next(one.part for one in manifest.leaving if one.task == "train.sums" and one.what.startswith("sums of"))
    kinds: list[tuple[Payload, Trained | Summed | Counted]] = [
        (TrainRound(round=1), Trained(loss=0.5, steps=1)),
        (Sums(phase=sums), Summed()),
        (Count(low=0.0, high=1.0), Counted()),
    ]
    for payload, told in kinds:
        request, reply = message(study, manifest, payload, told)
        print(
            f"{payload.task:15} {messages.size_of(reply) / 1e6:6.2f} MB  {milliseconds(hospital, request, reply):.2f} ms"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "studies/siamese.yaml"))
