"""The server's composition root: asks who is there, trains and evaluates every arm, writes the run's results."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

import torch
from flwr.serverapp import Grid

from normfed_common import arrays as named
from normfed_common.errors import RunError, SiteCode
from normfed_common.files import write_json
from normfed_common.models.base import Setting
from normfed_common.models.catalogue import build
from normfed_common.study.config import StudyConfig
from normfed_common.study.load import load_study
from normfed_common.wire.messages import BELOW_MINIMUM, Request, decode_answer, requests
from normfed_server import evaluation, results
from normfed_server.asking import POLL_S, Asker
from normfed_server.evaluation import ArmResult, Evaluator
from normfed_server.events import EventLog
from normfed_server.plan import FEDERATED, Arm, Plan, SiteDescription, make
from normfed_server.training import train_arm

ARMS = "arms"
PATIENCE_S = 120.0  # for sites to come up; on a loaded machine a runtime takes its time


class Coordinator:
    """Runs one study in one run folder, from wherever it was interrupted."""

    def __init__(self, grid: Grid, folder: Path, expected: int) -> None:
        logging.getLogger("flwr").setLevel(logging.WARNING)  # Flower's log of every step would drown ours
        self.grid, self.folder, self.expected = grid, folder, expected
        self.study: StudyConfig = load_study(folder / "study.yaml")
        self.events = EventLog(folder / "events.jsonl")
        self.stop = threading.Event()
        self.asker = Asker(grid, self.stop)

    def run(self) -> None:
        """Train and evaluate everything, then write `metrics.json` and `model.safetensors`.

        Raises
        ------
        RunError
            If no site can train or none can test.
        """
        nodes, sites = self._describe()
        plan = make(self.study, sites)
        self._check(plan, sites)
        arms = [[a.name, self.study.federation.rounds, sorted(a.evaluate)] for a in plan.arms]
        self.events.say("plan", arms=arms, sites={k: vars(v) for k, v in sites.items()}, left_out=plan.left_out)
        finished = self._run_arms(plan, nodes)
        metrics = results.assemble(self.study, plan, sites, finished, self.folder / ARMS)
        named.save(self.folder / "model.safetensors", named.load(self._path(FEDERATED, "model")))
        write_json(self.folder / "metrics.json", metrics)
        self.events.say("finished")

    def _describe(self) -> tuple[dict[str, int], dict[str, SiteDescription]]:
        header = Request(study=self.study.model_dump_json(), arm=FEDERATED, model=self.study.model)
        messages = requests("query.describe", {str(node): node for node in self._everybody()}, header, {})
        nodes: dict[str, int] = {}
        sites: dict[str, SiteDescription] = {}
        for node, reply in self.asker.ask(messages, (SiteCode.NO_TRAINING_SUBJECTS,)).items():
            answer, _ = decode_answer(reply)
            nodes[answer.site] = int(node)
            sites[answer.site] = SiteDescription(**answer.counts, kinds=answer.labels)
        return nodes, dict(sorted(sites.items()))

    def _everybody(self) -> list[int]:
        """Node ids of all sites, once as many are there as are expected: sites come up one after another.

        Raises
        ------
        RunError
            If some are still missing after PATIENCE_S.
        """
        deadline = time.monotonic() + PATIENCE_S
        while len(nodes := list(self.grid.get_node_ids())) < self.expected:
            if time.monotonic() > deadline:
                raise RunError(f"Only {len(nodes)} of {self.expected} sites came up within {PATIENCE_S:.0f} s.")
            time.sleep(POLL_S)
        return nodes

    def _check(self, plan: Plan, sites: dict[str, SiteDescription]) -> None:
        federated = next(arm for arm in plan.arms if arm.name == FEDERATED)
        found = ", ".join(f"{name} {_count(s.train)}/{_count(s.test)}" for name, s in sites.items())
        if not federated.train:
            raise RunError(
                f"No site can train: people to train on/to test on are {found}. "
                "Check data.normal, data.control_groups, data.modalities and federation.minimum_cohort of the study."
            )
        if not federated.evaluate:
            raise RunError(
                f"No site can test: people to train on/to test on are {found}. Patients need lesion masks "
                "(derivatives/*/sub-*_label-X_mask.nii.gz)."
            )

    def _run_arms(self, plan: Plan, nodes: dict[str, int]) -> dict[str, ArmResult]:
        """All arms, at the same time where the grid can carry them."""
        finished: dict[str, ArmResult] = {}
        with ThreadPoolExecutor(getattr(self.grid, "concurrent_arms", 1)) as pool:
            jobs = {pool.submit(self._run_arm, arm, nodes): arm.name for arm in plan.arms}
            try:
                wait(jobs, return_when=FIRST_EXCEPTION)
            finally:
                if not all(job.done() for job in jobs):
                    self.stop.set()
                    for job in jobs:
                        job.cancel()
            failed = next((job for job in jobs if job.done() and not job.cancelled() and job.exception()), None)
            if failed is not None:
                self.stop.set()
                failed.result()
            for job, name in jobs.items():
                finished[name] = job.result()
        return finished

    def _run_arm(self, arm: Arm, nodes: dict[str, int]) -> ArmResult:
        done = evaluation.load(self._path(arm.name, "evaluation"))
        if done is not None:
            self.events.say("evaluated", arm=arm.name, sites=sorted(done.summaries))
            return done
        model = build(arm.model, self._setting())
        progress = train_arm(arm, model, self.study, nodes, self.asker, self._path(arm.name, "progress"), self.events)
        named.save(self._path(arm.name, "model"), progress.arrays)
        result = Evaluator(arm, progress.arrays, self.study, nodes, self.asker, self.events).run()
        evaluation.save(self._path(arm.name, "evaluation"), result)
        return result

    def _setting(self) -> Setting:
        """The server never sees the grid: models that need its shape use it at the sites only."""
        data, preprocessing = self.study.data, self.study.preprocessing
        return Setting(data.modalities, preprocessing.voxel_size_mm, (1, 1, 1), self.study.seed, torch.device("cpu"))

    def _path(self, arm: str, what: str) -> Path:
        return self.folder / ARMS / arm / f"{what}.safetensors"


def _count(people: int) -> str:
    return "too few" if people == BELOW_MINIMUM else str(people)
