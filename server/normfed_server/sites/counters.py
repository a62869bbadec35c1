"""The last counter of each site's ledger: it came with an answer, and goes back with every request.

The server cannot check a counter, and need not: the site knows its own signature. Of two it keeps the longer ledger's,
since a site that fell back behind what it once said is to notice.
"""

from __future__ import annotations

import threading
from pathlib import Path

from flwr.app import Message
from pydantic import ValidationError

from normfed_common.foundation.files import write_text
from normfed_common.foundation.locks import exclusive
from normfed_common.wire.counter import Counter
from normfed_common.wire.messages import ledger_of, stamped
from normfed_server.sites.heads import Books


class Counters:
    """Kept in memory, or by `KeptCounters` for good.

    Parameters
    ----------
    books
        Into which answers are written as they come; a simulation has none.
    """

    def __init__(self, books: Books | None = None) -> None:
        self._books = books
        self._last: dict[str, Counter] = {}
        self._lock = threading.Lock()

    def of(self, site: str) -> Counter | None:
        """The last of a site."""
        return self._last.get(site)

    def arrived(self, site: str, request: Message, reply: Message) -> Message:
        """An answer came in: it is written down, then what came with it is taken in; returns what it counts as."""
        if self._books is not None:
            reply = self._books.hear(site, request, reply)
        self.hear(site, reply)
        return reply

    def hear(self, site: str, reply: Message) -> None:
        """Take in what came with an answer, unless more is known already."""
        heard = ledger_of(reply)
        if heard is None:
            return
        with self._lock:
            before = self.of(site)
            if before is None or heard.entries > before.entries:
                self._keep(site, heard)

    def stamped(self, site: str, request: Message) -> Message:
        """A request to a site with the site's counter, and with the heads of both chains."""
        counter, heads = self.of(site), None if self._books is None else self._books.heads(site)
        return request if counter is None and heads is None else stamped(request, counter, heads)

    def _keep(self, site: str, counter: Counter) -> None:
        self._last[site] = counter


class KeptCounters(Counters):
    """On disk, one file per site, for all runs of a server.

    Parameters
    ----------
    folder
        Of the operator's; made when the first counter comes.
    """

    def __init__(self, folder: Path, books: Books | None = None) -> None:
        super().__init__(books)
        self._folder = folder

    def of(self, site: str) -> Counter | None:
        """See `Counters`; a file that is damaged is as none, until the site's next answer."""
        try:
            return Counter.model_validate_json((self._folder / f"{site}.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def hear(self, site: str, reply: Message) -> None:
        """See `Counters`; runs may hear of a site at the same time."""
        if ledger_of(reply) is not None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with exclusive(self._folder / "lock"):
                super().hear(site, reply)

    def _keep(self, site: str, counter: Counter) -> None:
        write_text(self._folder / f"{site}.json", counter.model_dump_json() + "\n")
