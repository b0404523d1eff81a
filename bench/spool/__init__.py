"""How fast the spool is on this disk: `python -m bench.spool`."""
