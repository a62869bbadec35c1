"""Templates of pages: whatever a study or a hospital wrote is escaped, and a name that is missing is an error."""

from __future__ import annotations

from functools import cache
from types import CodeType

from jinja2 import BytecodeCache, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket


def templates(*packages: str, trim_blocks: bool = False) -> Environment:
    """The templates of these packages, the first that has one, and then of the report.

    Parameters
    ----------
    trim_blocks
        Whether a line of nothing but a tag leaves none on the page.
    """
    loaders = [PackageLoader(package) for package in (*packages, "normfed_server.report")]
    return Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=trim_blocks,
        lstrip_blocks=trim_blocks,
        bytecode_cache=_compiled(trim_blocks),
    )


class _Compiled(BytecodeCache):
    """Templates that this process has compiled: that takes as long as drawing a page's plots."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what was compiled of the same source, if anything."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it."""
        self._codes[bucket.key, bucket.checksum] = bucket.code


@cache
def _compiled(trim_blocks: bool) -> _Compiled:
    """One for all pages whose templates are read alike."""
    return _Compiled()
