"""A secret key on disk: one line of base64url, readable by its owner only.

Creating never overwrites: a lost root key ends an organisation, a lost node key
a log. A file that others may read is not used.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from federation.format.errors import Refused
from federation.format.profile import b64, unb64
from federation.format.signing import Signer

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KeyFileError", "create", "load", "save"]


class KeyFileError(Exception):
    """A key file that cannot be read, written or trusted; says what to do."""


def create(path: Path) -> Signer:
    """Make a new key, write it durably to ``path`` and return it."""
    return save(path, os.urandom(32))


def save(path: Path, seed: bytes) -> Signer:
    """Write a 32-byte seed durably to ``path``, which must not exist."""
    signer = Signer(seed)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(b64(seed).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise KeyFileError(f"{path} exists: a key is never overwritten") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from None
    return signer


def load(path: Path) -> Signer:
    """Return the key of a file. Raises KeyFileError, which never shows it."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(64)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise KeyFileError(f"{path} is open to others: chmod 600 {path}")
    try:
        return Signer(unb64(text.decode("latin-1").removesuffix("\n"), 32))
    except Refused:
        raise KeyFileError(
            f"{path} is no key: 43 characters of base64url are expected"
        ) from None
