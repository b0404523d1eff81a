"""Group keys: five seeds, their signatures, and the edges of verification.

The edge cases meet the conditions of the twelve cases of ed25519-speccheck (K.
Chalkias, F. Garillot, V. Nikolaenko, "Taming the many EdDSAs", SSR 2020), made
here anew with own keys; what libsodium answers to them is the protocol's rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from federation.format.signing import EVENT, ROTATE
from tools.federation_vectors import curve
from tools.federation_vectors.case import NODE, ROOT, Case
from tools.federation_vectors.curve import L, P

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.federation_vectors.curve import Point

SEEDS: Final = (
    bytes(32),
    bytes(range(32)),
    bytes(range(32, 64)),
    b"\xff" * 32,
    b"a seed is any thirty-two octets!",
)
CONTEXTS: Final = (EVENT, ROTATE, b"")


def public(seed: bytes) -> bytes:
    """Return a seed's public key, by the book."""
    return curve.packed(curve.times(curve.secret_of(seed), curve.BASE))


def signature(seed: bytes, message: bytes) -> bytes:
    """Return the signature of RFC 8032 5.1.6, by the book."""
    secret, prefix = curve.secret_of(seed), curve.sha512(seed).digest()[32:]
    nonce = int.from_bytes(curve.sha512(prefix + message).digest(), "little") % L
    return signature_with(secret, nonce, message)


def signature_with(secret: int, nonce: int, message: bytes) -> bytes:
    """Return the signature that a nonce gives: any nonce gives a valid one."""
    r = curve.packed(curve.times(nonce, curve.BASE))
    a = curve.packed(curve.times(secret, curve.BASE))
    return curve.signature(r, (nonce + curve.challenge(r, a, message) * secret) % L)


def cases() -> Iterator[Case]:
    """Return the vectors of the group."""
    for number, seed in enumerate(SEEDS):
        yield Case(
            f"public_{number}",
            {"do": "public", "seed": seed.hex()},
            {"public": public(seed).hex()},
            "RFC 8032 5.1.5",
        )
        for context in CONTEXTS:
            message = f"message {number}".encode()
            name = context.split()[-1].decode() if context else "bare"
            yield Case(
                f"sign_{number}_{name}",
                {
                    "do": "sign",
                    "seed": seed.hex(),
                    "context": context.decode(),
                    "message": message.hex(),
                },
                {"signature": signature(seed, context + message).hex()},
                "RFC 8032 5.1.6 over the context and the message",
            )
    yield from _usual()
    yield from _edges()


def _verify(
    name: str,
    parts: tuple[bytes, bytes, bytes],
    why: str,
    *,
    valid: bool = False,
    context: bytes = b"",
) -> Case:
    key, message, sig = parts
    question = {
        "do": "verify",
        "key": key.hex(),
        "context": context.decode(),
        "message": message.hex(),
        "signature": sig.hex(),
    }
    return Case(name, question, {"valid": valid}, why)


def _usual() -> Iterator[Case]:
    key, text = ROOT.public, b"a message"
    seed = bytes(range(32))
    good = signature(seed, EVENT + text)
    yield _verify(
        "valid", (key, text, good), "a usual signature", valid=True, context=EVENT
    )
    yield _verify(
        "other_context",
        (key, text, good),
        "signed as an event, shown as a rotation",
        context=ROTATE,
    )
    yield _verify(
        "context_in_message",
        (key, EVENT + text, good),
        "context and message are joined without a mark, so this is the same text",
        valid=True,
    )
    yield _verify(
        "other_key", (NODE.public, text, good), "made with another key", context=EVENT
    )
    yield _verify(
        "other_message", (key, text + b".", good), "another message", context=EVENT
    )
    for place in (0, 31, 32, 63):
        bad = bytearray(good)
        bad[place] ^= 1
        yield _verify(
            f"bit_of_byte_{place}",
            (key, text, bytes(bad)),
            f"one bit of byte {place} is another",
            context=EVENT,
        )
    yield _verify(
        "second_signature",
        (key, text, signature_with(curve.secret_of(seed), 12345, EVENT + text)),
        "a signer can make many valid signatures of the same message",
        valid=True,
        context=EVENT,
    )
    for length in (0, 63, 65):
        sig = (good + b"\0")[:length]
        yield _verify(
            f"signature_of_{length}_bytes",
            (key, text, sig),
            "a signature is of 64 bytes",
            context=EVENT,
        )
    for length in (0, 31, 33):
        yield _verify(
            f"key_of_{length}_bytes",
            ((key + b"\0")[:length], text, good),
            "a key is of 32 bytes",
            context=EVENT,
        )


def _torsion() -> list[Point]:
    """Return the eight points whose order divides 8, as multiples of one."""
    for y in range(3, 100):
        try:
            point = curve.times(L, curve.with_y(y))
        except ValueError:
            continue
        if curve.times(4, point) != curve.ZERO:
            return [curve.times(n, point) for n in range(8)]
    raise AssertionError


def _search(
    wanted: Callable[[int], bool], r: bytes, a: bytes, salt: bytes
) -> tuple[bytes, int]:
    """Return the first message, and its challenge, that has a property."""
    for number in range(1000):
        message = salt + str(number).encode()
        h = curve.challenge(r, a, message)
        if wanted(h):
            return message, h
    raise AssertionError


def _edges() -> Iterator[Case]:
    small = _torsion()
    secret, nonce = curve.secret_of(bytes(range(32))), 2**200 + 9
    a0, r0 = curve.times(secret, curve.BASE), curve.times(nonce, curve.BASE)
    mixed_a, mixed_r = curve.add(a0, small[1]), curve.add(r0, small[1])

    def made(
        a: Point,
        r: Point,
        s: Callable[[int], int],
        wanted: Callable[[int], bool],
        *,
        a_bytes: bytes = b"",
        r_bytes: bytes = b"",
        hashed_a: bytes = b"",
        hashed_r: bytes = b"",
    ) -> tuple[bytes, bytes, bytes]:
        """Return key, message and signature; bytes as sent and as hashed."""
        a_bytes, r_bytes = a_bytes or curve.packed(a), r_bytes or curve.packed(r)
        message, h = _search(
            wanted, hashed_r or r_bytes, hashed_a or a_bytes, b"speccheck "
        )
        return a_bytes, message, curve.signature(r_bytes, s(h))

    def both(h: int) -> int:
        return (nonce + h * secret) % L

    yield _verify(
        "speccheck_0_small_a_small_r",
        made(small[1], small[7], lambda _: 0, lambda h: h % 8 == 1),
        "A and R of small order, S = 0: rejected for A",
    )
    yield _verify(
        "speccheck_1_small_a",
        made(small[1], mixed_r, lambda _: nonce, lambda h: (1 + h) % 8 == 0),
        "A of small order: anybody can sign for it",
    )
    yield _verify(
        "speccheck_2_small_r",
        made(mixed_a, small[1], lambda h: h * secret % L, lambda h: (1 + h) % 8 == 0),
        "R of small order",
    )
    yield _verify(
        "speccheck_3_mixed_valid",
        made(mixed_a, mixed_r, both, lambda h: (1 + h) % 8 == 0),
        "A and R have parts of small order, which cancel out: SB = R + hA holds",
        valid=True,
    )
    yield _verify(
        "speccheck_4_cofactored_only",
        made(mixed_a, mixed_r, both, lambda h: h % 8 == 0),
        "holds only when multiplied by 8, which is not done",
    )
    yield _verify(
        "speccheck_5_cofactored_unreduced",
        made(mixed_a, r0, both, lambda h: h % 8 != 0 and 8 * h % L % 8 != 0),
        "holds only when multiplied by 8 without reducing 8h modulo L",
    )
    yield _verify(
        "speccheck_6_s_plus_l",
        made(a0, r0, lambda h: both(h) + L, lambda _: True),
        "S + L is as good in the equation, and refused: S < L (RFC 8032 5.1.7)",
    )
    yield _verify(
        "speccheck_7_s_high_bits",
        made(
            a0, r0, lambda h: both(h) + (2**256 - 1 - both(h)) // L * L, lambda _: True
        ),
        "S far above L: a test of its three high bits only is not enough",
    )
    # y = p stands for y = 0, a point of order 4, in a second spelling.
    alias = (P).to_bytes(32, "little")
    point = curve.with_y(0)
    proper = curve.packed(point)
    turn = next(n for n in range(8) if small[n] == point)
    for number, hashed, what in ((8, proper, "canonical"), (9, alias, "received")):
        yield _verify(
            f"speccheck_{number}_r_not_canonical_{what}_hashed",
            made(
                mixed_a,
                point,
                lambda h: h * secret % L,
                lambda h: (turn + h) % 8 == 0,
                r_bytes=alias,
                hashed_r=hashed,
            ),
            f"R in a non-canonical spelling; the {what} one was hashed",
        )
    for number, hashed, what in ((10, proper, "canonical"), (11, alias, "received")):
        yield _verify(
            f"speccheck_{number}_a_not_canonical_{what}_hashed",
            made(
                point,
                curve.add(r0, small[2]),
                lambda _: nonce,
                lambda h: (2 + turn * h) % 8 == 0,
                a_bytes=alias,
                hashed_a=hashed,
            ),
            f"A in a non-canonical spelling; the {what} one was hashed",
        )
    for order, index in ((1, 0), (2, 4), (4, 2), (8, 1)):
        key = curve.packed(small[index])
        yield _verify(
            f"key_of_order_{order}",
            (key, b"", curve.signature(key, 0)),
            f"a key of order {order}",
        )
    yield _verify(
        "s_is_l",
        (curve.packed(a0), b"", curve.signature(curve.packed(r0), L)),
        "S = L is the smallest S out of range",
    )
    yield _verify(
        "key_off_the_curve",
        ((2).to_bytes(32, "little"), b"", curve.signature(curve.packed(r0), 1)),
        "no point has the ordinate 2",
    )
