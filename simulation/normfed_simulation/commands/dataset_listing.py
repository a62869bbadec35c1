"""`normfed datasets`: which public datasets are read as they come, their layouts, and what a folder holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from normfed_common.wording.commands import as_typed
from normfed_common.wording.machine import JsonOption, parameters_of, say
from normfed_common.wording.terminal_text import plain

if TYPE_CHECKING:  # the list of commands must load nothing that computes
    from normfed_client.imaging.participants import Participant
    from normfed_simulation.datasets.contents import Contents
    from normfed_simulation.datasets.downloaded import Downloaded

SHOWN = 20  # problems that are told


def _lower(name: str | None) -> str | None:
    return None if name is None else name.lower()


def datasets(
    name: Annotated[str | None, typer.Argument(help="Tell more of this dataset; IXI is ixi.", callback=_lower)] = None,
    data: Annotated[Path | None, typer.Option(help="Check the folder of a dataset as it came.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the datasets: public ones that are read as they come, what they should look like, where to get them."""
    from normfed_simulation.datasets.catalogue import DATASETS, downloaded

    console = Console(highlight=False)
    if as_json:
        _say(name, data)
    elif data is not None:
        _check(console, name, data)
    elif name is None:
        _list(console, downloaded(), [each for each in DATASETS if each not in downloaded()])
    elif name in downloaded():
        _tell(console, name, downloaded()[name])
    else:
        from normfed_common.wording.parameters import parameters, show, show_title, summary

        made = DATASETS[name]
        show_title(console, name, summary(made), "Made on this machine.")
        show(console, parameters(made.Config))


def _say(name: str | None, data: Path | None) -> None:
    from normfed_common.wording.parameters import summary
    from normfed_simulation.datasets.catalogue import DATASETS, downloaded

    if data is not None:
        called, dataset = _opened(name, data)
        contents = dataset.contents
        people = [{"name": subject, **asdict(person)} for subject, person in contents.people.items()]
        problems = [asdict(problem) for problem in contents.problems]
        say("people", people, dataset=called, problems=problems, remarks=list(contents.remarks()))
        return
    found = []
    for each in DATASETS if name is None else (name,):
        kind = DATASETS[each]
        facts = ("title", "modalities", "layout", "licence", "access")
        public = downloaded().get(each)
        said = {fact: getattr(public, fact) for fact in facts} if public else {"title": summary(kind)}
        if public:
            said["citation"] = public.citation()
        found.append({"name": each, "made": public is None, **said, "parameters": parameters_of(kind.Config)})
    say("datasets", found)


def _list(console: Console, public: dict[str, type[Downloaded]], made: list[str]) -> None:
    from normfed_common.wording.parameters import show

    console.print(as_typed("[bold]Read as they come: normfed simulate STUDY --data DIR[/]"))
    width = max(map(len, [*public, *made]))
    show(console, [(name, f"{kind.title} ({', '.join(kind.modalities)})") for name, kind in public.items()], width)
    console.print(f"\nMade on this machine: {', '.join(made)}.")
    console.print(as_typed("Layout, licence, citation, access: normfed datasets ixi"))
    console.print(as_typed("Check a folder: normfed datasets --data DIR"))


def _tell(console: Console, name: str, kind: type[Downloaded]) -> None:
    from normfed_common.wording.parameters import parameters, show, show_title

    show_title(console, name, kind.title, "")
    layout = "\n".join(line.strip() for line in kind.layout.strip().splitlines())
    facts = [
        ("modalities", ", ".join(kind.modalities)),
        ("layout", layout),
        ("licence", kind.licence),
        ("cite", kind.citation()),
        ("access", kind.access),
    ]
    show(console, [*facts, *parameters(kind.Config)])
    console.print(as_typed(f"\nCheck a folder: normfed datasets {name} --data DIR"))


def _opened(name: str | None, data: Path) -> tuple[str, Downloaded]:
    from normfed_common.foundation.errors import DatasetError
    from normfed_simulation.datasets.recognition import opened, recognised

    if name is not None:
        return name, opened(name, data)
    found = recognised(data)
    if found is None:
        raise DatasetError(f"{data}: a BIDS dataset. Look at it with `normfed inspect {data}`.")
    return found


def _check(console: Console, name: str | None, data: Path) -> None:
    name, dataset = _opened(name, data)
    contents = dataset.contents
    console.print(
        f"[bold]{plain(name)}[/]: {plain(dataset.title)}, {len(contents.people)} people at {plain(str(data))}"
    )
    console.print(_table(contents))
    for remark in contents.remarks():
        console.print(f"[yellow]![/] {plain(remark)}")
    if contents.problems:
        console.print("[italic]Missing, or worth a look[/]")
    else:
        console.print("Complete: nothing is missing.")
    for problem in contents.problems[:SHOWN]:
        console.print(f"  {plain(problem.what)}: {plain(problem.why)}", soft_wrap=True)
    if len(contents.problems) > SHOWN:
        console.print(f"  and {len(contents.problems) - SHOWN} more")


def _table(contents: Contents) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    told = any(person.scanner for person in contents.people.values())
    for column in ("site", "people", *(["scanners"] if told else []), "ages", "sex", "groups", "images", "masks"):
        table.add_column(column, justify="right" if column == "people" else "left", no_wrap=column == "site")
    files: dict[str, Counter[str]] = {}
    masks: dict[str, Counter[str]] = {}
    for place in contents.links:
        stem, _, kind = Path(place).name.partition(".")
        if not stem.startswith("sub-") or kind not in ("nii", "nii.gz"):
            continue
        subject = stem.partition("_")[0]
        of = masks if place.startswith("derivatives") else files
        of.setdefault(subject, Counter())[_short(stem)] += 1
    for site in contents.sites():
        people = [person for person in contents.people.values() if person.site == site]
        ages = [person.age for person in people if person.age is not None]
        table.add_row(
            plain(site),
            str(len(people)),
            *([_counts(Counter(person.scanner or "not told" for person in people))] if told else []),
            f"{min(ages):.0f}–{max(ages):.0f}" if ages else "–",
            _counts(Counter(person.sex or "?" for person in people)),
            _counts(Counter(person.group or "?" for person in people)),
            _total(people, files),
            _total(people, masks),
        )
    return table


def _short(stem: str) -> str:
    """What a file is: the end of its name, with the entity before where that says which."""
    *before, suffix = stem.split("_")
    which = before[-1].partition("-")[2] if before and before[-1].startswith(("ce-", "label-", "desc-")) else ""
    return which if suffix in ("mask", "dseg") and which else f"{which} {suffix}".strip()


def _total(people: list[Participant], counted: dict[str, Counter[str]]) -> str:
    return _counts(sum((counted.get(person.subject, Counter()) for person in people), Counter()))


def _counts(counter: Counter[str]) -> str:
    return "\n".join(f"{plain(name)} {number}" for name, number in sorted(counter.items())) or "–"
