"""The server's composition root: asks who is there, trains and evaluates every arm, writes the run's results."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from flwr.serverapp import Grid

from normfed_common.algorithms.arms import FEDERATED
from normfed_common.algorithms.sharing import check_study
from normfed_common.foundation import arrays as named
from normfed_common.foundation import digests, private, seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import DamagedError, NormfedError, RunError
from normfed_common.foundation.files import write_json
from normfed_common.foundation.registry import recorded
from normfed_common.learning.phase import averaged_rounds
from normfed_common.learning.setting import Setting
from normfed_common.metrics import calibration
from normfed_common.models.base import NormativeModel
from normfed_common.models.combined.pipeline import assemble
from normfed_common.statistics.names import ARM
from normfed_common.studies import DIGEST, load_study
from normfed_common.study.config import StudyConfig
from normfed_server.arms import canary, cohorts, evaluation, fitness
from normfed_server.arms import virtual_clock as pace
from normfed_server.arms.context import RunContext
from normfed_server.arms.enough_sites import check_testing, check_training
from normfed_server.arms.evaluation import ArmResult, Evaluator
from normfed_server.arms.plan import Arm, Plan, make
from normfed_server.arms.secure.planning import restricted
from normfed_server.arms.training import ArmTraining
from normfed_server.events.damage import put_aside
from normfed_server.events.kinds import (
    AskedAgain,
    Connecting,
    Evaluated,
    Failed,
    Finished,
    Fit,
    FitMachine,
    Noted,
    People,
    Planned,
    PlannedArm,
    Unfit,
)
from normfed_server.events.log import EventLog
from normfed_server.results import cohorts as statistics
from normfed_server.results import layout
from normfed_server.results import metrics as results
from normfed_server.results.cohort_warnings import warnings
from normfed_server.runs.folder import ARMS, INITIAL, begun, counts_only
from normfed_server.sites.asking import Interrupted
from normfed_server.sites.letterhead import Letterhead
from normfed_server.sites.participants import Participants
from normfed_server.sites.roster import Roster
from normfed_server.steps.catalogue import check_steps
from normfed_server.steps.progress import Progress

T = TypeVar("T")

FITNESS = "fitness.json"
SECRET = "central.secret"
SIGNALS_S = 1.0  # how long a signal may wait


class Coordinator:
    """Runs one study in one run folder, from wherever it was interrupted."""

    def __init__(self, grid: Grid, folder: Path, participants: Participants) -> None:
        logging.getLogger("flwr").setLevel(logging.WARNING)  # Flower's log of every step would drown ours
        self.grid, self.folder, self.participants = grid, folder, participants
        with recorded() as plugins:
            self.study: StudyConfig = load_study(folder / "study.yaml")
            check_study(self.study)
            check_steps(self.study)
        self.events = EventLog(folder / "events.jsonl")
        self.stop = threading.Event()
        self.letterhead = Letterhead(self.study, folder.name, plugins)
        self.asker = participants.asker(grid, self.stop, self.study)
        self.asker.asked_again = lambda site, why: self.events.say(AskedAgain(site=site, why=why))

    def run(self) -> None:
        """Train and evaluate everything, then write `metrics.json` and `model.safetensors`; or write `statistics.json`
        alone, where the run asks for that.

        Raises
        ------
        StudyError, DatasetError
            If no site can train or none can test.
        """
        try:
            self._whole()
        except (Exception, KeyboardInterrupt) as error:
            final = isinstance(error, NormfedError) and not isinstance(error, Interrupted)
            if final or not self.participants.deployed:  # a server goes on with what was interrupted or has crashed
                with contextlib.suppress(OSError):  # of a full disk, which may be the error
                    self.events.say(Failed(arm=FEDERATED, why=str(error) or "It was stopped."))
            raise

    def _whole(self) -> None:
        roster = self.participants.gathered(self.asker, self.letterhead, _Telling(self.events))
        try:
            (self._count if counts_only(self.folder) else self._run)(roster)
        finally:
            roster.close()

    def _count(self, roster: Roster) -> None:
        """Write the cohorts in figures, `statistics.json`; nothing is trained."""
        sites = {site: People(**vars(described)) for site, described in roster.sites.items()}
        self.events.say(Planned(arms=(), sites=sites, left_out=roster.set_aside | roster.not_let_in()))
        found = cohorts.gathered(self._context(roster), self.folder / ARMS / ARM, self.participants.deployed)
        figures = statistics.assemble(self.study, found, roster.sites)
        told = figures.model_copy(update={"warnings": warnings(figures, self.study, roster.sites)})
        statistics.write(self.folder, told)
        self.events.say(Finished())

    def _context(self, roster: Roster) -> RunContext:
        return RunContext(
            self.letterhead,
            roster,
            self.asker,
            self.events,
            pace.load(self.folder),
            self._initial(),
            wall_clock=self.participants.deployed,
            excused=self.asker.excused,
            secret=self._secret() if self.study.privacy.central is not None else b"",
        )

    def _run(self, roster: Roster) -> None:
        sites = dict(roster.sites)
        plan, without = restricted(make(self.study, sites), self.study, self.participants.deployed)
        able, plan = plan, _leaving_out(plan, roster)
        check_training(plan, sites, self.study)
        check_testing(plan, sites, self.study, self.participants.deployed)
        context = self._context(roster)
        arms = tuple(PlannedArm(a.name, self._rounds(a.model), tuple(sorted(a.evaluate))) for a in plan.arms)
        people = {site: People(**vars(described)) for site, described in sites.items()}
        self.events.say(Planned(arms=arms, sites=people, left_out=dict(plan.left_out)))
        if self.participants.deployed:
            self._fit(plan, context)
        for arm, why in without.items():
            self.events.say(Failed(arm=arm, why=why))
        finished, failed = self._run_arms(plan, context)
        failed |= without
        plan = _leaving_out(able, roster)  # some joined later
        found = results.assemble(self.study, plan, sites, finished, failed, self.folder / ARMS, context.pace)
        named.save(self.folder / "model.safetensors", *named.read(self._path(FEDERATED, "model")))
        if (normal := finished[FEDERATED].normal_voxels) is not None:
            named.save(self.folder / calibration.FILE, normal.arrays())
        layout.write(self.folder, found)
        self.events.say(Finished())

    def _fit(self, plan: Plan, context: RunContext) -> None:
        """Versions and machines against what the study needs; then one batch per site. Once a run.

        Raises
        ------
        RunError
            If a site is not fit, or its canary does not come back.
        """
        if (self.folder / FITNESS).exists():
            return
        arm = next(arm for arm in plan.arms if arm.name == FEDERATED)
        built = self._model(arm.model)
        model, phases = built.share(), built.phases()
        size = sum(array.nbytes for array in model.values())
        machines = {site: machine for site, machine in context.roster.machines.items() if site in arm.train}
        found = fitness.findings(self.study, machines, size, self.letterhead.version)
        described = {
            site: FitMachine(**machine.model_dump(), people=fitness.size_class(context.roster.sites[site].train))
            for site, machine in sorted(context.roster.machines.items())
        }
        needs = fitness.estimate(size)
        self.participants.hearing.judged({site: [f.text for f in found if f.where == site] for site in machines})
        self.events.say(Fit(sites=described, needs=needs, findings=tuple(Unfit(**vars(finding)) for finding in found)))
        fatal = [f"{f.where} {f.text}" for f in found if f.fatal and f.where not in context.excused()]
        if fatal:
            raise RunError(f"Not fit to run: {'; '.join(fatal)}. Fix that, and resume.")
        tried = {}
        # Most networks that are trained on what sums make of the scans cannot be tried before these are there.
        kinds = [phase.kind for phase in phases]
        can_be_tried = "averaged" in kinds and (kinds[0] == "averaged" or built.trains_without_sums)
        if self.participants.canary and can_be_tried:
            tried = {site: found.model_dump() for site, found in canary.try_one_batch(context, arm, model).items()}
        machines_told = {site: machine.model_dump() for site, machine in described.items()}
        write_json(self.folder / FITNESS, {"sites": machines_told, "needs": needs, "canary": tried})

    def _secret(self) -> bytes:
        """The run's own, drawn when it begins: of the noise of central privacy. It never leaves the run folder."""
        path = self.folder / SECRET
        if not path.exists() and not begun(self.folder):
            private.write_new(path, private.secret())
        private.check(path)
        return path.read_bytes()

    def _initial(self) -> Arrays | None:
        """The arrays that the study starts from, copied into the run folder when the run began."""
        if self.study.initial_model is None:
            return None
        path = self.folder / INITIAL
        if DIGEST + digests.of_file(path) != self.study.initial_model:
            raise RunError(f"{path}: is not the initial model that the run began with. Begin a new run.")
        return named.load(path, foreign=True)

    def _run_arms(self, plan: Plan, context: RunContext) -> tuple[dict[str, ArmResult], dict[str, str]]:
        """All arms, at the same time where the grid can carry them.

        Returns
        -------
        The figures of every arm; and of those that could not be trained to the end, the reason. The federated model
        must be trained: without it the run stops.
        """
        finished: dict[str, ArmResult] = {}
        failed: dict[str, str] = {}
        with contextlib.closing(self._ended_arms(plan, context)) as ended:
            for arm, result in ended:
                try:
                    finished[arm] = result()
                except RunError as error:
                    if arm == FEDERATED:
                        raise
                    failed[arm] = str(error)
                    self.events.say(Failed(arm=arm, why=str(error)))
        return {arm.name: finished[arm.name] for arm in plan.arms if arm.name in finished}, failed

    def _ended_arms(
        self, plan: Plan, context: RunContext
    ) -> Generator[tuple[str, Callable[[], ArmResult]], None, None]:
        """Name and result of every arm, as each ends; whoever closes this ends those that are under way."""
        concurrent = getattr(self.grid, "concurrent_arms", 1)
        if concurrent == 1:  # in this thread, where Ctrl-C ends even what a site computes in this process
            yield from ((arm.name, partial(self._run_arm, arm, context)) for arm in plan.arms)
            return
        with ThreadPoolExecutor(concurrent) as pool:
            jobs = {pool.submit(self._run_arm, arm, context): arm.name for arm in plan.arms}
            waiting = set(jobs)
            try:
                while waiting:
                    # Now and then, since a thread that waits without end never handles a signal sent from another.
                    done, waiting = wait(waiting, SIGNALS_S, FIRST_COMPLETED)
                    yield from ((jobs[job], job.result) for job in done)
            finally:
                if waiting:
                    self.stop.set()
                    for job in waiting:
                        job.cancel()

    def _run_arm(self, arm: Arm, context: RunContext) -> ArmResult:
        training = ArmTraining(
            arm,
            self._model(arm.model, seeds.of_repeat(self.study.seed, arm.repeat)),
            lambda number: self._another(arm, number),
            context,
            self._path(arm.name, "progress"),
        )
        # Figures of a model whose progress was damaged since are not those of the model that is trained again.
        if training.complete and (done := self._intact(arm, "evaluation", evaluation.load)) is not None:
            if self._intact(arm, "model", _read) is None:
                self._write_model(arm, training.progress, training.personal)
            self.events.say(Evaluated(arm=arm.name, sites=tuple(sorted(done.summaries))))
            return done
        progress = training.run()
        self._write_model(arm, progress, training.personal)
        result = Evaluator(arm, progress, self.letterhead, context.roster, self.asker, self.events).run()
        evaluation.save(self._path(arm.name, "evaluation"), result)
        return result

    def _write_model(self, arm: Arm, progress: Progress, personal: frozenset[str]) -> None:
        """What of an arm's model leaves the server: all but the sites' own parts."""
        shared = [{n: a for n, a in model.items() if n not in personal} for model in progress.whole()]
        several = len(shared) > 1
        header = {"clusters": progress.clusters} if several else {}
        named.save(self._path(arm.name, "model"), named.stacked(shared) if several else shared[0], header)

    def _intact(self, arm: Arm, what: str, read: Callable[[Path], T | None]) -> T | None:
        """What a file of an arm holds; None where there is none, or it was damaged and is set apart now."""
        path = self._path(arm.name, what)
        try:
            return read(path)
        except DamagedError as error:
            put_aside(self.events, arm.name, path, error)
            return None

    def _another(self, arm: Arm, number: int) -> Arrays:
        """First weights of the same model from another draw."""
        seed = seeds.of_repeat(self.study.seed, arm.repeat)
        return self._model(arm.model, seeds.derive(seed, "cluster", number)).share()

    def _rounds(self, entry: dict[str, Any]) -> int:
        """How many a model is trained in."""
        return averaged_rounds(self._model(entry).phases(), self.study.federation.rounds)

    def _model(self, entry: dict[str, Any], seed: int | None = None) -> NormativeModel:
        """A model with its first weights. The server never sees the grid: what needs it is done at the sites only."""
        return assemble(self.study.transforms, entry, Setting.of(self.study, seed=seed))

    def _path(self, arm: str, what: str) -> Path:
        return self.folder / ARMS / arm / f"{what}.safetensors"


def _leaving_out(plan: Plan, roster: Roster) -> Plan:
    """A plan with the sites that are not there by their own answers, as of now."""
    reasons = roster.set_aside | roster.not_let_in()
    return replace(plan, left_out=plan.left_out | {site: f"takes no part: {why}" for site, why in reasons.items()})


@dataclass(frozen=True)
class _Telling:
    """Says it in the events of the run."""

    events: EventLog

    def connecting(self, sites: list[str]) -> None:
        self.events.say(Connecting(sites=tuple(sites)))

    def note(self, site: str, text: str) -> None:
        self.events.say(Noted(arm=FEDERATED, site=site, text=text))


def _read(path: Path) -> Arrays | None:
    return named.load(path) if path.exists() else None
