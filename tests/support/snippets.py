"""The configuration that the documentation shows, applied to a test's own server.

``apply("postfix/reinject.sh", postfix.config, back=..., services=...)`` runs the very
file that administrators run. Only its variables at the top (ports, service names)
are given other values; one that the file does not have is an error.
"""

import os
import re
import subprocess
from pathlib import Path

from tests.support import needs

CONF = needs.REPOSITORY / "conf"

# What `grow_old` does, before each command of a script that reads main.cf.
_OLD = """\
old() { touch -d "1 minute ago" "$MAIL_CONFIG/main.cf"; command "$@"; }
postconf() { old postconf "$@"; }
postfix() { old postfix "$@"; }
"""


def text(name: str, **variables: str) -> str:
    """Return a file of ``conf`` with ``name=value`` lines given other values."""
    found = (CONF / name).read_text()
    for variable, value in variables.items():
        quoted = f'"{value}"' if " " in value else value
        found, count = re.subn(
            rf'(?m)^{variable}=("[^"]*"|\S*)', f"{variable}={quoted}", found
        )
        if count != 1:
            raise ValueError(f"{name} sets {variable} {count} times, not once")
    return found


def apply(name: str, config: Path, **variables: str) -> None:
    """Run a script of ``conf`` on the Postfix instance configured in ``config``."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "MAIL_CONFIG": str(config),
    }
    run = subprocess.run(
        ["/bin/sh", "-c", _OLD + text(name, **variables)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=environment | {"HOME": os.environ.get("HOME", "/")},
    )
    if run.returncode:
        error = subprocess.CalledProcessError(run.returncode, name)
        error.add_note(run.stdout + run.stderr)
        raise error
