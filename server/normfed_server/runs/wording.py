"""Events of a run in words, for the terminal and the monitor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from normfed_common.algorithms.arms import FEDERATED
from normfed_server.events import kinds
from normfed_server.events.kinds import Event, RoundDone

Mark = Literal["good", "plain", "look", "bad"]


def worded(event: Event) -> Iterator[tuple[Mark, str]]:
    """An event's lines; none for what nobody needs to read."""
    match event:
        case kinds.Connecting():
            yield "look", f"waiting for {', '.join(event.sites)} to connect"
        case kinds.Planned():
            yield "good", f"{len(event.sites)} sites, {len(event.arms)} models to train"
            for site, reason in event.left_out.items():
                yield "look", f"{site} {reason}"
        case kinds.Fit():
            for finding in event.findings:
                yield ("bad" if finding.fatal else "look"), f"{finding.where} {finding.text}"
            if not event.findings:
                yield "good", f"fit to run: {', '.join(event.sites)}"
        case kinds.CanarySent():
            yield "plain", "canary: one batch per site"
        case kinds.CanaryDone():
            times = ", ".join(f"{site} {tried.seconds:.0f} s" for site, tried in event.sites.items())
            yield "good", f"the canary came back: {times}"
        case RoundDone():
            yield _round(event)
        case kinds.Waiting():
            away = [site for site, online in event.sites.items() if not online]
            here = [site for site, online in event.sites.items() if online]
            parts = [f"{', '.join(here)} at work"] if here else []
            parts += [f"{', '.join(away)} not connected"] if away else []
            yield (
                ("look" if away else "plain"),
                f"{event.arm} round {event.round}, {event.seconds} s: {'; '.join(parts)}",
            )
        case kinds.AskedAgain():
            yield "look", f"{event.site} is asked again: {event.why}"
        case kinds.Missing():
            where = f"round {event.round}" if event.round else "at the end"
            yield "look", f"{event.arm} {where}, {event.site} {event.outcome}: {event.why}"
        case kinds.Joined():
            yield "look", f"{event.arm}: {event.site} joins from round {event.round} on"
        case kinds.Failed() if event.arm != FEDERATED:  # else the run ended, which whoever shows it says itself
            yield "bad", f"{event.arm} could not be trained to the end. {event.why}"
        case kinds.Damaged():
            where = f"{event.arm}: {event.file}"
            yield "look", f"{where} is damaged ({event.why}); kept as {event.kept}, made again"
        case kinds.Noted():
            yield "look", f"{event.arm}, {event.site}: {event.text}"
        case kinds.Evaluated():
            yield "good", f"{event.arm} tested at {len(event.sites)} sites"
        case _:
            return


def _round(event: RoundDone) -> tuple[Mark, str]:
    losses = [loss for loss in event.loss.values() if loss is not None]  # a site may say none
    mean = sum(losses) / len(losses) if losses else float("nan")
    took = sum(outcome == "took part" for outcome in event.outcomes.values())
    everybody = took == len(event.outcomes)
    text = f"{event.arm} round {event.round} of {event.rounds}: loss {mean:.3f}, "
    text += f"{took} of {len(event.outcomes)} sites, {event.seconds:.0f} s"
    return ("good" if everybody else "look"), text
