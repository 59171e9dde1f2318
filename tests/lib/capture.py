# SPDX-License-Identifier: BSD-2-Clause
"""tcpdump on a host of the testbed."""
from __future__ import annotations

import signal

from sluice_testbed import Host, TestbedError

from tests.lib import frames
from tests.lib.wait import wait_until

BUFFER_KIB = 32768  # a whole bulk transfer, should tcpdump have to wait for a processor


class Capture:
    """
    Frames of a device into a file, from start() on.

        with Capture(node, "tcp port 8000") as capture:
            ...
            for frame in capture.wait_for(3):
                assert not frame.ip.bad_sums

    On a device with an XDP program tcpdump sees what the program passed, and not what it sent.
    """

    def __init__(self, host: Host, expression: str = "", dev: str | None = None, snap: int = 65535):
        self.host = host
        self.expression = expression
        self.dev = dev or host.dev
        self.snap = snap
        self.path = host.testbed.log_path(f"{host.name}-{self.dev}-capture") + ".pcap"
        self.process = None

    def start(self) -> "Capture":
        argv = ["tcpdump", "-i", self.dev, "-n", "-p", "-U", "--immediate-mode", "-s", self.snap,
                "-B", BUFFER_KIB,
                "-Z", "root", "-w", self.path, *self.expression.split()]
        self.process = self.host.popen(argv, name="tcpdump")
        wait_until(self._listening, 5, f"tcpdump on {self.host.name} listens")
        return self

    def _listening(self) -> bool:
        if not self.process.running():
            raise TestbedError(f"tcpdump on {self.host.name}: {self.process.tail()}")
        return "listening on" in self.process.output()

    def raw(self) -> list[bytes]:
        """The frames written so far."""
        try:
            with open(self.path, "rb") as f:
                return frames.read_pcap(f.read())
        except FileNotFoundError:
            return []

    def frames(self) -> list[frames.Frame]:
        return [frames.parse_frame(raw) for raw in self.raw()]

    def wait_for(self, count: int, timeout_s: float = 5) -> list[frames.Frame]:
        """Wait until at least so many frames were captured."""
        wait_until(lambda: len(self.raw()) >= count, timeout_s,
                   f"{count} frames of '{self.expression}' on {self.host.name}")
        return self.frames()

    def stop(self) -> list[frames.Frame]:
        """End the capture; tcpdump writes what it has taken. All frames."""
        if self.process.running():
            self.process.send(signal.SIGINT)
            self.process.wait(30)
        return self.frames()

    def __enter__(self) -> "Capture":
        return self.start()

    def __exit__(self, *_exc) -> None:
        self.stop()
