"""Seconds a round beyond training, and memory of the SuperLink: a rehearsal of ours against plain Flower, 3 sites each.

Both with TLS and registered keys on this machine, in one run of this script. Plain Flower: `flower-superlink` and
`flower-supernode` as its documentation starts them, FedAvg, a client that returns what it was sent. Ours: a study with
an auto-encoder of that size; overhead is what a round takes beyond the slowest site's own clock.

    python benchmarks/bench_deployment.py                  # 1, 50 and 200 MB
    python benchmarks/bench_deployment.py --sizes 1        # only the smallest
    python benchmarks/bench_deployment.py --soak 300       # memory of every process over 300 small rounds
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
from common import machine
from flwr.cli.build import build_fab_from_files

from normfed_client.operation import joining
from normfed_common.deployment import bundle, enrolment
from normfed_common.foundation.units import MEGABYTE
from normfed_common.learning.entries import build
from normfed_common.learning.setting import Setting
from normfed_common.models import catalogue
from normfed_common.processes.health import free_port
from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_deploy import playing
from normfed_deploy.rehearsal import Rehearsal
from normfed_deploy.tiny import STUDY
from normfed_server.state import admission
from normfed_server.state.folder import ServerConfig, create
from normfed_server.superlink.control import Control

ROUNDS = 4
BIN = Path(sys.executable).parent
MODELS = {1: (32, 8, 16, 220), 50: (32, 32, 512, 5), 200: (128, 32, 512, 3)}  # size, filters, most filters, latent

SERVER = """
import time
from pathlib import Path
import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    rng = np.random.default_rng(0)
    total, arrays = int(context.run_config["bytes"]), []
    for _ in range(30):
        arrays.append(rng.random(total // 120, np.float32))
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=3, min_available_nodes=3)
    begin = time.perf_counter()
    strategy.start(grid=grid, initial_arrays=ArrayRecord(arrays), num_rounds=int(context.run_config["rounds"]))
    seconds = (time.perf_counter() - begin) / int(context.run_config["rounds"])
    Path(str(context.run_config["out"])).write_text(str(seconds))
"""
CLIENT = """
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    content = RecordDict({"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})})
    return Message(content, reply_to=message)
"""


class Peak:
    """Largest resident memory of processes while the context lasts, in MB."""

    def __init__(self, pids: dict[str, int]) -> None:
        self.pids, self.peaks = pids, dict.fromkeys(pids, 0.0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            for name, pid in self.pids.items():
                try:
                    self.peaks[name] = max(self.peaks[name], psutil.Process(pid).memory_info().rss / MEGABYTE)
                except psutil.NoSuchProcess:
                    continue


def study_of(megabytes: int, rounds: int) -> tuple[StudyConfig, float]:
    """A study whose model weighs about so much, and how much it does."""
    size, filters, most, latent = MODELS[megabytes]
    entry = {"name": "autoencoder", "size": size, "filters": filters, "most_filters": most, "slices_per_subject": 2}
    latent = _latent(entry, latent, megabytes)
    entry |= {"latent": latent, "batch_size": 8}
    raw = STUDY | {"model": entry, "name": f"overhead-{megabytes}mb"}
    raw["federation"] = {"rounds": rounds, "minimum_cohort": 2}
    study = resolve(raw, "benchmark")
    return study, _bytes(study.model) / MEGABYTE


def _bytes(entry: dict[str, object]) -> int:
    setting = Setting(("T1w", "FLAIR"), 4, (45, 54, 45), 1)
    return sum(array.nbytes for array in build(catalogue.MODELS, entry, setting).share().values())


def _latent(entry: dict[str, object], first: int, megabytes: int) -> int:
    """The bottleneck that makes the model so heavy: its size grows linearly with it."""
    small, large = (_bytes(entry | {"latent": n}) for n in (first, first + 64))
    return max(2, min(4096, round(first + 64 * (megabytes * MEGABYTE - small) / (large - small))))


def ours(megabytes: int, folder: Path) -> dict[str, float]:
    """Rounds of a rehearsal."""
    study, weight = study_of(megabytes, ROUNDS)
    chosen, data = _with_data(study)
    with playing.rehearsal(chosen, data, folder, wired=False).up() as federation:
        pids = {"superlink": federation.pid("superlink") or 0}
        with Peak(pids) as peak:
            run = federation.begin(chosen, canary=False)
            entry = federation.wait(run, 3600)
        print(f"    {entry.state}", file=sys.stderr)
        rounds = [e for e in _events(federation, run) if e["event"] == "round"]
    beyond = [r["seconds"] - max(r["site_seconds"].values()) for r in rounds]
    return {"model_mb": weight, "round_s": float(np.median(beyond)), "superlink_mb": peak.peaks["superlink"]}


def plain(megabytes: int, weight: float, folder: Path) -> dict[str, float]:
    """Rounds of plain Flower."""
    port = free_port()
    home = create(folder / "server", ServerConfig(name="plain", address=f"127.0.0.1:{port}", port=port))
    out = folder / "seconds"
    environment = {
        **os.environ,
        "FLWR_HOME": str(folder / "flower"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
    superlink = [
        *(str(BIN / "flower-superlink"), "--host", "127.0.0.1", "--port", str(port), "--enable-supernode-auth"),
        *("--ssl-certfile", str(home.certificate), "--ssl-keyfile", str(home.key), "--ssl-ca-certfile", str(home.ca)),
        *("--disable-runtime-dependency-installation", "--database", str(home.database)),
    ]
    with _processes([superlink], folder, environment) as (first,):
        control = _answering(Control(home))
        nodes = []
        for site in "abc":
            joined = joining.join(enrolment.load(admission.enrol(home, site)), folder / site, folder, ())
            line, _ = admission.read_key(joined.public_key)
            control.register(site, line)
            nodes.append(
                [
                    *(str(BIN / "flower-supernode"), "--superlink", f"127.0.0.1:{port}"),
                    *("--root-certificates", str(home.ca), "--port", str(free_port())),
                    *("--auth-supernode-private-key", str(joined.folder / "site.key")),
                ]
            )
        with _processes(nodes, folder, environment):
            while sum(node.status == "online" for node in control.nodes().values()) < 3:
                time.sleep(0.5)
            bundle.content.cache_clear()
            content = _plain_bundle(int(weight * MEGABYTE), out)
            original, bundle.content = bundle.content, lambda: content
            try:
                with Peak({"superlink": first.pid}) as peak:
                    number = control.start("")
                    while not out.exists():
                        time.sleep(0.5)
                        state = control.run(number)
                        if state is not None and state.status == "finished" and not out.exists():
                            raise SystemExit(f"plain Flower failed: {state.details}")
            finally:
                bundle.content = original
    return {"round_s": float(out.read_text()), "superlink_mb": peak.peaks["superlink"]}


def soak(rounds: int, folder: Path) -> None:
    """Memory of every process over many small rounds."""
    raw = STUDY | {"federation": {"rounds": rounds, "minimum_cohort": 2}, "name": "soak"}
    chosen, data = _with_data(resolve(raw, "benchmark"))
    with playing.rehearsal(chosen, data, folder, wired=False).up() as federation:
        run = federation.begin(chosen, canary=False)
        path = federation.home.runs / run / "events.jsonl"
        lines: dict[str, list[float]] = {}
        measured = 0
        while measured < rounds:
            time.sleep(1.0)
            done = path.read_text().count('"event": "round"') if path.exists() else 0
            if done >= measured + max(1, rounds // 10):
                measured = done
                for name, pid in _all(federation, run).items():
                    memory = psutil.Process(pid).memory_full_info().uss / MEGABYTE
                    lines.setdefault(name, []).append(memory)
                print(f"  round {done}", file=sys.stderr)
            if done >= rounds:
                break
        for name, values in lines.items():
            figures = " ".join(f"{value:.0f}" for value in values)
            grown = values[-1] - values[len(values) // 3]
            print(f"{name:<12} {figures} MB; from a third of the way to the end {grown:+.1f} MB")


def _all(federation: Rehearsal, run: str) -> dict[str, int]:
    found = {role: federation.pid(role, run=run) for role in ("server", "superlink", "executor", "serverapp")}  # type: ignore[arg-type]
    found |= {f"a {role}": federation.pid(role, "a") for role in ("site", "node", "runner", "worker")}  # type: ignore[arg-type]
    return {name: pid for name, pid in found.items() if pid}


def _with_data(study: StudyConfig) -> tuple[StudyConfig, Path]:
    _, data = playing.prepared(None, None)
    return study, data


def _events(federation: Rehearsal, run: str) -> list[dict[str, object]]:
    text = (federation.home.runs / run / "events.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def _plain_bundle(size: int, out: Path) -> bytes:
    pyproject = f"""
[project]
name = "plain"
version = "1.0.0"
description = "plain Flower"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "bench"
[tool.flwr.app.components]
serverapp = "plain.server:app"
clientapp = "plain.client:app"
[tool.flwr.app.config]
run = ""
bytes = {size}
rounds = {ROUNDS}
out = "{out}"
"""
    files = {"pyproject.toml": pyproject, "plain/__init__.py": "", "plain/server.py": SERVER, "plain/client.py": CLIENT}
    return build_fab_from_files({name: text.encode() for name, text in files.items()})[0]


@contextmanager
def _processes(
    commands: list[list[str]], folder: Path, environment: dict[str, str]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    started = []
    try:
        for number, command in enumerate(commands):
            log = open(folder / f"{Path(command[0]).name}-{number}.log", "ab")  # noqa: SIM115
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True))
        yield started
    finally:
        for process in started:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def _answering(control: Control) -> Control:
    for _ in range(120):
        try:
            control.nodes()
            return control
        except httpx.HTTPError:
            time.sleep(0.5)
    raise SystemExit("the SuperLink does not answer")


def main() -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--soak", type=int, default=0, metavar="ROUNDS")
    arguments = parser.parse_args()
    print(machine())
    if arguments.soak:
        with tempfile.TemporaryDirectory() as folder:
            soak(arguments.soak, Path(folder) / "soak")
        return
    for megabytes in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            mine = ours(megabytes, Path(folder) / "ours")
            other = plain(megabytes, mine["model_mb"], _made(Path(folder) / "plain"))
        print(
            f"{mine['model_mb']:.1f} MB: {mine['round_s']:.1f} s a round beyond training, plain Flower "
            f"{other['round_s']:.1f} s; SuperLink's peak {mine['superlink_mb']:.0f} MB, plain Flower "
            f"{other['superlink_mb']:.0f} MB",
            flush=True,
        )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
