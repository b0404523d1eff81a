"""Group canon: texts that are, and that are not, the canonical ones of an object.

A name tells the defect. The good ones come first: they are what a decoder that
refuses too much would refuse.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from tools.federation_vectors.case import Case, spelled

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD: Final = (
    ("smallest", b'{"a":0}', "one field"),
    ("empty_string", b'{"a":""}', "a string, and nothing else, may be empty"),
    ("largest_integer", b'{"a":9007199254740991}', "2^53-1 fits a double exactly"),
    ("booleans", b'{"a":true,"b":false}', "booleans are values"),
    ("array_of_all", b'{"a":["x",1,true,["y"],{"b":2}]}', "every type in an array"),
    ("keys_by_byte", b'{"a":1,"a0":2,"a_":3,"aa":4,"b":5}', "0 < _ < a"),
    ("key_of_16", b'{"abcdefghij012345":1}', "16 characters are the longest key"),
    ("depth_4", b'{"a":{"b":[["x"]]}}', "four containers inside each other"),
    ("depth_4_twice", b'{"a":[[[1],[2]],[[3]]]}', "depth is counted, not brackets"),
    (
        "all_characters",
        b'{"a":"%s"}' % bytes(sorted(set(range(0x20, 0x7F)) - set(b'"\\'))),
        'printable ASCII without " and \\',
    ),
    ("brackets_in_string", b'{"a":"[[[[[[{{{{{{"}', "a string is no structure"),
    ("digits_in_string", b'{"a":"12345678901234567890"}', "a string is no integer"),
    ("slash", b'{"a":"https://x/"}', "a slash is written as it is"),
)

BAD: Final = (
    ("keys_out_of_order", b'{"b":1,"a":2}', "keys are sorted by byte"),
    ("inner_keys_out_of_order", b'{"a":{"c":1,"b":2}}', "in every object"),
    ("keys_in_array_out_of_order", b'{"a":[{"c":1,"b":2}]}', "also inside arrays"),
    ("underscore_before_digit", b'{"a_":1,"a0":2}', "0 sorts before _"),
    ("duplicate_key", b'{"a":1,"a":2}', "which one counts depends on the library"),
    ("duplicate_key_same_value", b'{"a":1,"a":1}', "not even with one value"),
    ("space_after_colon", b'{"a": 1}', "no white space"),
    ("space_after_comma", b'{"a":1, "b":2}', "no white space"),
    ("space_before", b' {"a":1}', "no white space around"),
    ("space_after", b'{"a":1} ', "no white space around"),
    ("newline_after", b'{"a":1}\n', "LF ends the line and is not part of the text"),
    ("crlf_after", b'{"a":1}\r\n', "CR LF is no line end here"),
    ("tab_inside", b'{"a":\t1}', "no white space"),
    ("tab_in_string", b'{"a":"\t"}', "a control character"),
    ("del_in_string", b'{"a":"\x7f"}', "DEL is a control character"),
    ("nul_in_string", b'{"a":"\0"}', "a control character"),
    ("escaped_quote", b'{"a":"\\""}', "strings have no quotes, so no escapes exist"),
    ("escaped_backslash", b'{"a":"\\\\"}', "no backslash"),
    ("escaped_slash", b'{"a":"\\/"}', "some libraries write it so by default"),
    ("escaped_letter", b'{"a":"\\u0041"}', "a second spelling of A"),
    ("escaped_key", b'{"\\u0061":1}', "a second spelling of a key"),
    ("escaped_newline", b'{"a":"\\n"}', "no control characters, even escaped"),
    ("lone_surrogate", b'{"a":"\\ud800"}', "no Unicode character"),
    ("escaped_astral", b'{"a":"\\ud83d\\ude00"}', "ASCII only"),
    ("utf8_letter", '{"a":"é"}'.encode(), "ASCII only: no question of NFC arises"),
    ("utf8_key", '{"é":1}'.encode(), "keys are ASCII"),
    ("utf8_astral", '{"a":"😀"}'.encode(), "ASCII only"),
    ("invalid_utf8", b'{"a":"\xff"}', "no UTF-8 at all"),
    ("overlong_utf8", b'{"a":"\xc1\x81"}', "an overlong A"),
    ("utf8_surrogate", b'{"a":"\xed\xa0\x80"}', "a surrogate in UTF-8"),
    ("byte_order_mark", b'\xef\xbb\xbf{"a":1}', "no BOM"),
    ("utf16", '{"a":1}'.encode("utf-16-le"), "some libraries guess the encoding"),
    ("utf32", '{"a":1}'.encode("utf-32-be"), "some libraries guess the encoding"),
    ("leading_zero", b'{"a":01}', "JSON has no leading zeros"),
    ("only_zeros", b'{"a":00}', "zero is one character"),
    ("minus_one", b'{"a":-1}', "no negative integers"),
    ("minus_zero", b'{"a":-0}', "a second spelling of zero"),
    ("plus_one", b'{"a":+1}', "JSON has no plus sign"),
    ("point_zero", b'{"a":1.0}', "no floats: 1.0 prints as 1 in some languages"),
    ("fraction", b'{"a":0.1}', "no floats"),
    ("exponent", b'{"a":1e2}', "no floats"),
    ("capital_exponent", b'{"a":1E2}', "no floats"),
    ("huge_exponent", b'{"a":1e999999999}', "no floats, nor their infinity"),
    ("hexadecimal", b'{"a":0x10}', "not JSON"),
    ("beyond_largest", b'{"a":9007199254740992}', "2^53 has a double neighbour"),
    ("beyond_double", b'{"a":9007199254740993}', "doubles round it to 2^53"),
    ("seventeen_digits", b'{"a":10000000000000000}', "more digits than 2^53-1"),
    ("beyond_64_bits", b'{"a":18446744073709551616}', "2^64 wraps in some languages"),
    ("null", b'{"a":null}', "a field that is not there is left out"),
    ("null_in_array", b'{"a":[null]}', "no null anywhere"),
    ("nan", b'{"a":NaN}', "not JSON, and Python reads it"),
    ("infinity", b'{"a":Infinity}', "not JSON, and Python reads it"),
    ("minus_infinity", b'{"a":-Infinity}', "not JSON, and Python reads it"),
    ("capital_true", b'{"a":True}', "not JSON"),
    ("top_array", b'[{"a":1}]', "the text is an object"),
    ("top_string", b'"a"', "the text is an object"),
    ("top_integer", b"1", "the text is an object"),
    ("top_true", b"true", "the text is an object"),
    ("nothing", b"", "the text is an object"),
    ("empty_object", b"{}", "PHP cannot tell it from an empty array"),
    ("inner_empty_object", b'{"a":{}}', "PHP cannot tell it from an empty array"),
    ("inner_empty_array", b'{"a":[]}', "an empty field is left out"),
    ("array_in_array_empty", b'{"a":[[]]}', "an empty field is left out"),
    ("depth_5", b'{"a":{"b":[["x",[1]]]}}', "five containers inside each other"),
    ("depth_5_objects", b'{"a":{"a":{"a":{"a":{"a":1}}}}}', "of either sort"),
    ("trailing_comma", b'{"a":1,}', "not JSON"),
    ("trailing_comma_array", b'{"a":[1,]}', "not JSON"),
    ("missing_comma", b'{"a":1"b":2}', "not JSON"),
    ("missing_colon", b'{"a"1}', "not JSON"),
    ("trailing_brace", b'{"a":1}}', "bytes after the object"),
    ("two_objects", b'{"a":1}{"a":1}', "bytes after the object"),
    ("trailing_zero_byte", b'{"a":1}\0', "bytes after the object"),
    ("cut_off", b'{"a":1', "the object does not end"),
    ("cut_in_string", b'{"a":"x', "the string does not end"),
    ("cut_after_backslash", b'{"a":"x\\', "neither does this one"),
    ("single_quotes", b"{'a':1}", "not JSON"),
    ("bare_key", b"{a:1}", "not JSON"),
    ("comment", b'{"a":1/**/}', "not JSON"),
    ("key_empty", b'{"":1}', "a key has 1 to 16 characters"),
    ("key_of_17", b'{"abcdefghij0123456":1}', "16 characters are the longest key"),
    ("key_capital", b'{"A":1}', "keys are lower case"),
    ("key_digit_first", b'{"1":1}', "PHP makes an integer of such a key"),
    ("key_underscore_first", b'{"_a":1}', "a key begins with a letter"),
    ("key_hyphen", b'{"a-b":1}', "letters, digits and underscore"),
    ("key_space", b'{"a ":1}', "letters, digits and underscore"),
    ("inner_key_capital", b'{"a":[{"B":1}]}', "keys of every object"),
)

DEEP: Final = (
    (
        "deep_100000_arrays",
        spelled(b"[", 100_000, b'{"a":'),
        "a recursive parser ends badly",
    ),
    ("deep_100000_closed", spelled(b"]", 100_000, b'{"a":'), "closed, never opened"),
    (
        "deep_100000_objects",
        spelled(b'{"a":', 100_000),
        "a recursive parser ends badly",
    ),
    ("digits_5000", spelled(b"9", 5_000, b'{"a":', b"}"), "more than any integer type"),
    ("zeros_5000", spelled(b"0", 5_000, b'{"a":1', b"}"), "a power of ten, as long"),
    ("digits_minus_5000", spelled(b"9", 5_000, b'{"a":-', b"}"), "as long, negative"),
    (
        "digits_5000_exponent",
        spelled(b"9", 5_000, b'{"a":1e', b"}"),
        "an exponent as long",
    ),
    ("quotes_99999", spelled(b'"', 99_999, b'{"a":'), "strings of nothing"),
)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _binary() -> Iterator[tuple[str, str, int, Any, str]]:
    bad = {"code": "bad-form"}
    for length in (6, 16, 32, 64):
        data = bytes(range(251, 251 - length, -1))
        yield (
            f"b64_{length}",
            _b64(data),
            length,
            {"hex": data.hex()},
            "as it should be",
        )
    yield "b64_url_letters", "-_-_-_-_", 6, {"hex": "fbffbffbffbf"}, "RFC 4648 5"
    yield "b64_standard_letters", "+/+/+/+/", 6, bad, "RFC 4648 4 is another alphabet"
    yield "b64_padding", _b64(bytes(16)) + "==", 16, bad, "no padding"
    yield "b64_last_bits_16", "A" * 21 + "B", 16, bad, "four unused bits are zero"
    yield "b64_last_bits_32", "A" * 42 + "B", 32, bad, "two unused bits are zero"
    yield "b64_last_bits_64", "A" * 85 + "P", 64, bad, "four unused bits are zero"
    yield "b64_short", _b64(bytes(31)), 32, bad, "a byte less"
    yield "b64_long", _b64(bytes(33)), 32, bad, "a byte more"
    yield "b64_one_letter_more", "A" * 45, 32, bad, "a letter that holds no byte"
    yield "b64_empty", "", 16, bad, "nothing is not sixteen zero bytes"
    yield "b64_space", " " + "A" * 21, 16, bad, "no white space"
    yield "b64_newline", "A" * 21 + "\n", 16, bad, "decoders skip it"
    yield "b64_foreign_letter", "A" * 21 + "é", 16, bad, "no letter of the alphabet"
    yield "b64_hexadecimal", "00" * 16, 16, bad, "hexadecimal is no base64url"


def cases() -> Iterator[Case]:
    """Return the vectors of the group."""
    for name, text, why in GOOD:
        yield Case(name, spelled(text), {"code": "ok"}, why)
    for name, text, why in BAD:
        yield Case(name, spelled(text), {"code": "bad-form"}, why)
    for name, question, why in DEEP:
        yield Case(name, question, {"code": "bad-form"}, why)
    for name, value, length, expect, why in _binary():
        yield Case(name, {"b64": value, "length": length}, expect, why)
