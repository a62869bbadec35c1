"""Train one arm: rounds of averaging, then stages of sums; a checkpoint after each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from flwr.app import ConfigRecord

from normfed_common import arrays as named
from normfed_common.models.base import NormativeModel
from normfed_common.study.config import StudyConfig
from normfed_common.wire.messages import Request, decode_answer, requests
from normfed_server import checkpoints
from normfed_server.asking import Asker
from normfed_server.checkpoints import Progress
from normfed_server.events import EventLog
from normfed_server.plan import Arm
from normfed_server.strategy import RoundStrategy, to_arrays, to_record


def train_arm(
    arm: Arm,
    model: NormativeModel,
    study: StudyConfig,
    nodes: Mapping[str, int],
    asker: Asker,
    path: Path,
    events: EventLog,
) -> Progress:
    """Train from the last checkpoint at ``path`` to the end.

    Parameters
    ----------
    model
        A fresh model: gives the first weights, and says which stages follow.
    """
    progress = checkpoints.load(path, study.digest) or Progress(arrays=model.share())
    rounds = study.federation.rounds if model.network is not None else 0
    strategy = RoundStrategy(study, arm, nodes)
    while progress.round < rounds:
        begin = time.perf_counter()
        current = progress.round + 1
        messages = strategy.configure_train(current, to_record(progress.arrays), ConfigRecord(), asker.grid)
        answers = asker.ask(dict(zip(arm.train, messages, strict=True)))
        aggregated, losses = strategy.aggregate_train(current, answers.values())
        if aggregated is None or losses is None:
            raise ValueError("a round without answers")
        progress.arrays, progress.round = to_arrays(aggregated), current
        seconds = time.perf_counter() - begin
        progress.history.append({"round": current, "loss": dict(losses), "seconds": seconds})
        checkpoints.save(path, progress, study.digest)
        if current == 1:
            for site, texts in strategy.notes.items():
                for text in texts:
                    events.say("note", arm=arm.name, site=site, text=text)
        events.say("round", arm=arm.name, **progress.history[-1], rounds=rounds)
    while progress.stages < len(model.stages):
        _sum_stage(arm, model.stages[progress.stages], progress, study, nodes, asker)
        progress.stages += 1
        checkpoints.save(path, progress, study.digest)
        events.say("stage", arm=arm.name, stage=progress.stages, stages=len(model.stages))
    return progress


def _sum_stage(
    arm: Arm, stage: str, progress: Progress, study: StudyConfig, nodes: Mapping[str, int], asker: Asker
) -> None:
    header = Request(study=study.model_dump_json(), arm=arm.name, model=arm.model, stage=stage)
    messages = requests("train.sums", {site: nodes[site] for site in arm.train}, header, progress.arrays)
    for name, value in named.add(decode_answer(answer)[1] for _, answer in asker.answers(messages)).items():
        progress.arrays[f"sums.{stage}.{name}"] = value
