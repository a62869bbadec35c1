"""What guards of trust cost: the look at a message before it leaves, beside the round that it ends.

Messages are those of a study as its manifest declares them, packed as they go over a network. A site looks twice, in
the process that works and in the one that relays. The round is of as few people as the study allows, made up, and
without anything but its batches, forward and backward, on one thread: a real one is longer. The claim is below 1 %.
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
from normfed_client.consent.making import manifest_of
from normfed_client.consent.manifest import AtMost, Manifest, keep
from normfed_client.consent.stand_in import Fields, StandIns, setting_of
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_client.hospital.policy import ApprovalRule
from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation.units import MEGABYTE
from normfed_common.models.combined.pipeline import assemble
from normfed_common.studies import load_study
from normfed_common.study.config import StudyConfig
from normfed_common.wire import messages
from normfed_common.wire.answers import Answer, Counted, Summed, Trained
from normfed_common.wire.requests import Count, Payload, Request, Sums, TrainRound

SITE, REPEATS = "north", 50


Told = Trained | Summed | Counted


def message(study: StudyConfig, manifest: Manifest, payload: Payload, told: Told) -> tuple[Message, Message]:
    """A request, and the answer that its manifest declares."""
    named = {"model": study.model, "strategy": study.strategy}
    header = Request(study=study.model_dump_json(), arm=FEDERATED, payload=payload, **named)
    metadata = Metadata(1, "m", 0, 2, "", "", 1.0, 99.0, payload.task)
    request = Message(content=messages.encode(header, {}, packed=True), metadata=metadata)  # type: ignore[call-overload]
    shapes = {row.array: row for row in departure.declared(manifest, header).rows}
    arrays = {
        name: np.full([a.most if isinstance(a, AtMost) else a for a in row.shape], manifest.minimum, row.dtype)
        for name, row in shapes.items()
    }
    answer = Answer(site=SITE, subjects=manifest.minimum, payload=told)
    return request, Message(messages.encode(answer, arrays, packed=True), reply_to=request)


def seconds_of_round(study: StudyConfig, people: int) -> float:
    """Of processor time of a round's batches, from one of them."""
    model = assemble(study.transforms, study.model, setting_of(study))
    cohort = StandIns(Fields(study), people, 1)
    phase = next(phase for phase in model.phases() if phase.kind == "averaged")
    for before in model.phases():
        if before.kind == "summed":
            sums = model.statistics(before.name, cohort, np.random.default_rng(0))
            model.absorb(before.name, {name: np.asarray(array, np.float64) for name, array in sums.items()})
        if before == phase:
            break
    batch = next(iter(model.batches(phase.name, cohort, np.random.default_rng(0))))
    found = []
    for _ in range(5):
        begin = time.process_time()
        model.loss(phase.name, batch, torch.Generator().manual_seed(0)).mean().backward()
        found.append(time.process_time() - begin)
    batches = -(-people * model.samples_per_person(model.config) // len(batch))
    return statistics.median(found) * batches * study.federation.local_epochs


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
    hospital = Hospital(
        folder, HospitalConfig(site=SITE, server="fed.example.org:8000", data=folder, approve_by_rule=(ApprovalRule(),))
    )
    begin = time.process_time()
    manifest = manifest_of(hospital, study)
    made = time.process_time() - begin
    keep(hospital, manifest)
    print(f"{machine()}; {study.name}; the manifest was made in {made:.1f} s of one processor")
    sums = next(one.part for one in manifest.leaving if one.task == "train.sums" and one.what.startswith("sums of"))
    whole = seconds_of_round(study, manifest.minimum)
    print(f"a round of {manifest.minimum} people takes {whole:.2f} s")
    kinds: list[tuple[Payload, Told]] = [
        (TrainRound(round=1), Trained(loss=0.5, steps=1)),
        (Sums(phase=sums), Summed()),
        (Count(low=0.0, high=1.0), Counted()),
    ]
    for payload, told in kinds:
        request, reply = message(study, manifest, payload, told)
        took, sent = milliseconds(hospital, request, reply), messages.size_of(reply) / MEGABYTE
        print(f"{payload.task:15} {sent:6.2f} MB  {took:.2f} ms, twice: {200 * took / 1000 / whole:.3f} % of a round")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "studies/siamese.yaml"))
