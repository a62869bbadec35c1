"""An officer's path, with pictures: a study waits, is read and approved on the page, runs; the audit is proved.

A server and three hospitals, all real, on this machine; at the first a person has to approve. Pictures of everything
that this person sees go to a folder; what is not as it should be ends the script with code 1. Takes some minutes.

    apt install chromium chromium-driver
    python deploy/checks/officer.py PICTURES
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pictures import Browser, Terminal, browser

from normfed_client.consent.approvals import Approvals
from normfed_client.hospital.folder import open_hospital
from normfed_client.operation import looking
from normfed_common.chain.records import canonical
from normfed_common.foundation import plain_yaml
from normfed_common.study.config import StudyConfig
from normfed_deploy import playing
from normfed_deploy.rehearsal import RUN, Rehearsal
from normfed_deploy.tiny import STUDY
from normfed_server.state.ledger import State

HERE, OFFICER, PEOPLE = "north", "Dr. Jane Doe", 28
SCANNERS = {"north": ("siemens", 3.0), "south": ("ge", 1.5), "west": ("philips", 3.0)}
EPSILON, OF_A_YEAR = 4, 10
ASKED = STUDY | {
    "name": "healthy-brains",
    "description": "Three hospitals learn together what healthy brains look like in T1 and FLAIR, so that a lesion "
    "stands out. People and scans are made up: a rehearsal.",
    "data": {
        "modalities": ["T1w", "FLAIR"],
        "phantom": {
            "voxel_size_mm": 4,
            "sites": [
                {"name": name, "vendor": vendor, "field_tesla": field, "controls": PEOPLE, "patients": {"tumour": 10}}
                for name, (vendor, field) in SCANNERS.items()
            ],
        },
    },
    "federation": {"rounds": 3, "minimum_cohort": 10},
    "privacy": {"epsilon": EPSILON},
}
NORMFED = (sys.executable, *RUN)
PATH = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
KEYS = ("--site-key", "north.pub", "--server-key", "audit.pub")
WITHIN_S, A4, PART = 900.0, 794, 1100  # seconds; pixels of a sheet's width, and of a picture's height
Lines = list[bytes]


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long it took."""
    begin = time.perf_counter()
    yield
    print(f"{what:<58}{time.perf_counter() - begin:8.1f} s", flush=True)


def must(sentence: str, true: bool, seen: str = "") -> None:
    """End the script where something is not as a person must find it."""
    if not true:
        raise SystemExit(f"Not so: {sentence}\n{seen}")


def until(what: str, true: Callable[[], bool]) -> None:
    """Wait."""
    deadline = time.monotonic() + WITHIN_S
    while not true():
        must(f"{what} within {WITHIN_S:.0f} s", time.monotonic() < deadline)
        time.sleep(0.5)


@contextmanager
def page_of(home: Path) -> Iterator[str]:
    """`normfed site page` while the context lasts; the address that it prints."""
    command = [*NORMFED, "site", "page", "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout is not None
            yield next(found[0] for line in page.stdout if (found := re.search(r"http://\S+", line)))
        finally:
            page.terminate()


def looked_at(folder: Path) -> None:
    """The cohort, before it is learnt from; whoever is listed is kept, for these heads have no sides to be flipped."""
    look = [*NORMFED, "site", "quality", "--home", str(folder / HERE)]
    subprocess.run([*look, str(folder / "study.yaml")], stdout=subprocess.DEVNULL)
    if waiting := {doubt.subject for doubt in looking.left(open_hospital(folder / HERE))}:
        kept = [word for person in sorted(waiting) for word in ("--keep", person)]
        why = ["--by", "Dr. John Roe", "--why", "Made up: no head of a person."]
        subprocess.run([*look, *kept, *why], check=True, stdout=subprocess.DEVNULL)


def decided(federation: Rehearsal, study: StudyConfig, shown: Browser) -> None:
    """A run is asked for; the officer reads what would leave, and approves it on the page; the run ends."""
    home = federation.folder / HERE
    approvals = Approvals(home)
    with timed("asked for, until it waits for a person"):
        run = federation.begin(study)
        until("the study waits", lambda: len(approvals.asked()) > 0)
    with page_of(home) as address:
        with timed("overview, list, sheet; approved on the page"):
            shown.open(address)
            must("one study waits", "1 study waits for a person here" in shown.text(), shown.text())
            shown.picture("1-waits")
            overview = shown.address()
            shown.click("Read and decide")
            shown.picture("2-list")
            of_study = shown.address()
            shown.click("The sheet")
            shown.picture("3-sheet", width=A4)
            shown.open(of_study)
            must("nothing ran before", federation.home.ledger.get(run).state is State.OPEN)
            shown.type("by", OFFICER)
            shown.type("why", "As the committee decided.")
            shown.click("Approve")
            approved = re.search(rf"This study was approved on .* by {OFFICER}", shown.text())
            must("it was approved", approved is not None, shown.text())
            shown.picture("4-approved", most=PART)
        with timed("from the approval to the end of the run"):
            ended = federation.wait(run, WITHIN_S)
        must("the run finished", ended.state is State.FINISHED, ended.why)
        shown.open(overview)
        must("the budget was spent", "0 left" not in shown.text() and "spent: 0" not in shown.text(), shown.text())
        shown.picture("5-ran")
        shown.click("What was sent")
        must("the audit is whole", "The audit is whole" in shown.text(), shown.text())
        shown.picture("6-sent", most=PART)


def proved(federation: Rehearsal, shown: Browser) -> Path:
    """Hospital and server export their audits; a third party, who has these and two public keys, verifies them."""
    party = federation.folder / "third-party"
    party.mkdir()
    hospital = Terminal(federation.folder / HERE, environment={**os.environ, **PATH, "NORMFED_SITE_HOME": "."})
    hospital.type("normfed", "site", "audit", "--export", "../third-party/north.jsonl")
    export = str(party / "server.jsonl")
    subprocess.run([*NORMFED, "server", "audit", "--home", federation.home.folder, "--export", export], check=True)
    shutil.copy(federation.folder / HERE / f"{HERE}.pub", party)
    shutil.copy(federation.home.folder / "audit.pub", party)
    third = outsider(party)
    third.type("normfed", "audit", "verify", "north.jsonl", "--key", "north.pub")
    third.type("normfed", "audit", "compare", "north.jsonl", "server.jsonl", *KEYS)
    third.picture(shown, "7-verified")
    return party


def tampered(party: Path, shown: Browser) -> None:
    """Each way to change an export is found; that its end is missing, by whoever holds the server's."""
    whole = (party / "north.jsonl").read_bytes().splitlines(keepends=True)
    third = outsider(party)
    for name, change in CHANGES.items():
        (party / f"{name}.jsonl").write_bytes(b"".join(change(whole)))
        said = third.type("normfed", "audit", "verify", f"{name}.jsonl", "--key", "north.pub", code=1)
        must(f"{name}: a record is named", "Record " in said, said)
    (party / "end-cut-off.jsonl").write_bytes(b"".join(whole[:-3]))
    third.type("normfed", "audit", "compare", "end-cut-off.jsonl", "server.jsonl", *KEYS, code=1)
    third.picture(shown, "8-tampered")


def outsider(folder: Path) -> Terminal:
    """A terminal that has nothing of the hospital's, and no network where that can be taken away."""
    alone = ("unshare", "--user", "--net", "--map-root-user")
    able = shutil.which("unshare") is not None and subprocess.run([*alone, "true"], capture_output=True).returncode == 0
    print(f"  the third party has {'no network' if able else 'the network of this machine'}")
    return Terminal(folder, alone if able else (), {"HOME": str(folder), "LANG": "C.UTF-8", **PATH})


def answered(lines: Lines) -> int:
    """Where the first record of something that left stands."""
    return next(at for at, line in enumerate(lines) if json.loads(line)["content"]["kind"] == "answered")


def edited(lines: Lines, anew: bool = False) -> Lines:
    """What left was of more people; ``anew``: with a digest that fits."""
    at = answered(lines)
    record = json.loads(lines[at])
    record["content"]["people"] = "100-199"
    if anew:
        said = {name: value for name, value in record.items() if name not in ("digest", "signature")}
        record["digest"] = hashlib.sha256(canonical(said)).hexdigest()
    return [*lines[:at], canonical(record) + b"\n", *lines[at + 1 :]]


def cut(lines: Lines) -> Lines:
    """An answer is missing."""
    at = answered(lines)
    return [*lines[:at], *lines[at + 1 :]]


def reordered(lines: Lines) -> Lines:
    """An answer stands after what came next."""
    at = answered(lines)
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


CHANGES: dict[str, Callable[[Lines], Lines]] = {
    "edited": edited,
    "edited-anew": lambda lines: edited(lines, anew=True),
    "cut": cut,
    "reordered": reordered,
}


def main() -> None:
    """Print how long each stage took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    out: Path = parser.parse_args().pictures
    out.mkdir(parents=True, exist_ok=True)
    print(time.strftime("%Y-%m-%d"), os.cpu_count(), "cores, load", os.getloadavg()[0])
    folder = Path(tempfile.mkdtemp(prefix="normfed-officer-"))
    (folder / "study.yaml").write_text(plain_yaml.text(ASKED))
    with timed("people made up"):
        study, data = playing.prepared(folder / "study.yaml", None)
    federation = Rehearsal(folder, data, {name: (name,) for name in SCANNERS}, settings={"quality_gate": "off"})
    settings = folder / HERE / "site.yaml"
    asks = {"approve_by_rule": [], "epsilon_per_year": OF_A_YEAR, "quality_gate": "required"}
    settings.write_text(plain_yaml.text(plain_yaml.read(settings, "a settings file") | asks))
    with timed("investigator: a look at the cohort"):
        looked_at(folder)
    with browser(out) as shown:
        with federation.up():
            decided(federation, study, shown)
        party = proved(federation, shown)
        tampered(party, shown)
    print(f"As it should be. Pictures: {out}; the federation: {folder}")


if __name__ == "__main__":
    main()
