"""The server's composition root: asks who is there, trains and evaluates every arm, writes the run's results."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from flwr.serverapp import Grid

from normfed_common import arrays as named
from normfed_common import digests, seeds
from normfed_common.algorithms.sharing import check_study
from normfed_common.arrays import Arrays
from normfed_common.errors import RunError
from normfed_common.files import write_json
from normfed_common.models.base import Setting
from normfed_common.models.catalogue import build
from normfed_common.study.config import StudyConfig
from normfed_common.study.load import DIGEST, load_study
from normfed_common.wire.messages import BELOW_MINIMUM, Request
from normfed_server import evaluation, pace, results
from normfed_server.asking import Asker
from normfed_server.evaluation import ArmResult, Evaluator
from normfed_server.events import EventLog
from normfed_server.plan import FEDERATED, Arm, Plan, SiteDescription, make
from normfed_server.roster import Roster
from normfed_server.training import ArmTraining, Bench

ARMS = "arms"
INITIAL = "initial.safetensors"


class Coordinator:
    """Runs one study in one run folder, from wherever it was interrupted.

    Parameters
    ----------
    expected
        How many sites to wait for before the start.
    wall_clock
        Whether sites can be late by the clock on the wall: not in a simulation.
    """

    def __init__(self, grid: Grid, folder: Path, expected: int, wall_clock: bool = True) -> None:
        logging.getLogger("flwr").setLevel(logging.WARNING)  # Flower's log of every step would drown ours
        self.grid, self.folder, self.expected, self.wall_clock = grid, folder, expected, wall_clock
        self.study: StudyConfig = load_study(folder / "study.yaml")
        check_study(self.study)
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
        header = Request(study=self.study.model_dump_json(), arm=FEDERATED, model=self.study.model)
        roster = Roster(self.grid, self.asker, header)
        roster.wait_for(self.expected)
        sites = roster.sites
        plan = make(self.study, sites)
        self._check(plan, sites)
        hospital_pace = pace.load(self.folder)
        bench = Bench(self.study, roster, self.asker, self.events, hospital_pace, self._initial(), self.wall_clock)
        rounds = {a.name: self.study.federation.rounds if self._learns(a.model) else 0 for a in plan.arms}
        arms = [[a.name, rounds[a.name], sorted(a.evaluate)] for a in plan.arms]
        self.events.say("plan", arms=arms, sites={k: vars(v) for k, v in sites.items()}, left_out=plan.left_out)
        finished, failed = self._run_arms(plan, bench)
        metrics = results.assemble(self.study, plan, sites, finished, failed, self.folder / ARMS, hospital_pace)
        saved = self._path(FEDERATED, "model")
        named.save(self.folder / "model.safetensors", named.load(saved), named.header(saved))
        write_json(self.folder / "metrics.json", metrics)
        self.events.say("finished")

    def _initial(self) -> Arrays | None:
        """The arrays that the study starts from, copied into the run folder when the run began."""
        if self.study.initial_model is None:
            return None
        path = self.folder / INITIAL
        if DIGEST + digests.of_file(path) != self.study.initial_model:
            raise RunError(f"{path}: is not the initial model that the run began with. Begin a new run.")
        return named.load(path)

    def _check(self, plan: Plan, sites: dict[str, SiteDescription]) -> None:
        federated = next(arm for arm in plan.arms if arm.name == FEDERATED)
        found = ", ".join(f"{name} {_count(s.train)}/{_count(s.test)}" for name, s in sites.items())
        if not federated.train:
            raise RunError(
                f"No site can train: people to train on/to test on are {found}. "
                "Check data.normal, data.control_groups, data.modalities and federation.minimum_cohort of the study."
            )
        if not federated.evaluate:
            if federated.not_served:
                site, why = next(iter(federated.not_served.items()))
                raise RunError(f"No site can test: {site} {why}. Take another strategy.")
            raise RunError(
                f"No site can test: people to train on/to test on are {found}. Patients need lesion masks "
                "(derivatives/*/sub-*_label-X_mask.nii.gz)."
            )

    def _run_arms(self, plan: Plan, bench: Bench) -> tuple[dict[str, ArmResult], dict[str, str]]:
        """All arms, at the same time where the grid can carry them.

        Returns
        -------
        The figures of every arm; and of those that could not be trained to the end, the reason. The federated model
        must be trained: without it the run stops.
        """
        finished: dict[str, ArmResult] = {}
        failed: dict[str, str] = {}
        with ThreadPoolExecutor(getattr(self.grid, "concurrent_arms", 1)) as pool:
            jobs = {pool.submit(self._run_arm, arm, bench): arm.name for arm in plan.arms}
            waiting = set(jobs)
            try:
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for job in done:
                        try:
                            finished[jobs[job]] = job.result()
                        except RunError as error:
                            if jobs[job] == FEDERATED:
                                raise
                            failed[jobs[job]] = str(error)
                            self.events.say("failed", arm=jobs[job], why=str(error))
            finally:
                if waiting:
                    self.stop.set()
                    for job in waiting:
                        job.cancel()
        return {arm.name: finished[arm.name] for arm in plan.arms if arm.name in finished}, failed

    def _run_arm(self, arm: Arm, bench: Bench) -> ArmResult:
        done = evaluation.load(self._path(arm.name, "evaluation"))
        if done is not None:
            self.events.say("evaluated", arm=arm.name, sites=sorted(done.summaries))
            return done
        training = ArmTraining(
            arm,
            build(arm.model, self._setting(seeds.of_repeat(self.study.seed, arm.repeat))),
            lambda number: self._another(arm, number),
            bench,
            self._path(arm.name, "progress"),
        )
        progress = training.run()
        shared = [{n: a for n, a in model.items() if n not in training.personal} for model in progress.models]
        several = len(shared) > 1
        header = {"clusters": progress.clusters} if several else {}
        named.save(self._path(arm.name, "model"), named.stacked(shared) if several else shared[0], header)
        result = Evaluator(arm, progress, self.study, bench.roster.nodes, self.asker, self.events).run()
        evaluation.save(self._path(arm.name, "evaluation"), result)
        return result

    def _another(self, arm: Arm, number: int) -> Arrays:
        """First weights of the same model from another draw."""
        seed = seeds.of_repeat(self.study.seed, arm.repeat)
        return build(arm.model, self._setting(seeds.derive(seed, "cluster", number))).share()

    def _learns(self, model: dict[str, Any]) -> bool:
        """Whether a model is trained in rounds."""
        return build(model, self._setting()).network is not None

    def _setting(self, seed: int | None = None) -> Setting:
        """The server never sees the grid: models that need its shape use it at the sites only."""
        data, preprocessing = self.study.data, self.study.preprocessing
        chosen = self.study.seed if seed is None else seed
        return Setting(data.modalities, preprocessing.voxel_size_mm, (1, 1, 1), chosen, torch.device("cpu"))

    def _path(self, arm: str, what: str) -> Path:
        return self.folder / ARMS / arm / f"{what}.safetensors"


def _count(people: int) -> str:
    return "too few" if people == BELOW_MINIMUM else str(people)
