"""How many small faults the tests find: a seeded sample of mutants per module, each tried against the module's tests.

    python benchmarks/mutation.py --sample 20 --seed 1 [module.py or folder ...]

Works on a copy of the project in a temporary folder. What is slow to import is imported once; every mutant then has a
process of its own, forked from that, which runs the module's mirrored tests and, if they find nothing, those of other
test files that import it, or lie beside its own. A mutant that hangs is found. What `equivalent_mutants.yaml` lists
cannot be found by any test, and does not count. (mutmut wants one source root and leaves decorated functions alone;
cosmic-ray edits the working tree, and starts Python for every mutant.)
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from mutants import Mutant, mutants

HERE = Path(__file__).resolve().parents[1]
ROOTS = ("common", "client", "server", "simulation", "deploy")
COPIED = (*ROOTS, "tests", "studies", "benchmarks", "pyproject.toml", "README.md")
DEFAULT = (
    "common/normfed_common/wire",
    "common/normfed_common/metrics",
    "server/normfed_server/steps",
    "server/normfed_server/sites/closing.py",
    "client/normfed_client/answering/gate.py",
    "client/normfed_client/answering/guards",
)
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.yaml")
SLOW_TO_IMPORT = (
    *("torch", "numpy", "scipy.ndimage", "scipy.stats", "scipy.special", "sklearn.cluster", "sklearn.svm"),
    *("flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.serverapp.strategy", "pydantic", "safetensors.numpy"),
    *("hypothesis", "hypothesis.extra.numpy", "nibabel", "typer", "rich", "httpx", "cryptography.x509"),
)
NOT_A_UNIT = ("tests/journeys", "tests/real", "tests/deploy")
OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:anyio", "--hypothesis-seed=1")
PASSED, FAILED = 0, 1  # pytest's exit codes
HUNG = -1
MIRRORED_S = 300.0  # a module's own tests may take as long as they like


class Failures:
    """A plugin of pytest that writes down which tests fail."""

    def __init__(self, root: Path) -> None:
        self.file = root / "failures"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One name a line."""
        if report.failed:
            with self.file.open("a") as file:
                file.write(f"{report.nodeid}\n")

    def read(self) -> list[str]:
        """What was written down."""
        return self.file.read_text().splitlines() if self.file.exists() else []


@dataclass
class Score:
    """What became of a module's mutants."""

    module: str
    tried: int = 0
    killed: int = 0
    hung: int = 0
    equivalent: int = 0
    survived: list[Mutant] = field(default_factory=list)

    def __str__(self) -> str:
        beside = f", {self.equivalent} equivalent left out" if self.equivalent else ""
        killed = f"{self.killed} of {self.tried} killed ({self.hung} of them hung)"
        return f"{self.module}: {killed}{beside}"


@dataclass
class Project:
    """A copy of the project, and how long each of its test files takes.

    Parameters
    ----------
    longest_s
        Test files that take longer are left out, but for a module's mirrored ones.
    budget_s
        Of tests beside the mirrored ones, per mutant.
    """

    root: Path
    longest_s: float
    budget_s: float
    seconds: dict[tuple[str, float], float | None] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)

    @classmethod
    def copied(cls, root: Path, longest_s: float, budget_s: float) -> Project:
        """The project as it is here, with a distribution of its own, since a site looks where its code comes from."""
        for name in COPIED:
            source = HERE / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / name)
        normfed = distribution("normfed")
        for file in normfed.files or ():
            if file.parent.name.endswith(".dist-info"):
                (root / file).parent.mkdir(exist_ok=True)
                shutil.copy(str(normfed.locate_file(file)), root / file)
        (root / "_normfed.pth").write_text("\n".join(str(root / name) for name in ROOTS))
        return cls(root, longest_s, budget_s)

    @property
    def path(self) -> list[str]:
        """Where Python looks first."""
        return [str(self.root), *(str(self.root / name) for name in (*ROOTS, "tests"))]

    @cached_property
    def tests(self) -> dict[str, str]:
        """Test file to what it and the helpers that it imports hold."""
        folder = self.root / "tests"
        helpers = {path.stem: path.read_text() for path in folder.glob("*.py") if path.stem != "conftest"}
        found = {}
        for path in sorted(folder.rglob("test_*.py")):
            text = path.read_text()
            used = [held for name, held in helpers.items() if re.search(rf"^\s*from {name} import", text, re.MULTILINE)]
            found[path.relative_to(self.root).as_posix()] = "\n".join([text, *used])
        return found

    def mirrored(self, module: str) -> dict[str, float]:
        """The test file at the module's own place, and its seconds."""
        place = _place_of_tests(module)
        taken = self.taken(place, MIRRORED_S) if place in self.tests else None
        return {} if taken is None else {place: taken}

    def importing(self, module: str) -> dict[str, float]:
        """Other test files, and their seconds: those that import it, the nearest first; then those beside its own.

        Where none imports it, those that import anything of its room.
        """
        _, *rooms, name = module.removesuffix(".py").split("/")
        room, place = re.escape(".".join(rooms)), _place_of_tests(module)
        exact = rf"{room}\.{name}\b|from {room} import .*\b{name}\b"
        found = {test for test, text in self.tests.items() if re.search(exact, text)}
        if not found and not self.mirrored(module):
            above = re.escape(".".join(rooms[:-1]))
            found = {test for test, text in self.tests.items() if re.search(rf"{room}\b|{above}\.", text)}
        beside = {test for test in self.tests if os.path.dirname(test) == os.path.dirname(place)}
        left = [test for test in found | beside if test != place and not test.startswith(NOT_A_UNIT)]
        left.sort(key=lambda test: (test not in found, -len(os.path.commonpath([test, place])), test))
        chosen: dict[str, float] = {}
        for test in left:
            taken, total = self.taken(test, self.longest_s), sum(chosen.values())
            if taken is not None and total + taken <= self.budget_s:
                chosen[test] = taken
            if total > 0.8 * self.budget_s:
                break
        return chosen

    def taken(self, test: str, limit_s: float) -> float | None:
        """Seconds of a test file as things are; None where it fails or takes too long."""
        if (test, limit_s) not in self.seconds:
            code, seconds = self.run([test], limit_s, baseline=True)
            failures = Failures(self.root)
            failing = failures.read() if code == FAILED and seconds <= limit_s else []
            failures.file.unlink(missing_ok=True)
            usable = seconds <= limit_s and (code == PASSED or failing)
            self.seconds[test, limit_s] = seconds if usable else None
            self.failing += failing
            if code != PASSED:
                left_out = ", ".join(failing) or test
                print(f"  left out, as it fails or takes over {limit_s:g} s without a fault: {left_out}", flush=True)
        return self.seconds[test, limit_s]

    def run(self, tests: Sequence[str], limit_s: float, baseline: bool = False) -> tuple[int, float]:
        """Exit code of pytest in a process of its own, and the processor time that it took, as a machine may be busy.

        Parameters
        ----------
        limit_s
            Of processor time; one that waits for ever is ended, too: HUNG.
        baseline
            Without a fault: goes on after a failure, and keeps what it compiled.
        """
        child = os.fork()
        if child == 0:
            os.setsid()
            silent = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silent, stream)
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s) + 1, int(limit_s) + 2))
            os.chdir(self.root)
            sys.path[:0] = self.path
            os.environ["PYTHONPATH"] = os.pathsep.join(self.path)
            sys.dont_write_bytecode = not baseline
            os.environ["PYTHONDONTWRITEBYTECODE"] = "" if baseline else "1"
            options = [*(f"--deselect={test}" for test in self.failing), *([] if baseline else ["-x"]), *OPTIONS]
            os._exit(int(pytest.main([*options, *tests], plugins=[Failures(self.root)] if baseline else [])))
        end, done = time.monotonic() + 60 + 6 * limit_s, 0
        while not done and time.monotonic() < end:
            time.sleep(0.02)
            done, status, usage = os.wait4(child, os.WNOHANG)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # and whatever it started and left behind
        if not done:
            _, status, usage = os.wait4(child, 0)
        return max(os.waitstatus_to_exitcode(status), HUNG), usage.ru_utime + usage.ru_stime

    def score(self, module: str, sample: int, seed: int, equivalent: set[tuple[str, str, str]]) -> Score:
        """Try a sample of a module's mutants; prints the survivors as they are found."""
        path, score = self.root / module, Score(module)
        source = path.read_text()
        found = mutants(source)
        chosen = random.Random(f"{seed} {module}").sample(found, len(found))[:sample]  # a larger one holds a smaller
        stages = [stage for stage in (self.mirrored(module), self.importing(module)) if stage]
        if not stages:
            print(f"  {module} has no tests that can be used", flush=True)
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()  # one of the same size and second would be taken for the mutant's
        try:
            for mutant in sorted(chosen, key=lambda one: one.line):
                if (module, mutant.before, mutant.after) in equivalent:
                    score.equivalent += 1
                    continue
                path.write_text(mutant.source)
                score.tried += 1
                code = self._first_failure(stages)
                if code == PASSED:
                    score.survived.append(mutant)
                    print(f"  {module}:{mutant.line} survived\n    - {mutant.before}\n    + {mutant.after}", flush=True)
                else:
                    score.killed += 1
                    score.hung += code == HUNG
        finally:
            path.write_text(source)
        return score

    def _first_failure(self, stages: Sequence[dict[str, float]]) -> int:
        for stage in stages:
            code, _ = self.run(list(stage), 10.0 + 4 * sum(stage.values()))
            if code != PASSED:
                return code
        return PASSED


def _place_of_tests(module: str) -> str:
    root, _package, *rooms, name = module.split("/")
    return "/".join(["tests", root, *rooms, f"test_{name}"])


def modules(places: Sequence[str]) -> Iterator[str]:
    """Every module below these, relative to the project."""
    for place in places:
        path = HERE / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            if file.name != "__init__.py":
                yield file.relative_to(HERE).as_posix()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*", default=DEFAULT, help="modules or folders; otherwise the core's")
    parser.add_argument("--sample", type=int, default=20, help="mutants per module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=8.0, help="s; slower test files only where mirrored")
    parser.add_argument("--budget", type=float, default=20.0, help="s of tests beside the mirrored ones, per mutant")
    options = parser.parse_args()
    known = yaml.safe_load(EQUIVALENT.read_text()) or []
    equivalent = {(entry["module"], entry["before"], entry["after"]) for entry in known}
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in SLOW_TO_IMPORT:
        importlib.import_module(name)
    gc.freeze()  # else every process looks through all of it
    scores = []
    with tempfile.TemporaryDirectory(prefix="normfed-mutation-") as folder:
        project = Project.copied(Path(folder).resolve(), options.longest, options.budget)
        for module in modules(options.places):
            score = project.score(module, options.sample, options.seed, equivalent)
            scores.append(score)
            print(score, flush=True)
    tried, killed, hung, left_out = (
        sum(getattr(score, kind) for score in scores) for kind in ("tried", "killed", "hung", "equivalent")
    )
    print(f"{len(scores)} modules, up to {options.sample} mutants of each, seed {options.seed}: ", end="")
    print(f"{killed} of {tried} killed, {killed / max(tried, 1):.0%} ", end="")
    print(f"({hung} of them hung), {left_out} equivalent ones left out")


if __name__ == "__main__":
    main()
