# SPDX-License-Identifier: BSD-2-Clause
"""A testbed with mock servers and an agent, and what tests ask of it."""
from __future__ import annotations

from tests.lib import config, mock
from tests.lib.agent import Agent
from tests.lib.stream import Stream
from tests.lib.wait import wait_until


class Site:
    """A testbed whose ingress host does not own the VIPs, with nodes and an agent."""

    def __init__(self, t, mode="ipip", family=4, vip_port=mock.PORT, pool=None, vip=None,
                 mocks=None, **topology):
        t.need("sluiced", "sluicectl", "mockbackend", "decap.bpf.o", "xdpattach")
        self.tb = t.testbed(**{"nodes": 2, **topology})
        for address in self.tb.plan.vips4:
            self.tb.ingress.ip("addr", "del", f"{address}/32", "dev", "lo")
        for address in self.tb.plan.vips6:
            self.tb.ingress.ip("addr", "del", f"{address}/128", "dev", "lo")
        self.mocks = mock.start_all(self.tb, **(mocks or {}))
        if mode != "l2dsr":
            for node in self.tb.nodes:
                node.attach_decap()
        settings = {"mode": mode, "policy": "hash", "port": vip_port,
                    "check": {**config.QUICK_CHECK, "port": mock.PORT},
                    "load": {**config.QUICK_LOAD, "port": mock.PORT}, **(pool or {})}
        self.config = config.one_pool(self.tb, family=family, port=vip_port, pool=settings)
        for entry in self.config["vips"]:
            entry.update(vip or {})
        self.agent = Agent(self.tb.ingress, self.config).start(timeout_s=20)
        self.wait_states(*["healthy"] * len(self.tb.nodes))

    def states(self) -> list[str]:
        return [node["state"] for node in self.agent.ctl("backends")["backends"]]

    def wait_states(self, *want: str, timeout_s: float = 15) -> None:
        wait_until(lambda: self.states() == list(want), timeout_s, f"states {want}")

    def packets(self) -> dict[str, int]:
        return self.agent.ctl("status")["packets"]

    def reload(self, nodes: list[str]) -> None:
        """With these nodes of the testbed and no others."""
        every = {n["name"]: n for n in config.nodes(self.tb)}
        self.config["pools"][0]["nodes"] = [every[name] for name in nodes]
        self.agent.write_config(self.config)
        self.agent.ctl("reload")

    def streams(self, count: int) -> list[Stream]:
        """Streams of both families in turn."""
        return [Stream(self.tb.client, self.tb.vip6 if i % 2 else self.tb.vip4)
                for i in range(count)]
