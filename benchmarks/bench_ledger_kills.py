"""Kill -9 at random moments of processes that spend from one ledger, alone or two at once.

A child does what a hospital's worker does for one answer: it reserves, notes the mark in the run's folder, settles,
signs the counter, and only then the answer leaves, here through a pipe. Some answers are asked for again. The parent
kills at a random moment, often one of two children, and then holds the ledger against all that ever left:

- nothing left that is not on record, and no counter that left is longer than the record;
- the budget is never exceeded, and is spent to the last release that fits in the end;
- the chain holds, and marks of the run's folder too, so that the hospital would start again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from normfed_client.hospital.bookkeeping.budget import refusal, spent
from normfed_client.hospital.bookkeeping.entries import Entry, Release
from normfed_client.hospital.folder import Hospital, HospitalConfig
from normfed_common.privacy.accounting import epsilon
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.wire.counter import Counter

ONE = SampledGaussian(40.0)  # no sampling: epsilon of n of them is known exactly, and 114 fit into a budget of 1
LIMIT = 1.0
LATEST_S = 0.25  # of a kill, after a child begins: some answers
AGAIN = 0.2  # share of requests that came before


@dataclass
class Kills:
    """What was seen, over all ledgers.

    Parameters
    ----------
    pairs
        Times that two processes spent at once.
    in_a_transaction
        Times that a journal was left to roll back.
    unacknowledged
        Entries of which no answer left: spent, and lost.
    """

    kills: int = 0
    pairs: int = 0
    ledgers: int = 0
    answers: int = 0
    entries: int = 0
    in_a_transaction: int = 0
    unacknowledged: int = 0


@dataclass
class Life:
    """One hospital until its budget is spent, and what left it."""

    hospital: Hospital
    left: set[str] = field(default_factory=set)
    counters: list[Counter] = field(default_factory=list)
    refused: bool = False


def begin(folder: Path) -> Life:
    """A hospital with a key, a run and an empty ledger."""
    config = HospitalConfig(
        site="north", server="127.0.0.1:1", data=folder, epsilon_per_year=LIMIT, epsilon_for_life=LIMIT
    )
    found = Hospital(folder, config)
    key = ec.generate_private_key(ec.SECP384R1())
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    (folder / "state" / "run").mkdir(parents=True)
    found.key.write_bytes(key.private_bytes(*formats))
    return Life(found)


def spend(hospital: Hospital, name: str, known: Sequence[str], seed: int, write: int) -> None:
    """Answer one request after another, until killed or refused; every line is an answer that leaves."""
    rng, refuse = random.Random(seed), partial(refusal, hospital.config)
    for number in range(10_000):
        key = rng.choice(known) if known and rng.random() < AGAIN else f"{name} {number}"
        release = Release(key, "noise", (ONE,), "run", "federated", f"train.round {number}")
        ledger = hospital.ledger()
        if ledger.reserve(release, refuse):
            os.write(write, b"refused\n")
            return
        hospital.mark_ledger("run")
        ledger.settle(key, "made")
        counter = hospital.ledger_counter()
        assert counter is not None
        os.write(
            write, f"{key}\t{counter.model_dump_json()}\n".encode()
        )  # at most PIPE_BUF bytes: whole, or not at all


def child(work: Callable[[int], None]) -> tuple[int, int]:
    """A process of its own: its number, and where to read what it says."""
    read, write = os.pipe()
    number = os.fork()
    if number == 0:
        os.close(read)
        try:
            work(write)
        finally:
            os._exit(0)
    os.close(write)
    return number, read


def one_kill(life: Life, rng: random.Random, seen: Kills) -> None:
    """Let one or two children spend, kill one or both, and look at what is left."""
    known = sorted(life.left)
    count = rng.choice((1, 2))
    names = [f"{rng.randrange(2**32):08x}" for _ in range(count)]
    children = [child(partial(spend, life.hospital, name, known, rng.randrange(2**32))) for name in names]
    for number, _ in children:
        time.sleep(rng.uniform(0, LATEST_S))
        os.kill(number, signal.SIGKILL)
        _, status = os.waitpid(number, 0)
        seen.kills += os.WIFSIGNALED(status)  # not who was refused, and ended by itself
    seen.in_a_transaction += life.hospital.ledger_file.with_name("ledger.sqlite-journal").exists()
    seen.pairs += count == 2
    for _, read in children:
        with os.fdopen(read) as file:
            for line in file.read().splitlines():
                key, _, counter = line.partition("\t")
                life.refused |= key == "refused"
                if counter:
                    life.left.add(key)
                    life.counters.append(Counter.model_validate_json(counter))
                    seen.answers += 1
    check(life)


def check(life: Life) -> list[Entry]:
    """Hold the ledger against what left; returns its entries."""
    ledger = life.hospital.ledger()  # holds it against the marks
    entries = ledger.entries()  # follows the chain
    recorded = [entry.release.key for entry in entries]
    assert len(recorded) == len(set(recorded)), "a release is entered twice"
    assert life.left <= set(recorded), "something left that is not on record"
    assert life.left <= {entry.release.key for entry in entries if entry.settled}, "an answer left unsettled"
    assert spent(entries, life.hospital.config.budget_delta) <= LIMIT, "the budget is exceeded"
    for counter in life.counters[-2:]:  # earlier ones are of the same chain
        ledger.check(counter, life.hospital.signer())
    if life.counters:
        assert max(counter.entries for counter in life.counters) <= len(entries), "a counter is longer than the record"
    if life.refused:
        more = epsilon([ONE] * (len(entries) + 1), life.hospital.config.budget_delta)
        assert more > LIMIT, "refused, and there was budget left"
    with sqlite3.connect(life.hospital.ledger_file) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    return entries


def kill(times: int, seed: int, folder: Path) -> Kills:
    """Kill so often, on as many ledgers as are used up; whatever does not hold is an AssertionError."""
    rng, seen = random.Random(seed), Kills()
    epsilon([ONE], 1e-5)  # imports what the children need
    while seen.kills < times:
        own = folder / str(seen.ledgers)
        own.mkdir()
        life = begin(own)
        while seen.kills < times and not life.refused:
            one_kill(life, rng, seen)
        entries = check(life)
        seen.ledgers += 1
        seen.entries += len(entries)
        seen.unacknowledged += len({entry.release.key for entry in entries} - life.left)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        seen = kill(arguments.kills, arguments.seed, Path(folder))
    print(
        f"{seen.kills} kills in {time.monotonic() - start:.0f} s, {seen.pairs} times two processes at once, "
        f"{seen.in_a_transaction} times in the middle of a transaction, over {seen.ledgers} ledgers with "
        f"{seen.entries} entries; {seen.answers} answers left. {seen.unacknowledged} entries were spent and no answer "
        "left; nothing left that was not on record, no budget was exceeded, every chain holds."
    )


if __name__ == "__main__":
    main()
