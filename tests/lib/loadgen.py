# SPDX-License-Identifier: BSD-2-Clause
"""build/loadgen on a client: connections, streams, and what became of each."""
from __future__ import annotations

import json
import signal

from sluice_testbed import Host, TestbedError

from tests.lib import program
from tests.lib.wait import TIME_FACTOR, wait_until

EXIT_OK, EXIT_TOO_MANY_FAILED = 0, 1


def url(address: str, port: int = 8000, path: str = "") -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{path}"


class Loadgen:
    """
    One run: mode is "spread", "steady" or "stream". options: of the program, in Python spelling:
    Loadgen(tb.client, "stream", url(tb.vip4), concurrency=50, tokens=200).
    It reports what went wrong and does not judge: the caller compares the report.
    """

    def __init__(self, host: Host, mode: str, urls: str | list[str], **options):
        self.host = host
        self.urls = [urls] if isinstance(urls, str) else urls
        self.mode = mode
        self.options = options
        base = host.testbed.log_path(f"{host.name}-loadgen-{mode}")
        self.files = {name: f"{base}.{name}" for name in ("json", "progress", "events", "series")}
        self.process = None

    def start(self) -> "Loadgen":
        argv = [program("loadgen"), self.mode, *self.urls]
        for key, value in self.options.items():
            argv.append("--" + key.replace("_", "-"))
            argv += [] if value is True else [str(value)]
        for name, path in self.files.items():
            argv += [f"--{name}", path]
        self.process = self.host.popen(argv, name=f"loadgen-{self.mode}")
        return self

    def _lines(self, name: str) -> list[dict]:
        """The whole lines written so far."""
        try:
            with open(self.files[name], encoding="utf-8") as f:
                return [json.loads(line) for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def progress(self) -> dict:
        """The newest counters (one set a second): active, started, completed, by_backend, ..."""
        lines = self._lines("progress")
        return lines[-1] if lines else {}

    def events(self) -> list[dict]:
        """Connections that failed or broke."""
        return self._lines("events")

    def series(self) -> list[dict]:
        """All connections that have ended, with their backend."""
        return self._lines("series")

    def wait_active(self, count: int, timeout_s: float = 20) -> dict:
        """Wait until the answers of so many connections have begun: a node has each of them."""

        def begun(progress: dict) -> bool:
            return sum(b["started"] for b in progress.get("by_backend", {}).values()) >= count

        self.wait_for(begun, timeout_s, f"{count} have begun")
        return self.progress()

    def wait_for(self, condition, timeout_s: float, what: str) -> None:
        """Wait until condition(progress) is true; an early end of the program is an error."""

        def check() -> bool:
            if condition(self.progress()):
                return True
            if not self.process.running():
                raise TestbedError(f"loadgen ended before {what}:\n{self.process.tail()}")
            return False

        wait_until(check, timeout_s, f"loadgen: {what}", interval_s=0.1)

    def finish(self, timeout_s: float = 60) -> dict:
        """Start no new connection, let the open ones end; the report."""
        self.process.send(signal.SIGUSR1)
        return self.wait(timeout_s)

    def stop(self, timeout_s: float = 10) -> dict:
        """Break off; the report so far."""
        self.process.send(signal.SIGINT)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 120) -> dict:
        """Wait for the end of the run; the report."""
        status = self.process.wait(timeout_s * TIME_FACTOR)
        if status not in (EXIT_OK, EXIT_TOO_MANY_FAILED):
            raise TestbedError(f"loadgen: exit status {status}:\n{self.process.tail()}")
        with open(self.files["json"], encoding="utf-8") as f:
            return json.load(f)


def run(host: Host, mode: str, urls: str | list[str], timeout_s: float = 120, **options) -> dict:
    """A whole run; its report."""
    return Loadgen(host, mode, urls, **options).start().wait(timeout_s)


def shares(report: dict) -> dict[str, float]:
    """Each backend's share of the connections that some backend answered."""
    counts = {name: b["started"] for name, b in report["by_backend"].items()}
    total = sum(counts.values())
    return {name: n / total for name, n in counts.items()} if total else {}
