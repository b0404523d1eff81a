"""A real browser without a window, driven from the command line and over CDP's pipe.

    browser = Chromium(tmp_path)
    browser.screenshot(url, path, width=320)
    with browser.drive(url, width=320) as tab:   # the DevTools protocol
        tab.value("document.title")
        tab.click("button")

Everything it writes is below the given directory. It speaks to nobody but the page:
its own services are switched off.
"""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import needs
from tests.support.waiting import poll

_OPTIONS = (
    "--headless=new", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--hide-scrollbars",
)  # fmt: skip


class Chromium:
    """Starts one process for each thing that it is asked for."""

    def __init__(self, directory: Path, *, language: str = "en") -> None:
        """Skip the test where there is no browser; ``language`` is the reader's."""
        self._program = needs.program("chromium", "chromium-browser")
        self._profile = directory / f"chromium-{language}"
        self._language = language

    def _command(self, *more: str) -> list[str]:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        return [
            self._program, *_OPTIONS, *sandbox,
            f"--user-data-dir={self._profile}", f"--accept-lang={self._language}",
            *more,
        ]  # fmt: skip

    def screenshot(self, url: str, path: Path, *, width: int = 320) -> None:
        """Write what the page looks like in a window of that width."""
        with self.drive(url, width=width) as tab:
            tab.screenshot(path)

    @contextmanager
    def drive(self, url: str, *, width: int = 320) -> Iterator["Tab"]:
        """Open a page and act on it."""
        to_browser, from_us = os.pipe()
        to_us, from_browser = os.pipe()

        # The pipe of the DevTools protocol is descriptors 3 and 4.
        place = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        command = self._command("--remote-debugging-pipe", "about:blank")
        process = subprocess.Popen(
            ["bash", "-c", place, "bash", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(to_browser, from_browser),
        )
        os.close(to_browser)
        os.close(from_browser)
        tab = Tab(from_us, to_us)
        try:
            tab.open(url, width)
            yield tab
        finally:
            process.terminate()
            process.wait(10)
            os.close(from_us)
            os.close(to_us)


class Tab:
    """One page under the DevTools protocol."""

    def __init__(self, write: int, read: int) -> None:
        """Speak over two pipes."""
        self._write = write
        self._read = read
        self._number = 0
        self._session = ""
        self._rest = b""

    def open(self, url: str, width: int) -> None:
        """Show ``url`` in a window of ``width`` CSS pixels."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        found = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=640, deviceScaleFactor=1, mobile=True,
        )  # fmt: skip
        self._call("Page.enable")
        self._call("Page.navigate", url=url)
        self.wait("document.readyState == 'complete' && location.href != 'about:blank'")

    def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript gives on the page."""
        found = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True
        )
        return found["result"].get("value")

    def wait(self, expression: str) -> None:
        """Return once an expression is true."""
        poll(lambda: self.value(expression), expression)

    def scripts(self, *, enabled: bool) -> None:
        """Switch the page's own scripts on or off."""
        self._call("Emulation.setScriptExecutionDisabled", value=not enabled)

    def click(self, selector: str) -> None:
        """Press the middle of an element with the mouse, as a person does."""
        box = self.value(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call(
                "Input.dispatchMouseEvent",
                type=kind, x=box[0], y=box[1], button="left", clickCount=1,
            )  # fmt: skip

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        data = self._call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._write, json.dumps(request).encode() + b"\0")
        while True:
            end = self._rest.find(b"\0")
            if end < 0:
                data = os.read(self._read, 65536)
                if not data:
                    raise RuntimeError("the browser ended")
                self._rest += data
                continue
            answer, self._rest = json.loads(self._rest[:end]), self._rest[end + 1 :]
            if answer.get("id") != self._number:
                continue  # an event
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            result: dict[str, Any] = answer["result"]
            return result
