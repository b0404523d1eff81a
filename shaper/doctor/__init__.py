"""Checks of the whole chain: MTA, daemon, Redis, host. Each gives findings."""
