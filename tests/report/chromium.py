"""A headless Chromium over a pair of pipes, by the DevTools protocol: enough to open a page and ask it something."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120.0  # seconds for one answer: the machine may be busy


def find() -> str | None:
    """Return the browser, where there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab; what it logs is kept."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._unread, self._last = send, receive, b"", 0
        self.errors: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    _session: str | None = None

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, page: Path, width: int, *, dark: bool = False, media: str = "screen") -> None:
        """Show a page in a window so many CSS pixels wide, and forget what was logged before."""
        self.errors.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while self.evaluate("document.readyState + location.protocol") != "completefile:":
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression on the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._unread:
            ready, *_ = select.select([self._receive], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self._receive, 1 << 16) if ready else b""
            assert chunk, "the browser has left" if ready else f"the browser said nothing for {PATIENCE:.0f} s"
            self._unread += chunk
        whole, _, self._unread = self._unread.partition(b"\0")
        message = json.loads(whole)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"].get("text")))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(str(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(told["entry"]["text"])


@contextlib.contextmanager
def browser(program: str, folder: Path) -> Iterator[Browser]:
    """Start a browser with a profile of its own in a folder, and end it."""
    (read_ours, write_theirs), (read_theirs, write_ours) = os.pipe(), os.pipe()
    options = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --remote-debugging-pipe"
    command = [program, *options.split(), f"--user-data-dir={folder}"]
    # The browser reads from descriptor 3 and writes to 4.
    moves = (
        "import fcntl, os, sys\n"
        f"high = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in ({read_theirs}, {write_theirs})]\n"
        "os.dup2(high[0], 3), os.dup2(high[1], 4)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", moves, *command],
        pass_fds=(read_theirs, write_theirs),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_theirs)
    os.close(write_theirs)
    try:
        yield Browser(write_ours, read_ours)
    finally:
        os.close(write_ours)
        process.terminate()
        process.wait(30)
        os.close(read_ours)
