"""What a test needs of the machine, and what happens when it is not there.

On a developer's machine a missing server skips the test and says what to do.
Under CI (the variable `CI` is set) it fails: a skipped test that nobody notices
proves nothing.
"""

import os
import shutil
import socket
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).parents[2]
_SERVER_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def unavailable(reason: str) -> NoReturn:
    """Skip the running test, or fail it under CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (a failure because CI is set)", pytrace=False)
    pytest.skip(reason)


def impossible(reason: str) -> NoReturn:
    """Skip the running test for want of what no set-up can bring, also under CI."""
    pytest.skip(reason)


def mount_namespace() -> None:
    """Skip where no command may have mounts of its own (most chroots)."""
    done = subprocess.run(
        ["unshare", "--mount", "true"], check=False, capture_output=True
    )
    if done.returncode:
        impossible("no mount namespaces here")


def devices() -> None:
    """Skip where root may not change its root or make a device."""
    with tempfile.TemporaryDirectory() as place:
        try:
            os.mknod(f"{place}/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError:
            impossible("no devices can be made here")


def program(*names: str) -> str:
    """Return the path of the first of ``names`` that is installed."""
    for name in names:
        if found := shutil.which(name, path=_SERVER_PATH):
            return found
    unavailable(f"{' or '.join(names)} is not installed: make setup-test")


def unpacked(path: str) -> Path:
    """Return a program that `make setup-test` unpacks under .cache.

    For example "exim/usr/sbin/exim4" or "prometheus/usr/bin/promtool".
    """
    found = REPOSITORY / ".cache" / path
    if not found.exists():
        unavailable(f"{found.name} is not unpacked in .cache: make setup-test")
    return found


def root(why: str) -> None:
    """Require user id 0; ``why`` completes the sentence for the reader."""
    if os.geteuid() != 0:
        unavailable(f"needs root: {why}")


def shared_data(name: str) -> Path:
    """Return ``../shared/data/<name>``, which is beside the checkout or absent.

    This one always skips: the data is no part of the repository.
    """
    path = REPOSITORY.parent / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"{path.name} of the shared data is not beside this checkout")
    return path


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago.

    Another process may take it before the caller does; servers that can choose
    their own port (port 0) should rather do that.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
