"""What a policy request costs: `python -m bench.policy`."""
