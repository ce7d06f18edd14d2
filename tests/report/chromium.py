"""A page in headless Chromium, driven through its DevTools protocol on two pipes."""

import json
import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest


class Page:
    """What a reader does: keys and the mouse, real events; `complaints` are errors and warnings of the console."""

    def __init__(self, to_browser: int, from_browser: int):
        self._to, self._from, self._session, self._count = to_browser, from_browser, None, 0
        self._rest, self.complaints, self._events = b"", [], []

    def open(self, path, *, scripts=True, width=1200, height=1000) -> None:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self._call("Emulation.setScriptExecutionDisabled", value=not scripts)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._call("Page.navigate", url=path.as_uri())
        self._until("Page.loadEventFired")

    def value(self, expression: str):
        """The value of an expression in JavaScript; a promise is awaited."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def print_media(self) -> None:
        self._call("Emulation.setEmulatedMedia", media="print")

    def _call(self, method: str, **parameters):
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != self._count:
            self._events.append(answer["method"])
        assert "error" not in answer, answer
        return answer["result"]

    def _until(self, event: str) -> None:
        while event not in self._events:
            self._events.append(self._message().get("method"))

    def _message(self) -> dict:
        while b"\0" not in self._rest:
            part = os.read(self._from, 1 << 16)
            assert part, "Chromium has ended"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(first)
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
            self.complaints.append(message["params"])
        return message


KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "PageUp": 33, "Home": 36}


@contextmanager
def chromium(folder):
    """A `Page`; the test is skipped where there is no Chromium. The browser's profile lies in `folder`."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed")
    read_in, write_in = os.pipe()
    read_out, write_out = os.pipe()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
    # The protocol has its pipes at descriptors 3 and 4.
    command = f'exec "$0" "$@" 3<&{read_in} 4>&{write_out}'
    process = subprocess.Popen(
        ["bash", "-c", command, program, *flags, f"--user-data-dir={folder}"],
        pass_fds=(read_in, write_out),
        stderr=subprocess.DEVNULL,
    )
    os.close(read_in)
    os.close(write_out)
    try:
        yield Page(write_in, read_out)
    finally:
        process.terminate()
        process.wait(20)
        os.close(write_in)
        os.close(read_out)
