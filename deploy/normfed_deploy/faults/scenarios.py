"""The rows of the matrix: each fault, whom it meets, when, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from normfed_deploy.faults.disturbance import Disturbance
from normfed_deploy.faults.exchanges import IN_A_SUM, everything_in_exchanges, kill_in_exchanges
from normfed_deploy.faults.processes import everything, kill, lie, pause
from normfed_deploy.faults.surroundings import clock, expired, faketime, flipped, full_disk, link, server_down
from normfed_deploy.rehearsal import Role
from normfed_deploy.wire import Condition

SAME = "finishes; the same weights; no round trained twice"
ROLES: tuple[Role, ...] = ("worker", "serverapp", "executor", "superlink", "server", "runner", "node", "site")


@dataclass(frozen=True)
class Scenario:
    """One row of the matrix.

    Parameters
    ----------
    disturb
        Given the rehearsal, the run and a generator, does its worst; returns how often.
    rounds
        Of the study, enough to last while it is disturbed.
    repeats
        Whether rounds may be trained twice: the fault destroys work.
    ready
        Raises RunError if this machine lacks what the fault is made with.
    from_start
        Whether the fault begins with the run, not after its first round.
    """

    name: str
    role: str
    phase: str
    what: str
    expected: str
    disturb: Disturbance
    rounds: int = 6
    repeats: bool = False
    ready: Callable[[], object] = bool
    from_start: bool = False


UNDISTURBED = Scenario("undisturbed", "nobody", "–", "nothing", SAME, lambda *_: 0)


def scenarios(times: int, secure: bool = False) -> list[Scenario]:
    """The matrix.

    Parameters
    ----------
    times
        How often a process is killed.
    secure
        Whether sums are masked: processes are killed in every exchange of a sum, and nobody lies, since whose part
        spoilt a masked sum nobody can say.
    """
    kills = _in_exchanges(times) if secure else _in_training(times)
    lies = [] if secure else _lies()
    return [*kills, *_surroundings(), *lies]


def _in_exchanges(times: int) -> list[Scenario]:
    """Kills in the five exchanges of the first sums and of every round, as many rounds as ``times`` is for. Fewer are
    further apart: with 5 each exchange is met once, in the sums or in the round."""
    rounds = max(1, times // IN_A_SUM - 1)
    apart = min(IN_A_SUM - 1, max(1, IN_A_SUM * (rounds + 1) // times))
    where, how = "secure sum", "SIGKILL in " + ("every exchange" if apart == 1 else f"one of {apart} exchanges")
    return [
        *(
            Scenario(
                f"exchange {role}", role, where, how, SAME, kill_in_exchanges("b", apart, role), rounds, from_start=True
            )
            for role in ROLES
        ),
        Scenario(
            "exchange everything",
            "server and sites",
            where,
            "SIGKILL to every process at the same moment, in one of 3 exchanges, then all started again",
            SAME,
            everything_in_exchanges("b", 3),
            rounds,
            from_start=True,
        ),
    ]


def _in_training(times: int) -> list[Scenario]:
    kills = [
        Scenario(
            f"kill {role}",
            role,
            "training",
            f"SIGKILL at {times} random moments",
            SAME,
            kill(role, times, "b"),
            3 * times,
        )
        for role in ROLES
    ]
    return [
        *kills,
        Scenario(
            "everything killed",
            "server and sites",
            "training",
            "SIGKILL to every process at the same moment, 3 times, then all started again",
            SAME,
            everything(3),
            12,
        ),
    ]


def _surroundings() -> list[Scenario]:
    return [
        Scenario(
            "pause superlink", "superlink", "training", "SIGSTOP for 45 s, 3 times", SAME, pause("superlink", 45, 3), 12
        ),
        Scenario("pause serverapp", "serverapp", "training", "SIGSTOP for 90 s", SAME, pause("serverapp", 90), 12),
        Scenario("server down", "server", "training", "its machine is off for 3 minutes", SAME, server_down(180), 10),
        Scenario("cut 60 s", "link of b", "training", "cut for 60 s", SAME, link(Condition.CUT, 60, "b"), 10),
        Scenario("cut 300 s", "link of b", "training", "cut for 5 minutes", SAME, link(Condition.CUT, 300, "b"), 10),
        Scenario("stall 90 s", "link of b", "training", "stalled for 90 s", SAME, link(Condition.STALLED, 90, "b"), 10),
        Scenario("slow", "link of b", "training", "20 kB/s for 2 minutes", SAME, link(Condition.SLOW, 120, "b"), 10),
        Scenario("expired", "server", "certificate", "expired for 45 s, then renewed", SAME, expired(45), 10),
        Scenario(
            "clock ahead", "b", "connecting", "clock 1 h ahead for 60 s", SAME, clock("+1h", 60), 10, ready=faketime
        ),
        Scenario(
            "clock behind", "b", "connecting", "clock 1 h behind for 60 s", SAME, clock("-1h", 60), 10, ready=faketime
        ),
        Scenario(
            "disk full at server",
            "server",
            "checkpoint",
            "disk of the run's models full for 30 s, then resumed",
            "stops with a sentence; resumed, the same weights",
            full_disk("server", 30),
            10,
        ),
        Scenario(
            "disk full at site",
            "b",
            "outbox",
            "disk of b's outbox full for 30 s",
            "finished, partial: b failed with OUT_OF_SPACE; no file half-written",
            full_disk("b", 30),
            10,
        ),
        Scenario(
            "flipped bits",
            "server and b",
            "between rounds",
            "bits flip in the models on the server, in b's outbox, checkpoints and cache",
            "finishes; the same weights, what was damaged trained again",
            flipped(3),
            15,
            repeats=True,
        ),
    ]


def _lies() -> list[Scenario]:
    return [
        Scenario(
            f"lie {kind}", "b", "answer", what, "finished, partial: b's answers are set aside, and said", lie(kind), 6
        )
        for kind, what in (
            ("nan", "answers not-a-number"),
            ("shapes", "answers other shapes"),
            ("large", "answers ten times the bytes"),
            ("names", "answers other names"),
        )
    ]
