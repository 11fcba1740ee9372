"""A headless Chromium, driven over its DevTools protocol."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Page:
    """One tab; commands are answered in turn, and what the page complains of is kept.

    Attributes:
        complaints: Errors and warnings of the console, and exceptions, of all pages so far.
    """

    def __init__(self, socket):
        self._socket, self._number, self._events = socket, 0, []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params):
        """The result of one command of the protocol."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (message := self._receive()).get("id") != self._number:
            pass
        assert "error" not in message, f"{method}: {message['error']}"
        return message["result"]

    def _receive(self):
        message = json.loads(self._socket.recv())
        method, params = message.get("method"), message.get("params")
        if method in ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed"):
            self.complaints.append(json.dumps(params))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(params["args"]))
        elif method:
            self._events.append((method, params))
        return message

    def open(self, page: Path | str, *, width: int, scheme: str) -> None:
        """Loads a file or address in a window of this width, in the scheme "light" or "dark"."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self._events.clear()
        url = page if isinstance(page, str) else page.absolute().as_uri()
        self.call("Page.navigate", url=url)
        while not any(method == "Page.loadEventFired" for method, _ in self._events):
            self._receive()

    def requests(self) -> list[str]:
        """Addresses that the last page asked for, without ``data:``."""
        asked = [
            params["request"]["url"]
            for m, params in self._events
            if m == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:")]

    def value(self, expression: str):
        """What a JavaScript expression is in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"]["value"]

    def screenshot(self, file: Path, *, height: int = 0) -> None:
        """The page as PNG: all of it, or its first ``height`` pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"]}
        shot = self.call(
            "Page.captureScreenshot", captureBeyondViewport=True, clip={**clip, "scale": 1}
        )
        file.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def chromium(profile: Path):
    """A :class:`Page` of a new browser, which ends with the block.

    Args:
        profile: An empty folder for the browser's own files.

    Raises:
        AssertionError: There is no Chromium.
    """
    import websocket

    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program, (
        f"no browser: none of {', '.join(NAMES)} is on the PATH; on Debian and Ubuntu: "
        "apt-get install chromium"
    )
    command = [
        program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--hide-scrollbars", "--no-first-run", "--remote-debugging-port=0",
        "--remote-allow-origins=*", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                if found := re.search(r"ws://(\S+?)/", line):
                    break
            else:
                raise AssertionError(f"{program} did not start: {''.join(said)}")
            address = _first_tab(found[1])
            socket = websocket.create_connection(address, timeout=60)
            try:
                yield Page(socket)
            finally:
                socket.close()
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _first_tab(host: str) -> str:
    """The address of the tab that a browser starts with."""
    from urllib.request import urlopen

    with urlopen(f"http://{host}/json/list", timeout=30) as answer:
        tabs = json.load(answer)
    return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
