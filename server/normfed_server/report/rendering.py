"""Templates of pages: whatever a study or a hospital wrote is escaped, and a name that is missing is an error."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


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
    )
