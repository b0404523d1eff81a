"""Signed requests: what is accepted, and the word for what is not."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.exchange.httpsig import Nonces, Unsigned, authority, base, check, sign
from federation.format.profile import b64
from federation.format.signing import EVENT, Signer

NOW = 1_790_000_000
SIGNER = Signer(bytes(range(32, 64)))
HOST = "fed.example.org:8641"
PATH = "/fed/v1/vector"
BODY = b'{"digest":"x"}'


def signed(*, created=NOW, body=BODY, host=HOST, path=PATH, signer=SIGNER):
    fields = sign(signer, "POST", host, path, body, created=created, nonce=bytes(16))
    return {name.lower(): value for name, value in fields.items()}


def refusal(headers, *, method="POST", host=HOST, path=PATH, body=BODY, now=NOW):
    with pytest.raises(Unsigned) as caught:
        check(method, host, path, headers, body, now=now, age=60)
    return caught.value.reason


def test_a_signed_request_names_its_key_and_nonce():
    found = check("POST", HOST, PATH, signed(), BODY, now=NOW, age=60)
    assert (found.key, found.nonce, found.created) == (SIGNER.public, bytes(16), NOW)


def test_the_base_is_the_one_of_rfc_9421_2_5():
    params = signed()["signature-input"].removeprefix("sm2tp=")
    text = base("POST", HOST, PATH, BODY, params).decode()
    assert text.splitlines() == [
        '"@method": POST',
        '"@authority": fed.example.org:8641',
        '"@path": /fed/v1/vector',
        '"@query": ?',
        '"content-digest": sha-256=:j7SWKWyDz8cLogu6ZuLrTYv+rXcyLGAoagd0x4jVLYQ=:',
        f'"@signature-params": {params}',
    ]


@pytest.mark.parametrize("offset", [-60, 0, 60])
def test_a_minute_of_age_is_allowed_either_way(offset):
    check("POST", HOST, PATH, signed(), BODY, now=NOW + offset, age=60)


@pytest.mark.parametrize("offset", [-61, 61, 86400])
def test_older_is_stale(offset):
    assert refusal(signed(), now=NOW + offset) == "stale"


@pytest.mark.parametrize("name", ["signature", "signature-input", "content-digest"])
def test_a_missing_field(name):
    headers = signed()
    del headers[name]
    assert refusal(headers) == "missing"


def test_another_body_method_path_or_server():
    assert refusal(signed(), body=BODY + b" ") == "digest"
    headers = signed() | {"content-digest": signed(body=b"x")["content-digest"]}
    assert refusal(headers, body=b"x") == "signature"
    assert refusal(signed(), method="GET") == "signature"
    assert refusal(signed(), path="/fed/v1/push") == "signature"
    assert refusal(signed(), host="other.example.org:8641") == "signature"


def test_another_key_in_the_parameters():
    other = Signer(bytes(32))
    headers = signed()
    text = headers["signature-input"]
    headers["signature-input"] = text.replace(b64(SIGNER.public), b64(other.public))
    assert refusal(headers) == "signature"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sm2tp=", "sig1="),
        ('"@query" ', ""),
        ("ed25519", "hmac-sha256"),
        ("sm2tp-fed-1", "sm2tp-fed-2"),
        ("created=17", "created=017"),
        (";alg", ";expires=2000000000;alg"),
    ],
)
def test_other_profiles_are_refused(old, new):
    headers = signed()
    headers["signature-input"] = headers["signature-input"].replace(old, new)
    assert refusal(headers) == "form"


def test_a_signed_event_is_no_signed_request_and_the_other_way_round():
    params = signed()["signature-input"].removeprefix("sm2tp=")
    text = base("POST", HOST, PATH, BODY, params)
    as_event = base64.b64encode(SIGNER.sign(EVENT, text)).decode()
    assert refusal(signed() | {"signature": f"sm2tp=:{as_event}:"}) == "signature"


def test_the_authority_is_lower_case_without_the_default_port():
    assert authority("Fed.Example.ORG:443") == "fed.example.org"
    assert authority("[2001:DB8::1]:8641") == "[2001:db8::1]:8641"


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(list(signed())), st.text(max_size=200)))
def test_no_header_raises_anything_else(fields):
    try:
        check("POST", HOST, PATH, signed() | fields, BODY, now=NOW, age=60)
    except Unsigned:
        return
    assert all(signed()[name] == value for name, value in fields.items())


def test_a_nonce_is_good_once_and_forgotten_after_its_time():
    nonces = Nonces(300)
    assert nonces.use(b"k", b"n", 0)
    assert not nonces.use(b"k", b"n", 299)
    assert nonces.use(b"other", b"n", 299)
    assert nonces.use(b"k", b"n", 300)


def test_a_full_memory_refuses_instead_of_forgetting():
    nonces = Nonces(300, most=2)
    assert nonces.use(b"k", b"1", 0)
    assert nonces.use(b"k", b"2", 0)
    assert not nonces.use(b"k", b"3", 0)
    assert not nonces.use(b"k", b"1", 1)
    assert nonces.use(b"k", b"3", 300)
