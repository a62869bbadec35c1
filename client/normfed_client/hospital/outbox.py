"""Answers on disk before they are sent: a request that is repeated is answered from here, never worked on twice."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from normfed_common.foundation import arrays as named
from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import put_aside
from normfed_common.foundation.errors import DamagedError
from normfed_common.foundation.files import inside
from normfed_common.study.base import Frozen
from normfed_common.wire.answers import Answer
from normfed_common.wire.requests import Request

ENDING, AGAIN = ".safetensors", "the request is worked on again"
NO_PART = {"ledger", "heads", "version"}  # of the answer: books of both sides; the server may be upgraded in a round


def digest(request: Request, arrays: str, rules: Frozen) -> str:
    """SHA-256 of all that a request says of the work, its arrays by their own digest, and of what the hospital allows:
    the same request has the same answer, until the hospital decides otherwise."""
    return digests.of_arrays(f"{request.model_dump_json(exclude=NO_PART)}\n{rules.model_dump_json()}\n{arrays}", {})


class Outbox:
    """The answers of one run.

    Parameters
    ----------
    folder
        The run's; made with owner-only rights by whoever owns the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str, request: Request) -> tuple[Answer, Arrays] | None:
        """The answer that was kept; None where there is none, or it is damaged and set apart now."""
        path = self._path(key, request)
        if not path.exists():
            return None
        try:
            arrays, header = named.read(path)
        except DamagedError as error:
            put_aside(path, error.why, AGAIN)
            return None
        try:
            return Answer.model_validate(header["answer"], strict=False), arrays
        except (KeyError, ValidationError):  # of a newer version that was here before
            put_aside(path, "not an answer of this version", AGAIN)
            return None

    def put(self, key: str, request: Request, answer: Answer, arrays: Arrays) -> None:
        """Keep an answer; one of a later round says that earlier rounds of the same model are closed."""
        path = self._path(key, request)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        named.save(path, arrays, {"answer": answer.model_dump(mode="json")})
        path.chmod(0o600)
        if request.round:
            for earlier in path.parent.glob(f"[0-9]*-*{ENDING}"):
                if 0 < int(earlier.name.partition("-")[0]) < request.round:
                    earlier.unlink(missing_ok=True)

    def _path(self, key: str, request: Request) -> Path:
        return inside(self.folder, request.arm, f"{request.round:06d}-{key}{ENDING}")
