"""Real servers and simulated neighbours for the tests, each a context manager.

Every server listens on loopback or on a socket in its own directory under /tmp,
runs as our child, and is ended by its process id. What cannot be had on this
machine skips the test with a reason (see `needs`).
"""
