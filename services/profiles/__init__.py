"""Log in, Redis out: what each listener has heard and liked. Others may import `reader`, and nothing else."""
