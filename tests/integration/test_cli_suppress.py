"""``mailshaper suppress`` from the shell to Redis and back."""

import pytest

from tests.support.office import office

BOB = "bob@example.net"


@pytest.fixture
async def place(redis_url, tmp_path):
    async with office(redis_url, tmp_path) as found:
        yield found


async def done(place, *words):
    result = await place.cli("suppress", *words)
    assert result.code == 0, result
    return result


async def test_an_address_is_added_explained_and_removed(place):
    first = await done(place, "add", "Bob@Example.NET", "--reason", "moved \x1b[2J")
    assert f"{BOB} is suppressed" in first.out
    told = await done(place, "explain", BOB)
    assert "Entered by an operator since" in told.out
    assert "\x1b" not in told.out
    assert f"mailshaper suppress remove {BOB} --reason" in told.out
    assert "refused" in told.out
    (row,) = (await done(place, "list", "--json")).rows()
    assert (row["address"], row["why"], row["for"]) == (BOB, "manual", "all")
    gone = await done(place, "remove", BOB, "--reason", "back")
    assert "written to again" in gone.out
    assert (await done(place, "list")).out == "0 addresses.\n"
    assert "Nothing is held against it" in (await done(place, "explain", BOB)).out
    (row,) = (await done(place, "list", "--all", "--json")).rows()
    assert row["why"] == "lifted"
    audit = await place.cli("audit", "--json")
    assert [line["action"] for line in audit.rows()] == ["add", "remove"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("add", BOB), 64, "needs a reason"),
        (("add", "bob", "--reason", "r"), 64, "no mail address"),
        (("remove", BOB, "--reason", "r"), 65, "not on the suppression list"),
        (("confirm", BOB, "--reason", "r"), 65, "no confirmation page"),
        (("list", "--limit", "x"), 64, "no number"),
        (("list", "--why", "x"), 64, "a reason is one of"),
        (("export", "--format", "x"), 64, "none of postfix"),
        (("import", "/nowhere", "--reason", "r"), 74, "/nowhere"),
        (("import", "/dev/null"), 64, "needs a reason"),
    ],
)
async def test_what_cannot_be_done_says_why(place, words, code, said):
    result = await place.cli("suppress", *words)
    assert said in result.err
    assert result.code == code


async def test_an_import_tells_what_it_took_and_what_not(place, tmp_path):
    file = tmp_path / "bounces.csv"
    file.write_text(
        "status,reason,email,created\n"
        '5.1.1,"550 User unknown",dead@example.net,1700000000\n'
        "5.2.2,full,full@example.net,1700000000\n"
        "5.1.1,x\n"
        "5.1.1,x,\x1b[2J,1700000000\n"
    )
    words = ("import", str(file), "--reason", "from SendGrid")
    dry = await done(place, *words, "--dry-run")
    assert "1 would be added" in dry.out
    assert (await done(place, "list")).out == "0 addresses.\n"
    first = await done(place, *words)
    assert "1 added, 0 known already or freed since." in first.out
    assert "1 left out: no hard bounce: 5.2.2." in first.out
    assert "2 lines could not be read:" in first.out
    assert "bounces.csv:4: 2 columns in place of 4" in first.out
    assert "\x1b" not in first.out
    again = await done(place, *words, "--json")
    (result,) = again.rows()
    assert result["result"]["known"] == 1
    assert result["result"]["corrupt"] == 2
    (row,) = (await done(place, "list", "--json")).rows()
    assert row["since"] == 1_700_000_000
    assert row["text"] == "550 User unknown"
    assert row["source"] == "SendGrid"


async def test_many_are_imported_in_batches_exported_and_imported_again(
    place, tmp_path
):
    addresses = sorted(f"user{n}@example.net" for n in range(2500))
    plain = tmp_path / "list"
    plain.write_text("\n".join(addresses))
    first = await done(place, "import", str(plain), "--reason", "r")
    assert "2,500 added" in first.out
    out = (await done(place, "export")).out
    assert sorted(out.splitlines()) == addresses
    (tmp_path / "csv").write_text((await done(place, "export", "--format", "csv")).out)
    again = await done(place, "import", str(tmp_path / "csv"), "--reason", "r")
    assert "0 added, 2,500 known already or freed since." in again.out
    few = await done(place, "list", "user77", "--limit", "3")
    assert few.out.endswith("3 addresses.\n")
    audit = await place.cli("audit", "--json")
    assert [line["action"] for line in audit.rows()] == ["import", "import"]


async def test_a_file_without_any_address_fails(place, tmp_path):
    file = tmp_path / "x"
    file.write_text("\x00\x01\x02\nnothing\n")
    result = await place.cli("suppress", "import", str(file), "--reason", "r")
    assert result.code == 65
    assert "nothing could be read" in result.err


async def test_forget_removes_the_entry(place):
    await done(place, "add", BOB, "--reason", "r")
    await place.engine.suppression_list.forget(BOB)
    assert "nothing is known" in (await done(place, "explain", BOB)).out
