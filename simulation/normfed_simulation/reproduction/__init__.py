"""Published tables again, given the data: recipes, ours beside theirs, and generated look-alikes of the data."""
