"""What the lines mean here: own evidence, the operator's table, one decision.

``decision``, ``audit``, ``scores`` and ``benefit`` are pure; ``intake``, ``judge`` and
``shaperlink`` join them to the log and to a shaper's Redis.
"""
