"""Events of a run in words, for the terminal and the monitor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

Mark = Literal["good", "plain", "look", "bad"]


def worded(event: dict[str, Any]) -> Iterator[tuple[Mark, str]]:
    """An event's lines; none for what nobody needs to read."""
    kind = event["event"]
    if kind == "connecting":
        yield "look", f"waiting for {', '.join(event['sites'])} to connect"
    elif kind == "plan":
        yield "good", f"{len(event['sites'])} sites, {len(event['arms'])} models to train"
        for site, reason in event["left_out"].items():
            yield "look", f"{site} {reason}"
    elif kind == "fit":
        for finding in event["findings"]:
            yield ("bad" if finding["fatal"] else "look"), f"{finding['where']} {finding['text']}"
        if not event["findings"]:
            yield "good", f"fit to run: {', '.join(event['sites'])}"
    elif kind == "canary":
        yield "plain", "canary: one batch a site"
    elif kind == "canary back":
        times = ", ".join(f"{site} {tried['seconds']:.0f} s" for site, tried in event["sites"].items())
        yield "good", f"the canary came back: {times}"
    elif kind == "round":
        yield from _round(event)
    elif kind == "waiting":
        away = [site for site, online in event["sites"].items() if not online]
        here = [site for site, online in event["sites"].items() if online]
        parts = [f"{', '.join(here)} at work"] if here else []
        parts += [f"{', '.join(away)} not connected"] if away else []
        yield (
            ("look" if away else "plain"),
            (f"{event['arm']} round {event['round']}, {event['seconds']} s: {'; '.join(parts)}"),
        )
    elif kind == "asked again":
        yield "look", f"{event['site']} is asked again: {event['why']}"
    elif kind == "missing":
        where = f"round {event['round']}" if event["round"] else "at the end"
        yield "look", f"{event['arm']} {where}, {event['site']} {event['outcome']}: {event['why']}"
    elif kind == "joined":
        yield "look", f"{event['site']} joins from round {event['round']} on"
    elif kind == "failed":
        yield "bad", f"{event['arm']} could not be trained to the end. {event['why']}"
    elif kind == "damaged":
        where = f"{event['arm']}: {event['file']}"
        yield "look", f"{where} is damaged ({event['why']}); kept as {event['kept']}, made again"
    elif kind == "note":
        yield "look", f"{event['arm']}, {event['site']}: {event['text']}"
    elif kind == "evaluated":
        yield "good", f"{event['arm']} tested at {len(event['sites'])} sites"


def _round(event: dict[str, Any]) -> Iterator[tuple[Mark, str]]:
    losses = [loss for loss in event["loss"].values() if loss is not None]  # a site may say none
    mean = sum(losses) / len(losses) if losses else float("nan")
    took = sum(outcome == "took part" for outcome in event["outcomes"].values())
    everybody = took == len(event["outcomes"])
    text = f"{event['arm']} round {event['round']} of {event['rounds']}: loss {mean:.3f}, "
    text += f"{took} of {len(event['outcomes'])} sites, {event['seconds']:.0f} s"
    yield ("good" if everybody else "look"), text
