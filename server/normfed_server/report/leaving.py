"""What left the hospitals in a run: kinds of messages, how many, how large, and whether the guarantee covers them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from normfed_server.events.kinds import Evaluated, Event, Planned, StageDone, parse
from normfed_server.events.rounds import RoundFigures
from normfed_server.results.guarantees import PrivacyFigures
from normfed_server.results.layout import RunResults

COVERED = "yes"
BY_THE_SERVER = "only from whoever sees the models, not from the server"
NOT = "no"


@dataclass(frozen=True)
class Sent:
    """One kind of message.

    Parameters
    ----------
    number
        How many there were, in words.
    megabytes
        None where nobody kept account.
    """

    what: str
    content: str
    number: str
    megabytes: float | None
    covered: str


def sent(folder: Path, results: RunResults) -> list[Sent]:
    """What was received of all hospitals together, from the run's figures and events."""
    events = [*_events(folder / "events.jsonl")]
    sites = [site for event in events if isinstance(event, Planned) for site in event.sites]
    stages = {(event.arm, event.stage) for event in events if isinstance(event, StageDone)}
    tested = {(event.arm, site) for event in events if isinstance(event, Evaluated) for site in event.sites}
    rounds = [entry for history in (results.rounds, *results.rounds_of.values()) for entry in history]
    found = [
        Sent(
            "Who takes part",
            "numbers of people to train, to hold out and to test; kinds of lesion; versions and size of the machine",
            f"1 per hospital{f' ({len(set(sites))})' if sites else ''}",
            None,
            NOT,
        )
    ]
    if stages:
        models = len({arm for arm, _ in stages})
        found.append(
            Sent(
                "Sums over people",
                "sums of intensities, counts of voxels and the like, over all people learnt from",
                f"{_times(len(stages), 'stage')} of {_times(models, 'model')}",
                None,
                _covered(results.privacy, sums=True),
            )
        )
    if rounds:
        found.append(
            Sent(
                "Rounds of training",
                "the weights of a network as a hospital trained it on",
                f"{_answers(rounds):,}",
                sum(entry.megabytes.back for entry in rounds),
                _covered(results.privacy, sums=False),
            )
        )
    found.append(
        Sent(
            "How well lesions are found",
            "means, counts of voxels by score, shares of lesions; over people tested or held out",
            f"up to 3 for each model and hospital{f' ({len(tested):,} such pairs)' if tested else ''}",
            None,
            NOT,
        )
    )
    return found


def _answers(rounds: Iterable[RoundFigures]) -> int:
    return sum(outcome == "took part" for entry in rounds for outcome in entry.outcomes.values())


def _covered(privacy: PrivacyFigures | None, sums: bool) -> str:
    if privacy is None:
        return NOT
    if privacy.people is not None:
        # Of sums a patient's part is bounded as a whole, whatever is protected in training.
        return COVERED if privacy.people.unit == "patient" or sums else "of single samples only"
    return BY_THE_SERVER if privacy.sites is not None and not sums else NOT


def _times(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _events(path: Path) -> Sequence[Event]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [event for line in lines if (event := parse(line)) is not None]
