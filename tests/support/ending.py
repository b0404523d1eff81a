"""How a server that a test started ends: asked first, then killed."""

import contextlib
import os
import signal
import subprocess


def end(child: "subprocess.Popen[bytes]", *, group: bool = False) -> None:
    """End a child; with ``group`` also what it started, in a session of its own."""
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(10)
    if group:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
