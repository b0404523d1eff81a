"""Edwards25519 by the book, to make signatures that libraries do not make.

Affine coordinates and Python integers (RFC 8032 5.1): slow, not constant in time,
for vectors only. Points are ``(x, y)``; scalars are not reduced for the caller,
since points of small order are what this is for.
"""

from __future__ import annotations

from hashlib import sha512
from typing import Final, TypeAlias

Point: TypeAlias = tuple[int, int]

P: Final = 2**255 - 19
L: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, -1, P) % P
_ROOT: Final = pow(2, (P - 1) // 4, P)  # of -1

ZERO: Final[Point] = (0, 1)


def with_y(y: int, sign: int = 0) -> Point:
    """Return the point of ordinate ``y``, its x odd if ``sign``."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * _ROOT % P
    if x * x % P != square:
        raise ValueError("no point has this ordinate")
    return (P - x if x % 2 != sign else x) % P, y


BASE: Final = with_y(4 * pow(5, -1, P) % P)


def add(one: Point, other: Point) -> Point:
    """Return the sum of two points."""
    (x1, y1), (x2, y2) = one, other
    t = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P
    return x, y


def times(scalar: int, point: Point) -> Point:
    """Return ``scalar`` times ``point``; the scalar may be as large as it likes."""
    total = ZERO
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def minus(point: Point) -> Point:
    """Return the opposite point."""
    return -point[0] % P, point[1]


def packed(point: Point) -> bytes:
    """Return the canonical encoding (RFC 8032 5.1.2)."""
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def challenge(r: bytes, a: bytes, message: bytes) -> int:
    """Return the hash that binds R, A and the message, reduced modulo L."""
    return int.from_bytes(sha512(r + a + message).digest(), "little") % L


def secret_of(seed: bytes) -> int:
    """Return the secret scalar of a seed (RFC 8032 5.1.5)."""
    scalar = int.from_bytes(sha512(seed).digest()[:32], "little")
    return (scalar & ~7 & (2**254 - 1)) | 2**254


def signature(r: bytes, s: int) -> bytes:
    """Return the 64 bytes of a signature."""
    return r + s.to_bytes(32, "little")
