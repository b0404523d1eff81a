"""Tests of mailshaper and federation; `tests/support` holds the servers they use."""
