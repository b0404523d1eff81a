"""Ed25519 as the network understands it: the rules of libsodium, and contexts.

Ed25519 is not one algorithm: implementations disagree about small-order points,
non-canonical encodings and S >= L, and two honest nodes that disagree split a
log. The network's rule is `crypto_sign_verify_detached` of libsodium, reached
through PyNaCl; vectors/keys.jsonl holds the cases where others differ.

Every signature is over a context and a message, so that bytes signed for one
purpose mean nothing for another. Pure: seeds come from the caller.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from nacl import bindings
from nacl.exceptions import BadSignatureError

__all__ = ["EVENT", "ID", "ROTATE", "Signer", "event_id", "verify"]

EVENT: Final = b"SM2TP-FED/1 event\n"
ROTATE: Final = b"SM2TP-FED/1 rotate\n"
ID: Final = b"SM2TP-FED/1 id\n"
"""Not signed: the prefix of what an event's id is the SHA-256 of."""

_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


def verify(key: bytes, context: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over context and message is valid for ``key``."""
    if len(key) != _KEY_BYTES or len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        # crypto_sign_open is crypto_sign_verify_detached plus a copy.
        bindings.crypto_sign_open(signature + context + message, key)
    except BadSignatureError:
        return False
    return True


def event_id(raw: bytes) -> bytes:
    """Return the 32-byte id of an event's JSON bytes.

    The signature is no part of it: a signer can make many valid ones for the
    same bytes, and these must not look like a fork.
    """
    return sha256(ID + raw).digest()


class Signer:
    """A secret key that signs. ``public`` is its 32-byte public key."""

    __slots__ = ("_secret", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != _KEY_BYTES:
            raise ValueError("a seed is of 32 bytes")
        self.seed = seed
        self.public, self._secret = bindings.crypto_sign_seed_keypair(seed)

    def __repr__(self) -> str:
        return f"Signer(public={self.public.hex()})"

    def sign(self, context: bytes, message: bytes) -> bytes:
        """Return the 64-byte signature over context and message."""
        signed = bindings.crypto_sign(context + message, self._secret)
        return signed[:_SIGNATURE_BYTES]
