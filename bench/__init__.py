"""Measurements, printed and never gated: `python -m bench.NAME`."""
