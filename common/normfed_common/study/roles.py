"""What a study does with a hospital's people. No person has two roles."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["train", "held_out", "test"]  # learnt from; held out for the threshold; tested on
ROLES: tuple[Role, ...] = get_args(Role)
