"""Exports are looked up by the real postmap and the real Exim."""

import subprocess

import pytest

from shaper.core.addresslist import header, row_of
from tests.support import needs

ODD = (
    "bob@example.net",
    "o'brien+x@example.net",
    "#sharp@example.net",
    "user:name@example.net",
    "back\\slash@example.net",
    '"two words"@example.net',
    '"quo\\"te"@example.net',
    "a$b{c}%d@example.net",
    "grüße@exämple.net",
    "*@example.net",
    "!bang!@example.net",
    "a/b=c@example.net",
)


def run(*words):
    return subprocess.run(
        [str(word) for word in words], check=False, capture_output=True, text=True
    )


def write(path, form):
    rows = [row_of(form, {"address": a, "why": "dead", "since": "now"}) for a in ODD]
    path.write_text("\n".join([*header(form), *filter(None, rows)]) + "\n")
    return path


@pytest.mark.parametrize("kind", ["hash", "texthash", "lmdb"])
def test_postmap_finds_every_address(tmp_path, kind):
    postmap = needs.program("postmap")
    main = tmp_path / "main.cf"
    main.write_text("compatibility_level = 3.6\nsmtputf8_enable = yes\n")
    path = write(tmp_path / "dead", "postfix")
    known = run(needs.program("postconf"), "-c", tmp_path, "-m").stdout
    if kind not in known.split():
        needs.impossible(f"this Postfix has no {kind} maps")
    table = f"{kind}:{path}"
    base = (postmap, "-c", tmp_path)
    if kind != "texthash":
        made = run(*base, table)
        assert (made.returncode, made.stderr) == (0, "")
    told = [address for address in ODD if not address.startswith("#")]
    for address in told:
        found = run(*base, "-q", address, table)
        assert found.stdout.startswith("550 5.1.1 <"), address
        assert found.stderr == "", address
    assert run(*base, "-q", "carol@example.net", table).returncode == 1


def test_exim_finds_every_address(tmp_path):
    needs.root("Exim reads a configuration of ours only as root")
    exim = needs.unpacked("exim/usr/sbin/exim4")
    path = write(tmp_path / "dead", "exim")
    path.chmod(0o644)
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):
        parent.chmod(parent.stat().st_mode | 0o111)
    config = tmp_path / "exim.conf"
    config.write_text(f"spool_directory = {tmp_path}/spool\nkeep_environment =\n")
    for address in (*ODD, "carol@example.net"):
        # The key comes from a file, since expansion would read it as its own.
        key = tmp_path / "key"
        key.write_text(address)
        expression = f"${{lookup{{${{readfile{{{key}}}}}}}lsearch{{{path}}}{{$value}}}}"
        found = run(exim, "-C", config, "-be", expression)
        text = found.stdout.strip()
        assert text.startswith("5.1.1 <") == (address in ODD), (address, found)
