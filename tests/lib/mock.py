# SPDX-License-Identifier: BSD-2-Clause
"""build/mockbackend on a node: started, controlled, killed, started again."""
from __future__ import annotations

import os

from sluice_testbed import Host, TestbedError

from tests.lib import program, unixhttp
from tests.lib.wait import wait_until

PORT = 8000


class Mock:
    """
    An inference server on a node, on all of its addresses (its own and the VIPs).
    options: of the program, in Python spelling: Mock(node, slots=4, tokens_per_second=20).
    Control goes through a Unix socket, so it works whatever the network and the port do.
    """

    def __init__(self, host: Host, port: int = PORT, name: str | None = None, **options):
        self.host = host
        self.port = port
        self.name = name or host.name
        self.options = options
        self.socket = os.path.join(host.testbed.run_dir, f"mock-{self.name}-{port}.sock")
        self.process = None

    def start(self) -> "Mock":
        """Start it and wait until it listens."""
        argv = [program("mockbackend"), "--name", self.name, "--port", str(self.port)]
        argv += ["--listen", "0.0.0.0", "--listen", "::", "--listen", f"unix:{self.socket}"]
        for key, value in self.options.items():
            argv += ["--" + key.replace("_", "-"), str(value)]
        self.process = self.host.popen(argv, name=f"mockbackend-{self.port}")
        wait_until(self._ready, 5, f"mockbackend on {self.host.name} listens")
        return self

    def _ready(self) -> bool:
        if not self.process.running():
            raise TestbedError(
                f"mockbackend on {self.host.name} ended with status {self.process.returncode}: "
                f"{self.process.tail()}"
            )
        return any(line.startswith("ready ") for line in self.process.output().splitlines())

    def control(self, **settings) -> dict:
        """Change settings, all or none; without any, only look. The settings and counters."""
        if settings:
            unixhttp.request(self.socket, "POST", "/control", settings)
        return unixhttp.request(self.socket, "GET", "/control")

    def kill(self) -> int:
        """SIGKILL: its port is closed, its connections are reset."""
        return self.process.kill()

    def stop(self) -> int:
        return self.process.stop()

    def restart(self) -> "Mock":
        if self.process and self.process.running():
            self.kill()
        return self.start()


def start_all(testbed, **options) -> dict[str, Mock]:
    """One on every node: {"node1": Mock, ...}."""
    return {node.name: Mock(node, **options).start() for node in testbed.nodes}
