"""Held mail on disk: one self-describing file per message.

``FileSpool`` implements the port ``Spool``; ``docs/adr/0003-durable-state.md``
tells why the files look as they do.
"""

from shaper.durable.files import DirectoryInUseError
from shaper.spool.spool import FileSpool, Limits

__all__ = ["DirectoryInUseError", "FileSpool", "Limits"]
