"""Small made-up trees with the names and layouts of public datasets: whether a recipe runs, and nothing else."""
