"""Group event: lines that are read, or not, with their id and weight.

Lines are put together here, byte by byte, and not by federation/format/event.py; each
mutation of a header is signed again, so that one thing only is wrong with it.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from federation.format.profile import b64
from federation.format.signing import EVENT, ROTATE, Signer
from tools.federation_vectors._bodies import GOOD, IDS, TAGS, WRONG, stream
from tools.federation_vectors.case import NET, NODE, OTHER, ROOT, T0, Case, spelled
from tools.federation_vectors.curve import secret_of
from tools.federation_vectors.keys import signature_with

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY: Final = GOOD["rcpt.hard"][0]
HEAD: Final[dict[str, Any]] = {
    "v": 1,
    "net": NET,
    "org": b64(ROOT.public),
    "key": b64(NODE.public),
    "st": "h",
    "inc": T0,
    "seq": 1,
    "prev": "",
    "ts": T0 + 100,
    "k": "rcpt.hard",
    "n": b64(bytes(16)),
    "b": BODY,
}
SPACES: Final = {"sort_keys": True, "separators": (",", ":")}
WORKED: Final = (
    "sszVWtrEytovAzODPj04R5S2ZMKTwQAqk1p77v0bfRd7IukJLdjLv3h2NBKln-_dMGIKO9kIHhHA6JZO"
    'Ie5cCg {"b":{"cnt":1,"code":"5.1.1","last":1789999200,"pk":"uwBm6_w3","r":"I8caEx'
    'MMKfKfy88idYfDpg","smtp":550,"via":"smtp"},"inc":1790000000,"k":"rcpt.hard","key"'
    ':"Kay64UG8yvCyLhqU000LxzYeUm0L_hLIl5S8kyKWbdc","n":"AAAAAAAAAAAAAAAAAAAAAA","net"'
    ':"test","org":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg","prev":"","seq":1,"st'
    '":"h","ts":1790000100,"v":1}\n'
)
"""The worked example of the first draft; its id was published with it."""
WORKED_ID: Final = "_YCS4F-k8Jo7wSc2mw8vjN2HTAvvYLz16kKiKmpFGDI"


def text(fields: dict[str, Any]) -> bytes:
    """Return the JSON text of a header with its body."""
    return json.dumps(fields, **SPACES).encode()


def signed(raw: bytes, signer: Signer = NODE, context: bytes = EVENT) -> bytes:
    """Return the line of any bytes, signed."""
    return b64(signer.sign(context, raw)).encode() + b" " + raw + b"\n"


def ident(raw: bytes) -> str:
    """Return the id of an event's bytes."""
    return b64(sha256(b"SM2TP-FED/1 id\n" + raw).digest())


def read(
    name: str, line: bytes | dict[str, Any], expect: dict[str, Any], why: str
) -> Case:
    """Return the case of reading a line, bytes or already spelled."""
    shown = spelled(line) if isinstance(line, bytes) else line
    return Case(name, {"do": "read", "net": NET, "line": shown}, expect, why)


def good(name: str, fields: dict[str, Any], why: str, *, weight: bool = True) -> Case:
    """Return the case of a line that is accepted."""
    raw = text(fields)
    expect = {"code": "ok", "id": ident(raw), "weight": weight}
    return read(name, signed(raw), expect, why)


def bad(name: str, fields: dict[str, Any], why: str, code: str = "bad-form") -> Case:
    """Return the case of a line whose header is wrong."""
    return read(name, signed(text(fields)), {"code": code}, why)


def cases() -> Iterator[Case]:
    """Return the vectors of the group."""
    yield read(
        "worked_example",
        WORKED.encode(),
        {"code": "ok", "id": WORKED_ID, "weight": True},
        "the example of the first draft",
    )
    for kind, bodies in GOOD.items():
        for number, body in enumerate(bodies):
            fields = {**HEAD, "k": kind, "st": stream(kind), "b": body}
            name = f"{kind.replace('.', '_')}_{number}"
            yield good(name, fields, "a body of its form")
            if not number:
                yield _written(f"{name}_written", fields)
    yield good(
        "fix_retract_soft",
        {**HEAD, "k": "fix.retract", "st": "s", "b": GOOD["fix.retract"][0]},
        "a retraction stands in the stream of its target",
    )
    yield from _weightless()
    yield from _headers()
    yield from _lines()
    yield from _lengths()
    yield from _stubs()


def _written(name: str, fields: dict[str, Any]) -> Case:
    names = ("net", "org", "st", "inc", "seq", "prev", "ts", "k", "n")
    question = {
        "do": "write",
        "seed": NODE.seed.hex(),
        "header": {name: fields[name] for name in names},
        "body": fields["b"],
    }
    line = signed(text(fields)).decode()
    return Case(name, question, {"code": "ok", "line": line}, "one line, byte for byte")


def _weightless() -> Iterator[Case]:
    seen: dict[str, int] = {}
    for kind, field, value in WRONG:
        base = next((body for body in GOOD[kind] if field in body), GOOD[kind][0])
        fields = {**HEAD, "k": kind, "st": stream(kind), "b": {**base, field: value}}
        name = f"no_weight_{kind.replace('.', '_')}_{field}"
        seen[name] = seen.get(name, 0) + 1
        yield good(
            f"{name}_{seen[name]}",
            fields,
            f"{field} is not of its form",
            weight=False,
        )
    for kind, bodies in GOOD.items():
        needed = set.intersection(*map(set, bodies))
        for field in sorted(needed):
            body = {key: value for key, value in bodies[0].items() if key != field}
            fields = {**HEAD, "k": kind, "st": stream(kind), "b": body or {"x": 1}}
            yield good(
                f"no_weight_{kind.replace('.', '_')}_without_{field}",
                fields,
                f"{field} is missing",
                weight=False,
            )
        wrong = "s" if stream(kind) != "s" else "h"
        if kind == "fix.retract":
            wrong = "c"
        yield good(
            f"no_weight_{kind.replace('.', '_')}_in_stream_{wrong}",
            {**HEAD, "k": kind, "st": wrong, "b": bodies[0]},
            "another retention; who does not know the kind stores it too",
            weight=False,
        )
    others = (
        ("kind", {"k": "foo.bar"}, "a kind of a later version"),
        ("test_kind", {"k": "xfoo.bar"}, "a kind under test begins with x"),
        ("field", {"b": {**BODY, "extra": 1}}, "a field that the kind does not have"),
        ("type", {"b": {**BODY, "r": {"tag": TAGS[0]}}}, "a known field, another type"),
    )
    for name, change, why in others:
        yield good(f"no_weight_unknown_{name}", {**HEAD, **change}, why, weight=False)


def _headers() -> Iterator[Case]:
    changes: tuple[tuple[str, str, Any, str], ...] = (
        ("v_2", "v", 2, "another version has another line"),
        ("v_0", "v", 0, "there is no version 0"),
        ("v_string", "v", "1", "v is an integer"),
        ("v_true", "v", True, "true is no integer, whatever Python says"),
        ("net_capital", "net", "Test", "1 to 32 of a-z, 0-9 and hyphen"),
        ("net_empty", "net", "", "1 to 32 characters"),
        ("net_of_33", "net", "n" * 33, "1 to 32 characters"),
        ("net_integer", "net", 1, "net is a string"),
        ("org_short", "org", b64(bytes(31)), "32 bytes"),
        ("org_long", "org", b64(bytes(33)), "32 bytes"),
        ("org_last_bits", "org", HEAD["org"][:-1] + "h", "two unused bits are set"),
        ("org_padding", "org", HEAD["org"] + "=", "no padding"),
        ("org_array", "org", [HEAD["org"]], "org is a string"),
        ("org_empty", "org", "", "32 bytes"),
        ("key_short", "key", b64(bytes(31)), "32 bytes"),
        ("key_last_bits", "key", HEAD["key"][:-1] + "d", "two unused bits are set"),
        ("key_object", "key", {"key": HEAD["key"]}, "key is a string"),
        ("st_unknown", "st", "x", "c, h or s"),
        ("st_long", "st", "hs", "one of them"),
        ("st_empty", "st", "", "one of them"),
        ("st_integer", "st", 1, "st is a string"),
        ("inc_after_ts", "inc", T0 + 101, "a log is opened before its events"),
        ("inc_string", "inc", str(T0), "inc is an integer"),
        ("inc_false", "inc", False, "false is no integer"),
        ("seq_0", "seq", 0, "the first event is number 1"),
        ("seq_2_without_prev", "seq", 2, "only the first event has no prev"),
        ("seq_string", "seq", "1", "seq is an integer"),
        ("seq_true", "seq", True, "true is no integer"),
        ("prev_at_1", "prev", IDS[0], "the first event has no prev"),
        ("prev_array", "prev", ["x"], "prev is a string"),
        ("ts_year_10000", "ts", 253_402_300_800, "calendars end with the year 9999"),
        ("ts_largest", "ts", 2**53 - 1, "calendars end with the year 9999"),
        ("ts_string", "ts", str(T0), "ts is an integer"),
        ("k_capital", "k", "Rcpt.hard", "lower case"),
        ("k_without_dot", "k", "rcpthard", "two words and a dot"),
        ("k_two_dots", "k", "rcpt.hard.er", "two words and a dot"),
        ("k_empty_word", "k", "rcpt.", "words are not empty"),
        ("k_digit", "k", "rcpt.hard2", "letters only"),
        ("k_of_17", "k", "rcpt." + "h" * 17, "1 to 16 letters each"),
        ("k_integer", "k", 1, "k is a string"),
        ("n_short", "n", b64(bytes(15)), "16 bytes"),
        ("n_long", "n", b64(bytes(17)), "16 bytes"),
        ("n_last_bits", "n", "A" * 21 + "B", "four unused bits are set"),
        ("n_integer", "n", 0, "n is a string"),
        ("b_string", "b", "x", "b is an object"),
        ("b_array", "b", [BODY], "b is an object"),
        ("b_empty", "b", {}, "no object is empty"),
        (
            "b_depth_5",
            "b",
            {"a": {"b": {"c": {"d": 1}}}},
            "depth is counted from the top",
        ),
    )
    for name, field, value, why in changes:
        yield bad(f"head_{name}", {**HEAD, field: value}, why)
    for field in HEAD:
        rest = {key: value for key, value in HEAD.items() if key != field}
        yield bad(f"head_without_{field}", rest, f"{field} is missing")
    yield bad("head_extra", {**HEAD, "x": 1}, "a header has its twelve fields")
    second = {**HEAD, "seq": 2, "prev": b64(bytes(31))}
    yield bad("head_prev_short", second, "32 bytes")
    yield bad("head_prev_last_bits", {**second, "prev": "A" * 42 + "B"}, "unused bits")
    yield bad("head_other_net", {**HEAD, "net": "prod"}, "another network", "wrong-net")
    yield bad(
        "head_other_key",
        {**HEAD, "key": b64(OTHER.public)},
        "not signed by it",
        "bad-sig",
    )
    yield bad(
        "head_small_key", {**HEAD, "key": b64(bytes(32))}, "of small order", "bad-sig"
    )
    yield good(
        "head_other_org", {**HEAD, "org": b64(OTHER.public)}, "a grant is asked later"
    )
    yield good(
        "head_numbers_largest",
        {**HEAD, "seq": 2**53 - 1, "prev": IDS[0], "ts": 253_402_300_799},
        "the largest numbers are numbers; whether they fit a log is asked later",
    )
    yield good("head_inc_0", {**HEAD, "inc": 0}, "zero is a time")
    yield good("head_inc_is_ts", {**HEAD, "inc": T0 + 100}, "opened with this event")
    yield good("head_net_of_32", {**HEAD}, "as it should be")


def _lines() -> Iterator[Case]:
    raw = text(HEAD)
    line = signed(raw)
    sig, form = line[:86], {"code": "bad-form"}
    wrong: tuple[tuple[str, bytes, str], ...] = (
        ("empty", b"", "nothing"),
        ("only_newline", b"\n", "nothing"),
        ("without_newline", line[:-1], "a line ends with LF"),
        ("crlf", line[:-1] + b"\r\n", "and with nothing else"),
        ("two_newlines", line + b"\n", "one line at a time"),
        ("two_lines", line + line, "one line at a time"),
        (
            "without_space",
            sig + raw + b"\n",
            "a space parts the signature from the JSON",
        ),
        ("two_spaces", sig + b"  " + raw + b"\n", "one space"),
        ("tab", sig + b"\t" + raw + b"\n", "a space is 0x20"),
        ("space_first", b" " + line, "the signature comes first"),
        ("space_last", line[:-1] + b" \n", "nothing after the object"),
        ("without_signature", b" " + raw + b"\n", "86 characters"),
        ("signature_of_85", sig[:-1] + b" " + raw + b"\n", "86 characters"),
        ("signature_of_87", sig + b"A " + raw + b"\n", "86 characters"),
        ("signature_padded", sig + b"== " + raw + b"\n", "no padding"),
        (
            "signature_last_bits",
            sig[:-1] + _next(sig[-1]) + b" " + raw + b"\n",
            "unused bits are set",
        ),
        ("signature_not_ascii", b"\xff" * 86 + b" " + raw + b"\n", "no base64url"),
        ("json_first", raw + b" " + sig + b"\n", "the signature comes first"),
        ("byte_order_mark", b"\xef\xbb\xbf" + line, "no BOM"),
        ("no_json", sig + b" \n", "no object"),
        ("stub", f"- {IDS[0]} h {T0} 1 {IDS[1]}\n".encode(), "a stub is no event"),
    )
    for name, bytes_, why in wrong:
        yield read(f"line_{name}", bytes_, form, why)
    spaced = json.dumps(HEAD, sort_keys=True).encode()
    yield read(
        "line_respaced", signed(spaced), form, "same meaning, other bytes; signed"
    )
    turned = json.dumps(dict(sorted(HEAD.items(), reverse=True)), separators=(",", ":"))
    yield read("line_reordered", signed(turned.encode()), form, "other order; signed")
    twice = raw.replace(b'"inc":', b'"inc":1,"inc":', 1)
    yield read("line_duplicate_key", signed(twice), form, "inc twice; signed")
    yield read(
        "line_of_another_context",
        signed(raw, context=ROTATE),
        {"code": "bad-sig"},
        "signed as a rotation",
    )
    yield read(
        "line_without_context",
        signed(raw, context=b""),
        {"code": "bad-sig"},
        "the bytes alone are signed",
    )
    yield read(
        "line_other_signer", signed(raw, OTHER), {"code": "bad-sig"}, "by another key"
    )
    changed = line.replace(b'"cnt":1', b'"cnt":2')
    yield read("line_changed_body", changed, {"code": "bad-sig"}, "changed on its way")
    flipped = (b"B" if line[:1] == b"A" else b"A") + line[1:]
    yield read(
        "line_changed_signature", flipped, {"code": "bad-sig"}, "one letter of R"
    )
    other = signature_with(secret_of(NODE.seed), 12345, EVENT + raw)
    yield read(
        "line_second_signature",
        b64(other).encode() + b" " + raw + b"\n",
        {"code": "ok", "id": ident(raw), "weight": True},
        "a second valid signature of the same bytes: the same id, so no fork",
    )


def _next(letter: int) -> bytes:
    """Return a last letter that differs in unused bits only."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    place = alphabet.index(letter) + 1
    return alphabet[place : place + 1]


def _filled(length: int, fields: dict[str, Any]) -> bytes:
    """Return a signed line of exactly ``length`` bytes, filled up in b.fill."""
    bare = {**fields, "b": {**fields["b"], "fill": ""}}
    room = length - len(signed(text(bare)))
    return signed(text({**fields, "b": {**fields["b"], "fill": "x" * room}}))


def _lengths() -> Iterator[Case]:
    proof = {**HEAD, "k": "proof.fork", "st": "c", "b": GOOD["proof.fork"][0]}
    for name, length, fields in (
        ("2048", 2048, HEAD),
        ("proof_2049", 2049, proof),
        ("proof_8192", 8192, proof),
    ):
        line = _filled(length, fields)
        expect = {"code": "ok", "id": ident(line[87:-1]), "weight": False}
        yield read(f"length_{name}", line, expect, "the longest allowed, or below")
    for name, length, fields in (("2049", 2049, HEAD), ("proof_8193", 8193, proof)):
        yield read(
            f"length_{name}",
            _filled(length, fields),
            {"code": "too-long"},
            "a byte too many, LF included",
        )
    yield read(
        "length_8193_of_nothing",
        spelled(b"x", 8192, after=b"\n"),
        {"code": "too-long"},
        "the length is looked at before the form",
    )
    yield read(
        "length_2049_not_json",
        spelled(b"x", 2048, after=b"\n"),
        {"code": "bad-form"},
        "which limit holds is known when the kind is",
    )


def _stubs() -> Iterator[Case]:
    key, last = IDS[0], IDS[1]

    def stub(name: str, line: str, why: str, *, fine: bool = False) -> Case:
        question = {"do": "stub", "line": spelled(line.encode("latin-1"))}
        expect = {"code": "ok", "id": last} if fine else {"code": "bad-form"}
        return Case(f"stub_{name}", question, expect, why)

    yield stub(
        "good", f"- {key} h {T0} 1 {last}\n", "key, stream, inc, seq, id", fine=True
    )
    yield stub(
        "largest",
        f"- {key} s 253402300799 9007199254740991 {last}\n",
        "the largest numbers",
        fine=True,
    )
    yield stub("inc_0", f"- {key} c 0 7 {last}\n", "zero is a time", fine=True)
    for name, line, why in (
        ("without_newline", f"- {key} h {T0} 1 {last}", "a line ends with LF"),
        ("seq_0", f"- {key} h {T0} 0 {last}\n", "numbers begin with 1"),
        ("leading_zero", f"- {key} h {T0} 01 {last}\n", "one spelling"),
        ("plus", f"- {key} h {T0} +1 {last}\n", "digits only"),
        ("seq_too_large", f"- {key} h {T0} 9007199254740992 {last}\n", "2^53"),
        ("inc_too_large", f"- {key} h 253402300800 1 {last}\n", "the year 10000"),
        ("digits_100", f"- {key} h {T0} {'9' * 100} {last}\n", "more than a number"),
        ("stream", f"- {key} x {T0} 1 {last}\n", "c, h or s"),
        ("key_last_bits", f"- {key[:-1]}F h {T0} 1 {last}\n", "unused bits are set"),
        ("id_last_bits", f"- {key} h {T0} 1 {last[:-1]}J\n", "unused bits are set"),
        ("two_spaces", f"-  {key} h {T0} 1 {last}\n", "one space"),
        ("field_more", f"- {key} h {T0} 1 {last} x\n", "five fields"),
        ("not_ascii_digit", f"- {key} h {T0} \xb2 {last}\n", "ASCII digits"),
    ):
        yield stub(name, line, why)
