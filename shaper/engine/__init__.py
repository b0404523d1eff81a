"""Between core and adapters: persists what the core decides, then acts on it.

The engine owns all that is shared between connections. It knows the adapters
only by their ports (``shaper.core.ports``); time comes from a clock that is
handed in.
"""
