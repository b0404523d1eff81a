"""Group addr: addresses, their canonical form, and their tags by two peppers.

The canonical forms are written down here by hand. Characters outside ASCII are
old enough to be in every version of Unicode that is in use.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Final

from federation.format.profile import b64
from tools.federation_vectors.case import PEPPERS, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

LABEL_63: Final = "d" * 63
DOMAIN_253: Final = ".".join([LABEL_63, LABEL_63, LABEL_63, "d" * 61])

GOOD: Final = (
    ("plain", "nobody@example.org", "nobody@example.org", "nothing to do"),
    (
        "capital_local",
        "Nobody@example.org",
        "nobody@example.org",
        "case of ASCII letters",
    ),
    ("capital_domain", "nobody@EXAMPLE.Org", "nobody@example.org", "case of a domain"),
    ("trailing_dot", "nobody@example.org.", "nobody@example.org", "one dot at the end"),
    ("plus", "a+b@example.org", "a+b@example.org", "a+b may be dead while a lives"),
    ("dots", "j.o.e@example.org", "j.o.e@example.org", "dots stay, for every provider"),
    ("gmail_dots", "J.Doe+x@gmail.com", "j.doe+x@gmail.com", "no provider is special"),
    (
        "googlemail",
        "joe@googlemail.com",
        "joe@googlemail.com",
        "nor are two of its names",
    ),
    ("hyphen", "joe-list@example.org", "joe-list@example.org", "no detail is cut off"),
    (
        "specials",
        "!#$%&'*+-/=?^_`{|}~@example.org",
        "!#$%&'*+-/=?^_`{|}~@example.org",
        "all characters of an atom, RFC 5322 3.2.3",
    ),
    (
        "percent",
        "a%b@example.org",
        "a%b@example.org",
        "no source route is read into it",
    ),
    ("digits", "12345@example.org", "12345@example.org", "digits are an atom"),
    ("single_letter", "a@b.cc", "a@b.cc", "short is fine"),
    (
        "quoted_needless",
        '"nobody"@example.org',
        "nobody@example.org",
        "quotes not needed",
    ),
    ("quoted_dots", '"a.b"@example.org', "a.b@example.org", "quotes not needed"),
    ("quoted_capital", '"A"@example.org', "a@example.org", "case of ASCII letters"),
    (
        "quoted_pair_needless",
        r'"n\obody"@example.org',
        "nobody@example.org",
        r"\o is o",
    ),
    ("quoted_space", '"a b"@example.org', '"a b"@example.org', "quotes are needed"),
    (
        "quoted_space_pair",
        r'"a\ b"@example.org',
        '"a b"@example.org',
        "pair not needed",
    ),
    (
        "quoted_capital_space",
        '"A B"@example.org',
        '"a b"@example.org',
        "case, in quotes",
    ),
    ("quoted_quote", r'"a\"b"@example.org', r'"a\"b"@example.org', "pair is needed"),
    (
        "quoted_backslash",
        r'"a\\b"@example.org',
        r'"a\\b"@example.org',
        "pair is needed",
    ),
    ("quoted_at", '"a@b"@example.org', '"a@b"@example.org', "the last @ divides"),
    ("quoted_comma", '"a,b"@example.org', '"a,b"@example.org', "quotes are needed"),
    ("quoted_two_dots", '"a..b"@example.org', '"a..b"@example.org', "no dot-atom"),
    ("bare_two_dots", "a..b@example.org", '"a..b"@example.org', "the same mailbox"),
    ("bare_dot_first", ".a@example.org", '".a"@example.org', "the same as in quotes"),
    ("bare_dot_last", "a.@example.org", '"a."@example.org', "the same as in quotes"),
    ("only_dot", ".@example.org", '"."@example.org', "the same as in quotes"),
    (
        "quoted_only_space",
        '" "@example.org',
        '" "@example.org',
        "a mailbox all the same",
    ),
    ("idn", "post@bücher.example", "post@xn--bcher-kva.example", "U-label to A-label"),
    (
        "idn_capital",
        "post@BÜCHER.example",
        "post@xn--bcher-kva.example",
        "UTS 46 maps case",
    ),
    (
        "idn_decomposed",
        "post@bu\u0308cher.example",
        "post@xn--bcher-kva.example",
        "UTS 46 normalises",
    ),
    (
        "idn_already",
        "post@XN--BCHER-KVA.example",
        "post@xn--bcher-kva.example",
        "an A-label is ASCII and stays",
    ),
    (
        "idn_sharp_s",
        "post@straße.example",
        "post@xn--strae-oqa.example",
        "non-transitional: not strasse",
    ),
    (
        "idn_greek_final_sigma",
        "post@βόλος.example",
        "post@xn--nxasmm1c.example",
        "non-transitional: the final sigma stays",
    ),
    (
        "idn_cyrillic",
        "почта@пример.example",
        "почта@xn--e1afmkfd.example",
        "both parts",
    ),
    (
        "idn_cyrillic_lookalike",
        "post@\u0435\u0445\u0430mple.org",
        "post@xn--mple-43d3a6i.org",
        "Cyrillic letters that look like e, x, a: another domain, another tag",
    ),
    (
        "idn_fullwidth",
        "post@\uff45\uff58ample.org",
        "post@example.org",
        "UTS 46 maps width",
    ),
    (
        "idn_ideographic_dot",
        "post@例え。テスト",
        "post@xn--r8jz45g.xn--zckzah",
        "is a dot",
    ),
    (
        "idn_trailing_dot",
        "post@bücher.example.",
        "post@xn--bcher-kva.example",
        "one dot",
    ),
    ("local_nfc", "jürgen@example.org", "jürgen@example.org", "NFC stays"),
    ("local_nfd", "ju\u0308rgen@example.org", "jürgen@example.org", "NFD becomes NFC"),
    (
        "local_ascii_case",
        "JÜRGEN@example.org",
        "jÜrgen@example.org",
        "only ASCII is folded",
    ),
    (
        "local_nfd_capital",
        "U\u0308@example.org",
        "Ü@example.org",
        "NFC first: the letter is not ASCII any more when case is folded",
    ),
    (
        "local_nfc_after_case",
        "H\u0331@example.org",
        "\u1e96@example.org",
        "NFC again: the macron below joins with the small letter only",
    ),
    ("local_kelvin", "\u212a@example.org", "k@example.org", "its NFC is the letter K"),
    ("local_not_nfkc", "ﬁn@example.org", "ﬁn@example.org", "NFC, not NFKC: fi stays"),
    (
        "local_astral",
        "\U0001f600@example.org",
        "\U0001f600@example.org",
        "RFC 6531 3.3",
    ),
    ("local_quoted_utf8", '"ü"@example.org', "ü@example.org", "quotes not needed"),
    ("local_quoted_utf8_space", '"ü b"@example.org', '"ü b"@example.org', "needed"),
    ("underscore_domain", "a@a_b.example.org", "a@a_b.example.org", "met in real mail"),
    ("label_of_63", f"a@{LABEL_63}.org", f"a@{LABEL_63}.org", "the longest label"),
    ("digits_label", "a@123.example", "a@123.example", "a label may be a number"),
    ("letters_after_digits", "a@example.3com", "a@example.3com", "not a number"),
    (
        "octets_254",
        "l" * 64 + "@" + "d" * 63 + "." + "d" * 63 + "." + "d" * 61,
        "l" * 64 + "@" + "d" * 63 + "." + "d" * 63 + "." + "d" * 61,
        "the longest address, RFC 5321 4.5.3.1.3",
    ),
    (
        "long_local",
        "l" * 120 + "@example.org",
        "l" * 120 + "@example.org",
        "met in VERP",
    ),
)

BAD: Final = (
    ("empty", "", "the null sender"),
    ("angle_brackets_only", "<>", "the null sender, with its brackets"),
    ("no_at", "nobody", "no domain"),
    ("postmaster", "postmaster", "no domain: RFC 5321 4.5.1 means the local host"),
    ("no_local", "@example.org", "no local part"),
    ("no_domain", "nobody@", "no domain"),
    ("quoted_empty", '""@example.org', "an empty mailbox"),
    ("angle_brackets", "<nobody@example.org>", "a path, not an address"),
    ("display_name", "No Body <nobody@example.org>", "a header's text, not an address"),
    ("comment", "nobody(x)@example.org", "no comments in an envelope"),
    ("source_route", "@a.example,@b.example:c@d.example", "no source routes"),
    ("two_at", "a@b@example.org", "@ is quoted in a local part"),
    ("space_before", " nobody@example.org", "no white space"),
    ("space_after", "nobody@example.org ", "no white space"),
    ("newline", "nobody@example.org\n", "no white space"),
    ("space_inside", "no body@example.org", "would need quotes"),
    ("bare_backslash", r"no\body@example.org", "would need quotes"),
    ("open_quote", '"nobody@example.org', "the quoted string does not end"),
    ("quote_inside", 'no"body"@example.org', "quoted as a whole or not at all"),
    ("quote_unescaped", '"a"b"@example.org', "a quote needs its pair"),
    ("pair_at_end", '"a\\"@example.org', "the pair takes the closing quote"),
    ("control_local", "no\x07body@example.org", "a control character"),
    ("control_quoted", '"no\tbody"@example.org', "a control character"),
    ("del_local", "no\x7fbody@example.org", "a control character"),
    ("literal_v4", "nobody@[192.0.2.1]", "an address literal"),
    ("literal_v6", "nobody@[IPv6:2001:db8::1]", "an address literal"),
    ("bare_v4", "nobody@192.0.2.1", "a number at the end is no top-level domain"),
    ("one_label", "root@localhost", "means another host to everybody"),
    ("one_label_dot", "root@localhost.", "means another host to everybody"),
    ("two_trailing_dots", "nobody@example.org..", "an empty label"),
    ("leading_dot", "nobody@.example.org", "an empty label"),
    ("empty_label", "nobody@example..org", "an empty label"),
    ("only_dots", "nobody@..", "empty labels"),
    ("hyphen_first", "nobody@-example.org", "RFC 952, RFC 1123 2.1"),
    ("hyphen_last", "nobody@example-.org", "RFC 952, RFC 1123 2.1"),
    ("label_of_64", f"nobody@{'d' * 64}.org", "labels have 63 octets at most"),
    ("domain_space", "nobody@exa mple.org", "no character of a domain"),
    ("domain_slash", "nobody@example.org/x", "no character of a domain"),
    (
        "octets_255",
        "l" * 64 + "@" + "d" * 63 + "." + "d" * 63 + "." + "d" * 62,
        "longest",
    ),
    (
        "octets_255_given",
        '"' + "\\l" * 121 + '"@example.org',
        "too long as it is given, though not without its pairs",
    ),
    ("octets_not_characters", "ü" * 122 + "@example.org", "256 octets in UTF-8"),
    ("domain_253", f"a@{DOMAIN_253}", "255 octets with its local part"),
    ("idn_disallowed", "nobody@☃.example", "a snowman is no letter: IDNA 2008"),
    ("idn_label_too_long", f"nobody@{'ü' * 60}.example", "its A-label is too long"),
    ("idn_underscore", "nobody@bü_cher.example", "no underscore in a U-label"),
)


def tags(canon: str) -> list[dict[str, str]]:
    """Return the tags of a canonical form, by each pepper."""

    def tag(pepper: bytes, what: bytes) -> str:
        text = b"SM2TP-FED/1 " + what + b"\n" + canon.encode()
        return b64(hmac.new(pepper, text, hashlib.sha256).digest()[:16])

    return [
        {
            "pk": b64(hashlib.sha256(b"SM2TP-FED/1 pepper\n" + pepper).digest()[:6]),
            "r": tag(pepper, b"rcpt"),
            "s": tag(pepper, b"send"),
        }
        for pepper in PEPPERS
    ]


def cases() -> Iterator[Case]:
    """Return the vectors of the group."""

    def question(address: str) -> dict[str, Any]:
        return {"address": address, "peppers": [one.hex() for one in PEPPERS]}

    for name, address, canon, why in GOOD:
        expect = {"canon": canon, "tags": tags(canon)}
        yield Case(name, question(address), expect, why)
    for name, address, why in BAD:
        yield Case(f"no_{name}", question(address), {"code": "not-shareable"}, why)
