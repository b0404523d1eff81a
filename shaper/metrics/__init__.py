"""What Prometheus sees of this instance.

``declared`` has every name, help text and label once; ``counting`` hears of events,
``standing`` reads what is, ``listener`` serves both and the answers for probes.
"""
