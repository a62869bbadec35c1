"""What goes between the chains of the server and of the sites: each side keeps how the other's ended.

An answer is written down when it comes in, before anything is made of it, with the digest that the site wrote down
before it left. The head of a site's chain that came with it goes back with the next request: a site that was restored
from an old backup learns so that it was. An answer whose head the site's own key did not sign counts as a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flwr.app import Message
from pydantic import ValidationError

from normfed_common.chain.files import Chain
from normfed_common.chain.keys import VerifyingKey
from normfed_common.chain.kinds.server import HeadRefused, Received, RefusalHeard
from normfed_common.chain.requests import asked
from normfed_common.foundation.errors import RunError, SiteCode, UserError
from normfed_common.foundation.files import is_full, write_text
from normfed_common.wire import messages
from normfed_common.wire.head import Head, Heads

UNREADABLE = 0  # instead of a code


class Books:
    """The server's chain, and the heads of the sites' that it has heard of.

    Parameters
    ----------
    folder
        Of the heads, one file per site; made with the first.
    keys
        The public key of a site, as it was accepted; empty where there is none.
    """

    def __init__(self, chain: Chain, folder: Path, keys: Callable[[str], str]) -> None:
        self._chain, self._folder, self._keys = chain, folder, keys

    def heads(self, site: str) -> Heads:
        """What goes with a request to a site."""
        return Heads(server=self._chain.head(), site=self.of(site))

    def of(self, site: str) -> Head | None:
        """The last head of a site's chain; a file that is damaged is as none, until the next answer."""
        try:
            return Head.model_validate_json((self._folder / f"{site}.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def hear(self, site: str, request: Message, reply: Message) -> Message:
        """Write down what a site answered; returns it, or a refusal in its place.

        Raises
        ------
        RunError
            If it cannot be written: nothing is made of an answer of which there is no record.
        """
        entry = self._entry(site, request, reply)
        try:
            self._chain.append(entry)
            if isinstance(entry, Received) and entry.head is not None:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                write_text(self._folder / f"{site}.json", entry.head.model_dump_json() + "\n")
        except OSError as error:
            why = "the disk is full" if is_full(error) else error.strerror or type(error).__name__
            raise RunError(f"{self._chain.path}: cannot be written ({why}). Mend that, and resume.") from error
        return messages.refusal(request, SiteCode.HEAD_NOT_SIGNED) if isinstance(entry, HeadRefused) else reply

    def _entry(self, site: str, request: Message, reply: Message) -> Received | RefusalHeard | HeadRefused:
        what = asked(messages.asked(request))
        if reply.has_error():
            return RefusalHeard(site=site, asked=what, code=int(messages.error_code(reply)))
        try:
            header, content = messages.content_of(reply)
        except Exception:  # noqa: BLE001  (bytes that are made up; whoever uses the answer says what is wrong)
            return RefusalHeard(site=site, asked=what, code=UNREADABLE)
        head = header.head
        if head is not None and not self._signed(site, head):
            return HeadRefused(site=site, asked=what, content=content, head=head)
        return Received(site=site, asked=what, bytes=messages.size_of(reply), content=content, head=head)

    def _signed(self, site: str, head: Head) -> bool:
        try:
            return VerifyingKey(self._keys(site)).made_head(head)
        except UserError:  # it has none, or none that signs
            return False
