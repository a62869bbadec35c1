"""A server's machine dies in the middle of a run: how long until another goes on, and is anything lost?

A real federation on this machine (`normfed rehearse`): a run is under way, a backup is taken, more rounds are run, the
server is killed with everything that it started, its folder is taken away, the backup is restored to another folder,
and the server started there under the same address. The run must end with the weights of the simulation.

    python benchmarks/bench_restore.py [--rounds 12] [--private] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil

from normfed_deploy import playing
from normfed_deploy.faults import outcomes
from normfed_deploy.faults.disturbance import rounds_of, until
from normfed_deploy.rehearsal import COMMAND
from normfed_server.operation import backup, restoring
from normfed_server.state.folder import open_home
from normfed_server.state.ledger import State

say = partial(print, flush=True)
PASSPHRASE = b"a rehearsal, not a secret"
WITHIN_S = 3600.0


def killed(pid: int) -> None:
    """SIGKILL to a process and all that descend from it: the power is gone."""
    head = psutil.Process(pid)
    family = [head, *head.children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=30)


def main() -> None:
    """Print what happened, and when."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--before", type=int, default=3, help="rounds before the backup")
    parser.add_argument("--lost", type=int, default=3, help="rounds after it that are lost with the server")
    parser.add_argument("--private", action="store_true", help="the study with epsilon and secure sums")
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    place = given.folder or Path(tempfile.mkdtemp(prefix="normfed-restore-"))
    study, data = playing.prepared(None, None, given.private)
    length = study.federation.model_copy(update={"rounds": given.rounds})
    study = study.model_copy(update={"federation": length})
    federation = playing.rehearsal(study, data, place, wired=False)
    with federation.up():
        run = federation.begin(study, canary=False)
        until(lambda: rounds_of(federation, run) >= given.before, WITHIN_S)
        began = time.monotonic()
        made = backup.write(federation.home, place / "backup", PASSPHRASE)
        backed_up = rounds_of(federation, run)
        size = (place / "backup").stat().st_size / 1e6
        say(f"backup in round {backed_up}: {len(made.files)} files, {size:.1f} MB, {time.monotonic() - began:.1f} s")
        until(lambda: rounds_of(federation, run) >= given.before + given.lost, WITHIN_S)
        lost = rounds_of(federation, run)
        pid = federation.pid("server")
        assert pid is not None
        killed(pid)
        federation.stop("server")
        died = time.monotonic()
        os.rename(place / "server", place / "server-that-died")
        say(f"killed after round {lost}, its folder taken away")
        restoring.restore(place / "backup", place / "another", lambda: PASSPHRASE)
        say(f"restored {time.monotonic() - died:.1f} s after the death")
        federation.home = open_home(place / "another")
        known = rounds_of(federation, run)
        federation.start("server", command=[*COMMAND, "server", "start", "--home", str(place / "another")])
        until(lambda: rounds_of(federation, run) > known, WITHIN_S)
        say(f"first round finished after it {time.monotonic() - died:.1f} s after the death, from round {known}")
        entry = federation.wait(run, WITHIN_S)
        say(f"{run}: {entry.state}. {entry.why} {time.monotonic() - died:.1f} s after the death")
        trained = {site: [int(n) for n in rounds] for site, rounds in outcomes.worked(federation, run).items()}
        for site, rounds in trained.items():
            say(f"  {site} trained {len(rounds)} times, {len(rounds) - len(set(rounds))} of them again")
        for site, entries in federation.spent().items():
            if entries:
                say(f"  {site}'s ledger: {len(entries)} entries, {sum(not e.settled for e in entries)} not settled")
        if entry.state is not State.FINISHED:
            raise SystemExit(1)
    reference = playing.simulated(study, data, place / "simulated", federation)
    model = federation.home.runs / run / "model.safetensors"
    same = outcomes.same_weights(model, reference)
    say("the weights are those of the simulation, bit for bit" if same else "THE WEIGHTS DIFFER")
    raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
