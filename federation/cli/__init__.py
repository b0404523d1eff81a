"""The command ``mailshaper federation``, alone: ``mailshaper-federation``.

``app`` is found by the shaper through the entry point group ``mailshaper.commands``;
``main`` is the program for hosts without it. Commands work on the node's directory,
with the daemon running or not.
"""

from __future__ import annotations

from federation.cli.program import app, main

__all__ = ["app", "main"]
