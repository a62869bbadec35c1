"""A rolling upgrade with real wheels: three hospitals and a server go to the next minor version during a run.

Three wheels are built of this tree and installed into environments of their own: 0.1.0; 0.2.0, to which a study's key,
a field of a request and a field of an answer are added, as a minor release may; 0.3.0. Then, on one federation with
TLS and keys:

1. a server of 0.1.0 with sites of 0.1.0, 0.1.0 and 0.2.0 begins a run; during it the server goes to 0.2.0, then one
   site goes up to 0.2.0, and one back to 0.1.0. The weights are compared with those of an undisturbed simulation.
2. a server of 0.3.0 begins a run with a site of 0.1.0, which is refused; what both ends say is printed.

    python benchmarks/bench_upgrade.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine

from normfed_deploy import playing
from normfed_deploy.faults import outcomes
from normfed_deploy.faults.disturbance import happened, until
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.events.kinds import AskedAgain, RoundDone

ROUNDS, WITHIN_S = 12, 1800.0
ROOT = Path(__file__).parents[1]
VERSION = 'version = "0.1.0"'
LEFT_OUT = "exclude_if=lambda chosen: not chosen)"
ADDED = {  # file to a line of it, and what a newer version has behind it
    "common/normfed_common/study/config.py": (
        '    description: str = ""\n',
        f'    audience: str = Field("", {LEFT_OUT}\n',
    ),
    "common/normfed_common/wire/requests.py": (
        "    ledger: Counter | None = None\n",
        f'    reason: str = Field("", max_length=100, {LEFT_OUT}\n',
    ),
    "common/normfed_common/wire/answers.py": (
        "    cluster: int = Field(0, ge=0, le=10_000)\n",
        f"    peak_memory_gb: float = Field(0.0, ge=0, {LEFT_OUT}\n",
    ),
}


def environment(folder: Path, version: str) -> str:
    """An interpreter with a wheel of this tree as that version; everything else it shares with this one's."""
    tree, wheels, home = folder / f"tree-{version}", folder / f"wheel-{version}", folder / f"environment-{version}"
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith(("tests/", "benchmarks/")) and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    _change(tree / "pyproject.toml", VERSION, f'version = "{version}"')
    if version != "0.1.0":
        for name, (line, more) in ADDED.items():
            _change(tree / name, line, line + more)
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, tree]
    subprocess.run([sys.executable, *build], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    installed = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    shared = [path for path in sys.path if path.endswith("site-packages") and path != str(installed)]
    (installed / "shared.pth").write_text("\n".join(shared) + "\n")
    wheel = next(wheels.glob("normfed-*.whl"))
    shutil.unpack_archive(wheel, installed, "zip")
    says = subprocess.run(
        [python, "-m", "normfed_common.cli", "--version"], check=True, capture_output=True, text=True, cwd=folder
    )
    print(f"{wheel.name}: {says.stdout.strip()}", flush=True)
    return str(python)


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if text.count(old) < 1:
        raise SystemExit(f"{path}: has no line {old!r}; correct ADDED of this script.")
    path.write_text(text.replace(old, new, 1))


def changed(federation: Rehearsal, what: str, python: str) -> float:
    """Stop a server or site, and start it with another version; returns the seconds until it is connected again."""
    begin = time.monotonic()
    federation.stop(what)
    federation.pythons[what] = python
    federation.start(what)
    if what != "server":
        time.sleep(2)  # until the server has noticed that it went
    federation.wait_for_sites(federation.sites, 600)
    return time.monotonic() - begin


def rolling(federation: Rehearsal, old: str, new: str, folder: Path) -> None:
    """The upgrade in the middle of a run."""
    study, data = playing.prepared(None, None)
    rounds = study.federation.model_copy(update={"rounds": ROUNDS})
    study = study.model_copy(update={"federation": rounds})
    a, b, c = federation.sites
    federation.pythons = {"server": old, a: old, b: old, c: new}
    with federation.up():
        run, begin = federation.begin(study), time.monotonic()
        events = federation.home.runs / run / "events.jsonl"
        steps = [
            (2, "server", new, "0.1.0 to 0.2.0"),
            (5, a, new, "0.1.0 to 0.2.0"),
            (8, c, old, "0.2.0 back to 0.1.0"),
        ]
        for after, what, python, words in steps:
            until(lambda after=after: happened(events, RoundDone) >= after, WITHIN_S)
            done = happened(events, RoundDone)
            print(f"  after round {done}: {what} {words}, {changed(federation, what, python):.0f} s", flush=True)
        entry = federation.wait(run, WITHIN_S)
        seconds = time.monotonic() - begin
        print(f"  {run}: {entry.state} {entry.why} in {seconds:.0f} s", flush=True)
        worked = outcomes.worked(federation, run)
        twice = {site: len(done) - len(set(done)) for site, done in worked.items()}
        print(f"  rounds trained per site { ({s: len(set(d)) for s, d in worked.items()}) }, twice {twice}")
        print(f"  asked again {happened(events, AskedAgain)} times")
        print(
            subprocess.run(
                [new, "-m", "normfed_common.cli", "server", "fleet", "--home", federation.home.folder],
                capture_output=True,
                text=True,
                cwd=folder,
            ).stdout
        )
        before = playing.simulated(study, data, folder / "simulated", federation)
        same = outcomes.same_weights(federation.home.runs / run / "model.safetensors", before)
        print(f"  weights of the undisturbed simulation, bit for bit: {same}", flush=True)


def apart(federation: Rehearsal, old: str, newest: str) -> None:
    """Two minor versions are too many."""
    study, _ = playing.prepared(None, None)
    federation.pythons = {"server": newest, **dict.fromkeys(federation.sites, newest), federation.sites[0]: old}
    with federation.up():
        run = federation.begin(study)
        entry = federation.wait(run, WITHIN_S)
        print(f"  the operator reads: {entry.state}. {entry.why}")
        log = (federation.folder / federation.sites[0] / "log" / "site.log").read_text().splitlines()
        print(f"  the hospital reads: {next(line for line in reversed(log) if 'VERSION' in line or 'normfed' in line)}")


def main() -> None:
    """Print figures."""
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.monotonic()
        pythons = {version: environment(folder, version) for version in ("0.1.0", "0.2.0", "0.3.0")}
        print(f"three wheels built and installed in {time.monotonic() - begin:.0f} s")
        study, data = playing.prepared(None, None)
        federation = playing.rehearsal(study, data, folder / "federation", wired=False)
        print("0.1.0 and 0.2.0 in one federation:")
        rolling(federation, pythons["0.1.0"], pythons["0.2.0"], folder)
        print("0.1.0 and 0.3.0:")
        apart(federation, pythons["0.1.0"], pythons["0.3.0"])


if __name__ == "__main__":
    main()
