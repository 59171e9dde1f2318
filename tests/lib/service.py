# SPDX-License-Identifier: BSD-2-Clause
"""A testbed with mock servers on its nodes and an agent on its ingress host, for tests of these."""
from __future__ import annotations

from sluice_testbed import Testbed

from tests.lib import config, loadgen, maps, mock
from tests.lib.agent import Agent
from tests.lib.case import Context, equal
from tests.lib.mock import Mock


class Service:
    """sanitized: the agent is the build with ASan and UBSan; end() then finds what they found."""

    def __init__(self, t: Context, nodes: int = 2, sanitized: bool = False, start: bool = True,
                 weights=None, mocks: dict | None = None, pool: dict | None = None,
                 topology: dict | None = None, **top):
        t.need("san/sluiced" if sanitized else "sluiced", "sluicectl", "mockbackend", "loadgen",
               "decap.bpf.o", "xdpattach")
        self.tb: Testbed = t.testbed(nodes=nodes, **(topology or {}))
        self.mocks: dict[str, Mock] = mock.start_all(self.tb, **(mocks or {}))
        for node in self.tb.nodes:
            node.attach_decap()
        self.config = config.one_pool(self.tb, weights, pool=pool, **top)
        self.agent = Agent(self.tb.ingress, self.config, sanitized=sanitized)
        if start:
            self.agent.start(timeout_s=20)
            self.agent.wait_all()

    @property
    def urls(self) -> list[str]:
        return [loadgen.url(vip) for vip in (self.tb.vip4, self.tb.vip6)]

    @property
    def pool(self) -> dict:
        """The pool in self.config, to be changed before reload()."""
        return self.config["pools"][0]

    def reload(self):
        """Write self.config and have it taken over; what sluicectl said."""
        self.agent.write_config(self.config)
        return self.agent.ctl_run("reload")

    def streams(self, count: int = 20, seconds: float = 4) -> loadgen.Loadgen:
        """Streams of so many seconds, all of which have begun."""
        run = loadgen.Loadgen(self.tb.client, "stream", self.urls, concurrency=count, count=count,
                              rate=1000, tokens=int(seconds * 50), duration=10).start()
        run.wait_active(count)
        return run

    def spread(self, count: int = 200, **options) -> dict:
        """The report of so many short connections, all of which have to be answered well."""
        options = {"concurrency": 20, "connect_timeout": 10, **options}
        report = loadgen.run(self.tb.client, "spread", self.urls, count=count, **options)
        equal((report["completed"], report["causes"]), (count, {}), "correct answers")
        return report

    def slots(self) -> list[tuple[int, int, int]]:
        """(cur, alt, prev) of each slot of the first pool."""
        return [slot[:3] for slot in maps.slots(self.agent.pin_dir)]

    def slots_written(self) -> int:
        return self.agent.ctl("status")["pools"][0]["slots_written"]

    def end(self) -> None:
        """SIGTERM: it ends well, and no sanitizer has anything to say."""
        status = self.agent.stop()
        said = self.agent.process.output()
        for word in ("AddressSanitizer", "LeakSanitizer", "runtime error:"):
            assert word not in said, f"{word}: {said[-4000:]}"
        equal(status, 0, "exit status of the agent")


def xdp_of(host, dev: str = "eth0") -> dict | None:
    """What `ip link` says about the XDP program of a device: {"mode": 1 native, 2 generic, ...}."""
    return host.ip_json("-d", "link", "show", "dev", dev)[0].get("xdp")
