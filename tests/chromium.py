"""What Chromium makes of a page."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--enable-logging=stderr", "--v=0",
]  # fmt: skip

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on PATH, and neither is there")


def found_by_page(address: str, folder: Path, *flags: str) -> tuple[str, list[str]]:
    """Return what a page writes into the attribute ``data-found`` of its body, and what the browser complains of."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", address]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-found="([^"]*)"', process.stdout)
    assert found, process.stderr
    return found[1], [line for line in process.stderr.splitlines() if "CONSOLE" in line]


class Page:
    """A page that is open in a browser, driven through Chrome's DevTools protocol."""

    def __init__(self, requests: int, responses: int) -> None:
        self._requests, self._responses = requests, os.fdopen(responses, "rb")
        self._numbers, self._session = itertools.count(1), {}
        self.complaints: list[str] = []

    def open(self, address: str, width: int) -> None:
        """Open an address in a window so many pixels wide."""
        (target,) = (found for found in self.call("Target.getTargets")["targetInfos"] if found["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=address)
        self._read(lambda message: message.get("method") == "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Return the value of an expression, once the promise that it may be is kept."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def close(self) -> None:
        os.close(self._requests)
        self._responses.close()

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        response = self._read(lambda message: message.get("id") == number)
        assert "result" in response, response
        return response["result"]

    def _read(self, is_wanted: Any) -> Any:
        while True:
            message = json.loads(b"".join(iter(lambda: self._responses.read(1), b"\0")))
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.complaints.append(json.dumps(message["params"]))
            if is_wanted(message):
                return message


@contextlib.contextmanager
def opened(address: str, width: int, folder: Path) -> Iterator[Page]:
    """Open a page in a browser whose profile lies in a folder."""
    assert CHROMIUM is not None
    (their_end, requests), (responses, their_other_end) = os.pipe(), os.pipe()
    # Chromium reads from the file descriptor 3 and writes to 4.
    shell = 'exec 3<&"$0" 4>&"$1"; shift; exec "$@"'
    flags = [*_FLAGS, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", shell, str(their_end), str(their_other_end), CHROMIUM, *flags],
        pass_fds=(their_end, their_other_end), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(their_end)
    os.close(their_other_end)
    page = Page(requests, responses)
    try:
        page.open(address, width)
        yield page
    finally:
        process.kill()
        process.wait()
        page.close()
