"""Commands taken apart, and values kept as they came."""

import pytest

from shaper.core.xtext import decode_xtext, encode_xtext
from shaper.smtp.parameters import (
    CommandError,
    attribute_lines,
    declared_size,
    parse_attributes,
    parse_path,
)


@pytest.mark.parametrize(
    ("argument", "address", "parameters"),
    [
        ("FROM:<a@b.test>", "a@b.test", ()),
        ("from: <A@B.test> SIZE=10", "A@B.test", ("SIZE=10",)),
        ("FROM:<>", "", ()),
        ("FROM:<> ret=HDRS ENVID=QQ314159", "", ("ret=HDRS", "ENVID=QQ314159")),
        ('FROM:<"a b>c"@d.test>', '"a b>c"@d.test', ()),
        ('FROM:<"a\\"b"@d.test>', '"a\\"b"@d.test', ()),
        ("FROM:<@x.test,@y.test:a@b.test>", "@x.test,@y.test:a@b.test", ()),
        ("FROM:a@b.test", "a@b.test", ()),
        ("FROM:<é@b.test> SMTPUTF8", "é@b.test", ("SMTPUTF8",)),
        ("FROM:<a@b> AUTH=<> BODY=8bitmime", "a@b", ("AUTH=<>", "BODY=8bitmime")),
        ("FROM:<a@b> AUTH=e+3Dmc2@x.test", "a@b", ("AUTH=e+3Dmc2@x.test",)),
        # Nobody told us of it, but the next hop may know it (RFC 6710, RFC 8689).
        ("FROM:<a@b> MT-PRIORITY=3 REQUIRETLS", "a@b", ("MT-PRIORITY=3", "REQUIRETLS")),
    ],
)
def test_a_path_keeps_its_words(argument, address, parameters):
    assert parse_path(argument, "FROM") == (address, parameters)


def test_dsn_parameters_of_a_recipient_keep_their_case():
    argument = "TO:<b@c> NOTIFY=SUCCESS,delay ORCPT=rfc822;Bob+2BX@C.test"
    assert parse_path(argument, "TO")[1] == (
        "NOTIFY=SUCCESS,delay",
        "ORCPT=rfc822;Bob+2BX@C.test",
    )


@pytest.mark.parametrize(
    ("argument", "status"),
    [
        ("", "5.5.4"),
        ("TO:<a@b>", "5.5.4"),
        ("FROM <a@b>", "5.5.4"),
        ("FROM:", "5.1.3"),
        ("FROM:<a@b", "5.1.3"),
        ("FROM:<a b@c>", "5.1.3"),
        ("FROM:<a@b>SIZE=1", "5.1.3"),
        ("FROM:<<a@b>>", "5.1.3"),
        ("FROM:<a@b> SIZE=x", "5.5.4"),
        ("FROM:<a@b> SIZE", "5.5.4"),
        ("FROM:<a@b> SIZE=-1", "5.5.4"),
        ("FROM:<a@b> SIZE=1 size=2", "5.5.4"),
        ("FROM:<a@b> BODY=BINARYMIME", "5.5.4"),
        ("FROM:<a@b> SMTPUTF8=1", "5.5.4"),
        ("FROM:<a@b> =x", "5.5.4"),
        ("FROM:<a@b> " + " ".join(f"X{i}=1" for i in range(40)), "5.5.4"),
        ("FROM:<a@b\0>", "5.5.2"),
        ("FROM:<a@b>\rRCPT TO:<c@d>", "5.5.2"),
        ("FROM:<a\udcff@b>", "5.5.2"),
    ],
)
def test_what_would_confuse_is_refused_with_a_reason(argument, status):
    with pytest.raises(CommandError) as caught:
        parse_path(argument, "FROM")
    assert caught.value.reply.code == 501
    assert caught.value.reply.enhanced == status


def test_the_declared_size_is_found_in_any_case():
    assert declared_size(("BODY=8BITMIME", "size=42")) == 42
    assert declared_size(()) == 0


KNOWN = {"ADDR": "address", "HELO": "helo", "PORT": ""}


def test_attributes_are_decoded():
    got = parse_attributes("ADDR=IPV6:2001:db8::1 HELO=a+20b PORT=25", KNOWN)
    assert got == {"address": "2001:db8::1", "helo": "a b"}


def test_an_unavailable_attribute_is_empty():
    assert parse_attributes("HELO=[UNAVAILABLE]", KNOWN) == {"helo": ""}


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "HELO",
        "WHAT=x",
        "HELO=a+0Ab",  # a line feed would become a command
        "HELO=+0",
        "HELO=+FF",
        "HELO=" + "x" * 2000,
        "HELO=\udcff",
    ],
)
def test_bad_attributes_are_refused(argument):
    with pytest.raises(CommandError):
        parse_attributes(argument, KNOWN)


def test_attributes_leave_in_lines_of_bounded_length():
    values = [("NAME", "n" * 255), ("ADDR", "::1"), ("HELO", "h" * 255), ("IDENT", "")]
    lines = attribute_lines("XFORWARD", values)
    assert lines[0].startswith(b"XFORWARD NAME=nnn")
    assert b" ADDR=IPV6:::1" in lines[0]
    assert all(len(line) <= 512 and line.endswith(b"\r\n") for line in lines)
    assert b"IDENT" not in b"".join(lines)
    assert attribute_lines("XFORWARD", [("NAME", "")]) == []


def test_xtext_is_what_rfc_3461_shows():
    assert decode_xtext("e+3Dmc2") == "e=mc2"
    assert encode_xtext("e=mc2 é") == "e+3Dmc2+20+C3+A9"
