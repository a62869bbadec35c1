"""Where passphrases come from: a file, the environment, or a person, who is asked twice for a new one."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from normfed_common.foundation.errors import UserError

OPERATOR = "NORMFED_OPERATOR_PASSPHRASE"
AUTHORITY = "NORMFED_CA_PASSPHRASE"
BACKUP = "NORMFED_BACKUP_PASSPHRASE"


def ask(what: str, variable: str, file: Path | None = None, new: bool = False) -> bytes:
    """A passphrase.

    Parameters
    ----------
    variable
        Of the environment; it counts where there is no file.
    new
        Whether it is chosen now, so that a slip of the finger would lock everybody out.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").partition("\n")[0].strip().encode()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: no passphrase can be read from it ({error}).") from error
    if variable in os.environ:
        return os.environ[variable].encode()
    found: str = typer.prompt(what, hide_input=True, confirmation_prompt=new, err=True)
    return found.encode()
