"""The Debian package as it lies in the checkout; `make deb-test` builds and lives it.

Building takes minutes, so here are only the parts that go wrong unseen: the units'
restrictions, which systemd-analyze scores offline, and files that must agree.
"""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from shaper.daemon import EX_CONFIG
from shaper.settings import Policy

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "debian"
UNITS = ("mailshaper.service", "mailshaper@.service", "mailshaper-federation.service")
WORST = 1.5  # of systemd-analyze security: 0 is safe, 10 is not
# Root, since postsuper is: 0.4 for that, 0.5 for the rights with which it becomes the
# user postfix, 1 for seeing the network interfaces, without which it does not start.
QUEUE = ("mailshaper-queue.service", 2.0)


def unit(name):
    return (DEBIAN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "worst"), [*((name, WORST) for name in UNITS), QUEUE])
def test_a_unit_exposes_little(name, worst):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", DEBIAN / name],
        capture_output=True,
        text=True,
        check=True,
    )
    score = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert score is not None, done.stdout
    assert float(score[1]) <= worst, done.stdout


def test_the_instances_run_as_the_first_one_does():
    """One file is the other with the instance's name in its places."""
    template = [
        line
        for line in unit(UNITS[1]).splitlines()
        if not line.startswith("Environment=MAILSHAPER_DAEMON__")
    ]
    plain = [
        line.replace("mailshaper/%i/", "mailshaper/").replace("-%i", "")
        for line in template
    ]
    first = unit(UNITS[0]).splitlines()
    differing = [pair for pair in zip(first, plain, strict=True) if len(set(pair)) > 1]
    assert [pair[0].partition("=")[0] for pair in differing] == ["Description"]


@pytest.mark.parametrize(
    "name", ["mailshaper-queue.socket", "mailshaper-queue-exim.socket"]
)
def test_the_socket_of_the_queue_is_where_the_daemon_looks(name):
    """Mode 0600 for the daemon's user; each socket starts a service of its name."""
    text = unit(name)
    assert f"ListenStream={Policy().queue_helper}\n" in text
    assert "SocketUser=mailshaper\n" in text
    assert "SocketMode=0600\n" in text
    service = unit(name.replace(".socket", ".service"))
    assert f"Requires={name}\n" in service
    mta = "exim" if "exim" in name else "postfix"
    assert f" --mta {mta} --user mailshaper\n" in service


@pytest.mark.parametrize("name", UNITS)
def test_a_wrong_configuration_is_not_retried(name):
    assert f"RestartPreventExitStatus={EX_CONFIG}\n" in unit(name)


def test_the_package_and_the_program_have_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    head = (DEBIAN / "changelog").read_text(encoding="utf-8").splitlines()[0]
    assert head.startswith(f"mailshaper ({project['project']['version']}) ")


@pytest.mark.parametrize(
    "name", ["mailshaper.postinst", "mailshaper.prerm", "mailshaper.postrm"]
)
def test_a_maintainer_script_is_a_shell_script(name):
    text = (DEBIAN / name).read_text(encoding="utf-8")
    assert "#DEBHELPER#" in text
    subprocess.run(["sh", "-n", DEBIAN / name], check=True)


def test_purging_refuses_while_mail_is_held(tmp_path):
    """The part of postrm that stands before everything debhelper adds."""
    text = (DEBIAN / "mailshaper.postrm").read_text(encoding="utf-8")
    guard = text.split("#DEBHELPER#")[0].replace("/var/lib", str(tmp_path))
    held = tmp_path / "mailshaper-second" / "spool" / "held"
    held.mkdir(parents=True)

    def purge():
        return subprocess.run(
            ["sh", "-c", guard, "postrm", "purge"],
            capture_output=True,
            text=True,
            check=False,
        )

    assert purge().returncode == 0
    (held / "one").touch()
    refused = purge()
    assert refused.returncode == 1
    assert "1 held messages" in refused.stderr
    assert str(held.parent) in refused.stderr
