"""Sites that differ by chance alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normfed_simulation.splits.base import DividedPerson, Sites, Split, check_enough, dealt, even_sizes


class Iid(Split):
    """Everybody at any site with the same chance; sizes differ by one at most. The reference of every other split."""

    Config = Sites
    cited = ("mcmahan2017",)

    def divide(self, people: Sequence[DividedPerson], rng: np.random.Generator) -> list[str]:
        """See `Split`."""
        check_enough(people, self.config.sites)
        return dealt(even_sizes(len(people), self.config.sites).tolist(), rng)
