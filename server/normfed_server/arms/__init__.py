"""What a study trains and tests: the plan, rounds, evaluation, and what is tried before."""
