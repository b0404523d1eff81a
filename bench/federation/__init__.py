"""What the federation costs: checks, storage, exchange."""
