"""A chain in words: a table of its records, what verification found, and an export."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from normfed_common.chain.files import Chain
from normfed_common.chain.keys import VerifyingKey
from normfed_common.chain.kinds.content import Content
from normfed_common.chain.kinds.server import HeadRefused, Received, RefusalHeard
from normfed_common.chain.kinds.shared import Asked
from normfed_common.chain.kinds.site import Answered, Refused, Repeated
from normfed_common.chain.records import Record
from normfed_common.chain.verifying import Verified, verify
from normfed_common.deployment.enrolment import key_fingerprint
from normfed_common.foundation.errors import SiteCode, UserError
from normfed_common.foundation.files import atomic
from normfed_common.wording.commands import as_typed
from normfed_common.wording.terminal_text import plain

ALONE = "Whether its end was cut off shows only beside the other side's audit: normfed audit compare."
BOTH = (
    "The server's is whole too, and no head or answer in one contradicts the other. The two sides together could "
    "have written another past: let a third party keep the head."
)


def run(chain: Chain, as_json: bool, verifying: bool, export: Path | None, public: str) -> None:
    """What `normfed site audit` and `normfed server audit` have in common.

    Parameters
    ----------
    public
        Name of the file with the public key.
    """
    if as_json:
        for line in chain.lines():
            typer.echo(line.decode("utf-8", "backslashreplace").rstrip("\n"))
    elif export is not None:
        count = export_to(chain, export)
        typer.echo(
            as_typed(f"{count} records in {export}. Verify them anywhere: normfed audit verify {export} --key {public}")
        )
    elif verifying:
        tell(Console(highlight=False), verify(chain.lines(), VerifyingKey(chain.key_line())), chain.key_line())
    else:
        show(Console(highlight=False), chain.records())


def export_to(chain: Chain, path: Path) -> int:
    """Write all records that lie here to one file, as they stand; returns how many.

    Raises
    ------
    UserError
        If there is something already.
    """
    if path.exists():
        raise UserError(f"{path}: is there already. Give another file.")
    count = 0
    with atomic(path) as temporary, open(temporary, "wb") as file:
        for line in chain.lines():
            count += 1
            file.write(line)
    return count


def tell(console: Console, found: Verified, key: str, open_question: str = ALONE) -> None:
    """Print what verification found; ends the command with code 1 if something is wrong.

    Parameters
    ----------
    open_question
        What it cannot show, and who can; said of a chain that is whole.
    """
    for remark in found.remarks:
        console.print(f"[yellow]![/] {plain(remark)}", soft_wrap=True)
    for problem in found.problems:
        console.print(f"[red]✗[/] {plain(problem)}", soft_wrap=True)
    if not found.good:
        console.print(f"[red]Not what was written.[/] {len(found.records)} records were read.", soft_wrap=True)
        raise typer.Exit(1)
    first, last = found.records[0], found.records[-1]
    console.print(
        f"[green]✓[/] Whole: {len(found.records)} records, {first.number} to {last.number}, from {first.time} to "
        f"{last.time}, all signed with the key {key_fingerprint(key.encode())}.\n"
        f"  Chain {last.chain}, head {last.digest}. {open_question}",
        soft_wrap=True,
    )


def show(console: Console, records: Iterable[Record]) -> None:
    """Print a table, the newest last."""
    table = Table("number", "time (UTC)", "what", "", box=None, pad_edge=False)
    for record in records:
        time = record.time[:19].replace("T", " ")
        table.add_row(str(record.number), time, record.content.kind, plain(told(record.content)))
    if not table.row_count:
        console.print("There is no record yet.")
        return
    console.print(table)


def told(content: Content) -> str:
    """What a record says, in a line."""
    if isinstance(content, Answered):
        cost = "without noise" if content.epsilon is None else f"epsilon {content.epsilon:.3g}"
        kept = ", from the outbox" if content.kept else ""
        arrays = f"{len(content.arrays)} arrays, {content.bytes:,} bytes"
        return f"{_asked(content.asked)}: {arrays}; people: {content.people}; {cost}{kept}"
    if isinstance(content, Received):
        return f"{content.site}: {_asked(content.asked)}: {content.bytes:,} bytes"
    if isinstance(content, Repeated):
        more = f"; {content.unwritten} more before it" if content.unwritten else ""
        return f"{_asked(content.asked)}: again, as in record {content.number}{more}"
    if isinstance(content, Refused):
        more = f"; {content.unwritten} more before it" if content.unwritten else ""
        return f"{_asked(content.asked)}: {_code(content.code)}{more}"
    if isinstance(content, HeadRefused):
        return f"{content.site}: {_asked(content.asked)}: a head of {content.head.records} records that it did not sign"
    if isinstance(content, RefusalHeard):
        return f"{content.site}: {_asked(content.asked)}: {_code(content.code)}"
    said = content.model_dump(mode="json", exclude={"kind", "key", "head", "known", "told"})
    return ", ".join(f"{name} {value}" for name, value in said.items() if value not in ("", None))


def _asked(asked: Asked) -> str:
    turn = f" turn {asked.turn}" if asked.turn else ""
    return f"{asked.task} of {asked.arm or '?'}{turn} in {asked.run or '?'}"


def _code(code: int) -> str:
    try:
        return f"{code} {SiteCode(code).name}"
    except ValueError:
        return f"{code} unreadable" if code == 0 else str(code)
