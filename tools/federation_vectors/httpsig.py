"""Group httpsig: one good request, and what is wrong with others."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Any

from federation.format.profile import b64
from tools.federation_vectors.case import NODE, OTHER, T0, Case

__all__ = ["cases"]

_HOST = "mx.example.org:8443"
_PATH = "/fed/v1/vector"
_BODY = b'{"digest":"HcDUcKxRSav3WBxZ4Tv_oygjIjvclu9_E0ZRwmTlXx8"}'
_COMPONENTS = '("@method" "@authority" "@path" "@query" "content-digest")'


def _digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(sha256(body).digest()).decode()}:"


def _fields(  # noqa: PLR0913 - each part can be wrong
    *,
    signer: Any = NODE,  # noqa: ANN401 - a Signer
    named: bytes = b"",
    method: str = "POST",
    host: str = _HOST,
    path: str = _PATH,
    body: bytes = _BODY,
    created: int = T0,
    nonce: bytes = bytes(16),
    label: str = "sm2tp",
    tag: str = "sm2tp-fed-1",
    components: str = _COMPONENTS,
    context: bytes = b"",
) -> dict[str, str]:
    """Sign by the text of RFC 9421, not by the program's code."""
    params = (
        f'{components};created={created};nonce="{b64(nonce)}"'
        f';keyid="{b64(named or signer.public)}";alg="ed25519";tag="{tag}"'
    )
    base = (
        f'"@method": {method}\n"@authority": {host}\n"@path": {path}\n"@query": ?\n'
        f'"content-digest": {_digest(body)}\n"@signature-params": {params}'
    )
    signature = base64.b64encode(signer.sign(context, base.encode())).decode()
    return {
        "Content-Digest": _digest(body),
        "Signature-Input": f"{label}={params}",
        "Signature": f"{label}=:{signature}:",
    }


def _request(
    fields: dict[str, str],
    *,
    method: str = "POST",
    path: str = _PATH,
    body: bytes = _BODY,
    now: int = T0,
) -> dict[str, Any]:
    return {
        "method": method,
        "path": path,
        "fields": fields,
        "body": b64(body),
        "now": now,
    }


def _case(
    name: str, words: list[str], why: str, *requests: dict[str, Any], host: str = _HOST
) -> Case:
    value = {"do": "check", "host": host, "requests": list(requests)}
    return Case(f"httpsig_{name}", value, {"words": words}, why)


def _changed(old: str, new: str, name: str = "Signature-Input") -> dict[str, str]:
    fields = _fields()
    fields[name] = fields[name].replace(old, new)
    return fields


def cases() -> list[Case]:
    """Return the cases of the group."""
    good = _request(_fields())
    found = [
        Case(
            "httpsig_sign",
            {
                "do": "sign",
                "seed": NODE.seed.hex(),
                "method": "POST",
                "host": "MX.example.org:8443",
                "path": _PATH,
                "body": b64(_BODY),
                "created": T0,
                "nonce": b64(bytes(16)),
            },
            {"fields": _fields()},
            "The authority is signed in lower case; the rest is the example of 9.3.",
        ),
        _case("good", ["ok"], "All is as it should be.", good),
        _case(
            "default_port",
            ["ok"],
            "Port 443 is not part of the authority.",
            _request(_fields(host="mx.example.org")),
            host="mx.example.org:443",
        ),
        _case(
            "replay_here",
            ["ok", "replay", "replay"],
            "A nonce of a key is good once, also at the end of the request's age.",
            good,
            good,
            _request(_fields(), now=T0 + 60),
        ),
        _case(
            "nonce_of_another_key",
            ["ok", "ok"],
            "Nonces are remembered for each key.",
            good,
            _request(_fields(signer=OTHER)),
        ),
        _case(
            "replay_elsewhere",
            ["signature"],
            "Another server has another authority; the Host field does not count.",
            _request(_fields() | {"Host": _HOST}),
            host="other.example.org:8443",
        ),
        _case(
            "age_60",
            ["ok", "ok"],
            "Sixty seconds before and after are allowed.",
            _request(_fields(), now=T0 + 60),
            _request(_fields(nonce=bytes([1] * 16)), now=T0 - 60),
        ),
        _case(
            "age_61",
            ["stale", "stale"],
            "Sixty-one are not.",
            _request(_fields(), now=T0 + 61),
            _request(_fields(), now=T0 - 61),
        ),
        _case(
            "other_body",
            ["digest", "signature"],
            "The digest is of the body as received, and it is signed.",
            _request(_fields(), body=b"{}"),
            _request(_fields() | {"Content-Digest": _digest(b"{}")}, body=b"{}"),
        ),
        _case(
            "other_request",
            ["signature", "signature"],
            "Method and path are signed.",
            _request(_fields(), method="PUT"),
            _request(_fields(), path="/fed/v1/push"),
        ),
        _case(
            "other_key",
            ["signature"],
            "The signature is of another key than keyid names.",
            _request(_fields(named=OTHER.public)),
        ),
        _case(
            "context",
            ["signature"],
            "A request is signed without a context before the base: an event's"
            " signature is none of a request.",
            _request(_fields(context=b"SM2TP-FED/1 event\n")),
        ),
    ]
    for name in ("Content-Digest", "Signature-Input", "Signature"):
        fields = _fields()
        del fields[name]
        found.append(
            _case(
                f"without_{name.lower().replace('-', '_')}",
                ["missing"],
                "All three fields are needed.",
                _request(fields),
            )
        )
    forms = {
        "label": _fields(label="sig1"),
        "tag": _fields(tag="sm2tp-fed-2"),
        "components_fewer": _fields(components='("@method" "@path")'),
        "algorithm": _changed("ed25519", "rsa-pss-sha512"),
        "created_zero_first": _changed(f"={T0}", f"=0{T0}"),
        "parameter_more": _changed(";alg", f";expires={T0 + 9};alg"),
        "nonce_short": _changed(b64(bytes(16)), b64(bytes(15))),
        "nonce_unused_bits": _changed(b64(bytes(16)), "A" * 21 + "B"),
        "two_signatures": _changed("sm2tp=:", "sm2tp=:AA==:, sm2tp=:", "Signature"),
        "signature_base64url": _changed("+", "-", "Signature"),
    }
    found += [
        _case(
            f"form_{name}",
            ["form"],
            "There is one form; others of RFC 9421 are refused.",
            _request(fields),
        )
        for name, fields in forms.items()
    ]
    return found
