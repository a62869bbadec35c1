"""The hospital's own page, on its own machine: what was asked, approved, refused and sent; approving is done there."""
