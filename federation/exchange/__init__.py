"""How logs reach other hosts: signed requests over HTTPS, asked for and answered.

``session`` and ``service`` speak the protocol without a network; ``client``,
``server`` and ``rounds`` are the network; ``joining`` is how two hosts first meet.
"""
