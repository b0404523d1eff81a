"""Lists of dead addresses: what providers write, and what we write for others."""

import pytest

from shaper.core.addresslist import COLUMNS, FORMATS, parse, row_of

FILES = {
    "SendGrid": """\
status,reason,email,created
5.1.1,"550 5.1.1 The account does not exist, try again",Dead@example.net,1700000000
5.2.2,552 mailbox full,full@example.net,1700000000
4.0.0,error dialing remote,later@example.net,1700000000
""",
    "Mailgun": """\
address,code,error,created_at
dead@example.net,550,"No such mailbox","Tue, 14 Nov 2023 22:13:20 UTC"
full@example.net,452,Mailbox full,"Tue, 14 Nov 2023 22:13:20 UTC"
""",
    "Amazon SES": """\
EmailAddress,Reason,LastUpdateTime
dead@example.net,BOUNCE,2023-11-14T22:13:20+00:00
angry@example.net,COMPLAINT,2023-11-14T22:13:20+00:00
""",
    "Brevo": """\
Email;Reason;Blocked at
dead@example.net;Hard bounce;14-11-2023 22:13:20
left@example.net;Unsubscribed;14-11-2023 22:13:20
""",
    "Postmark": """\
EmailAddress,SuppressionReason,Origin,CreatedAt
dead@example.net,HardBounce,Recipient,2023-11-14T22:13:20Z
angry@example.net,SpamComplaint,Recipient,2023-11-14T22:13:20Z
left@example.net,ManualSuppression,Customer,2023-11-14T22:13:20Z
""",
    "Mailjet": """\
email,event,time,error
dead@example.net,hardbounced,1700000000,user unknown
full@example.net,softbounced,1700000000,mailbox full
""",
}


@pytest.mark.parametrize("name", FILES)
def test_of_each_provider_only_hard_bounces_are_taken(name):
    lines = list(parse(FILES[name].splitlines(keepends=True)))
    taken = [line for line in lines if not line.skipped]
    assert [line.address for line in taken] == ["dead@example.net"]
    assert taken[0].source == name
    assert taken[0].since == 1_700_000_000
    assert not [line for line in lines if line.corrupt]
    assert len(lines) == FILES[name].count("\n") - 1


@pytest.mark.parametrize(
    "header",
    ["email,created", "address,tags,created_at", "address,created_at"],
)
def test_complaints_and_unsubscriptions_are_counted_and_not_taken(header):
    fields = ",".join(
        "a@b.example" if name in {"email", "address"} else "1700000000"
        for name in header.split(",")
    )
    (line,) = parse([header + "\n", fields + "\n"])
    assert line.skipped == "complaint or unsubscription"
    assert not line.corrupt


def test_a_plain_list_has_comments_and_corrupt_lines():
    text = '\ufeffA@b.example\n\n# note\n"c@d.example"\n"x y"@e.example\nno\na@b c\n'
    lines = list(parse(text.splitlines(keepends=True)))
    taken = [line.address for line in lines if not line.skipped]
    assert taken == ["a@b.example", "c@d.example", '"x y"@e.example']
    assert [line.number for line in lines if line.corrupt] == [6, 7]


def test_corrupt_csv_is_told_by_line_and_the_rest_goes_on():
    text = "address,why,since\na@b.example,dead,2020-01-01\n\0\0\nx\nc@d.example,dead,"
    lines = list(parse(text.splitlines(keepends=True)))
    assert [bool(line.corrupt) for line in lines] == [False, True, True, False]
    assert lines[3].address == "c@d.example"


def test_an_unknown_header_is_refused_as_a_whole():
    (line,) = parse(["name,mail,phone\n", "x,a@b.example,1\n"])
    assert line.corrupt


def test_an_empty_file_is_no_list():
    assert list(parse([])) == []


def test_our_own_csv_comes_back():
    row = dict.fromkeys(COLUMNS, "") | {
        "address": '"a,b\\"c"@d.example', "why": "dead",
        "since": "2023-11-14T22:13:20Z", "status": "5.1.1", "text": '=cmd|"x", y',
    }  # fmt: skip
    lines = [",".join(COLUMNS) + "\n", row_of("csv", row) + "\n"]
    (found,) = parse(lines)
    assert found.since == 1_700_000_000
    assert found.text == row["text"]
    assert found.source == "mailshaper"
    assert not row_of("csv", row | {"address": "=1@b"}).startswith("=")


@pytest.mark.parametrize("form", FORMATS)
def test_no_address_forges_a_line_of_an_export(form):
    row = dict.fromkeys(COLUMNS, "") | {"address": "a@b\n*\tOK", "why": "dead"}
    assert "\n" not in row_of(form, row)
