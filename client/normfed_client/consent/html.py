"""Pages for the people of a hospital, of text that a server wrote: whatever it holds is text, and can be seen."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from normfed_common.wording.terminal_text import printable


def environment(package: str) -> Environment:
    """The templates of a package. All is escaped; marks that nobody sees, such as those that turn the direction of
    writing, stand there as their escapes; a name that is missing is an error."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _visible(value: object) -> object:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
