# SPDX-License-Identifier: BSD-2-Clause
"""A testbed for mode nat: servers on another port than the VIPs', no VIP and no decap on any
node."""
from __future__ import annotations

import json
import os
import struct

from tests.lib import config, mock, pinned
from tests.lib.agent import Agent
from tests.lib.stream import Stream
from tests.lib.wait import wait_until

NODE_PORT = 9000
# A VIP of its own, for transfers that the test itself serves.
BULK_PORT, NODE_BULK_PORT = 5001, 6001
_VIPS_MAX = 512  # LB_VIPS_MAX


class NatSite:
    """
    Both families: a pool of the nodes' IPv4 and one of their IPv6 addresses. pool: keys of both;
    nat, top: keys of the file.
    """

    def __init__(self, t, pool=None, mocks=None, nat=None, top=None, **topology):
        t.need("sluiced", "sluicectl", "mockbackend", "loadgen", "bpftool")
        self.tb = tb = t.testbed(**{"nodes": 2, **topology})
        for host in [tb.ingress, *tb.nodes]:
            for vip in (*tb.plan.vips4, *tb.plan.vips6):
                host.ip("addr", "del", f"{vip}/{128 if ':' in vip else 32}", "dev", "lo")
        # Its own connections do not use the ports of translated ones.
        tb.ingress.sysctl({"net.ipv4.ip_local_port_range": "32768 60999"})
        self.mocks = mock.start_all(tb, port=NODE_PORT, **(mocks or {}))
        self.config = self._config(pool or {})
        if nat:
            self.config["nat"] = nat
        self.config.update(top or {})
        self.agent = Agent(tb.ingress, self.config).start(timeout_s=20)
        self.agent.wait_all()

    def _config(self, pool: dict) -> dict:
        tb, pools, vips = self.tb, [], []
        for family, address in ((4, tb.vip4), (6, tb.vip6)):
            for kind, port, vip_port in (("", NODE_PORT, mock.PORT),
                                         ("bulk", NODE_BULK_PORT, BULK_PORT)):
                name = f"pool{family}{kind}"
                nodes = config.nodes(tb, family=family)
                for node in nodes:
                    node["name"] += f"-{family}{kind}"
                check = {**config.QUICK_CHECK, "port": NODE_PORT}
                pools.append({"name": name, "preset": "json", "mode": "nat", "policy": "hash",
                              "port": port, "check": check,
                              "load": {**config.QUICK_LOAD, "port": NODE_PORT},
                              "thresholds": dict(config.QUICK_THRESHOLDS), "nodes": nodes, **pool})
                vips.append({"name": f"vip{family}{kind}", "address": address, "port": vip_port,
                             "pool": name})
        return {"pools": pools, "vips": vips}

    def reload(self) -> None:
        self.agent.write_config(self.config)
        self.agent.ctl("reload")

    def packets(self) -> dict[str, int]:
        return self.agent.ctl("status")["packets"]

    def streams(self, count: int) -> list[Stream]:
        """Streams of both families in turn."""
        return [Stream(self.tb.client, self.tb.vip6 if i % 2 else self.tb.vip4)
                for i in range(count)]

    def entries(self, name: str) -> list[tuple[dict, dict]]:
        """(key, value) of every entry of a map."""
        path = os.path.join(self.agent.pin_dir, name)
        done = self.tb.ingress.run(["bpftool", "-j", "map", "dump", "pinned", path])
        dump = json.loads(done.stdout)
        return [(e["formatted"]["key"], e["formatted"]["value"]) for e in dump]

    def packets_by_cpu(self) -> list[int]:
        """Packets of clients, of all VIPs, by the CPU that took them."""
        n = os.cpu_count() or 1
        words = pinned.map_pinned(os.path.join(self.agent.pin_dir, "vip_stats"),
                                  n * _VIPS_MAX * 32, "Q")
        return [sum(words[(cpu * _VIPS_MAX + vip) * 4] for vip in range(_VIPS_MAX))
                for cpu in range(n)]


def port(be16: int) -> int:
    """A __be16 as bpftool prints it, in the machine's order."""
    return struct.unpack("!H", struct.pack("=H", be16))[0]


def flow_of(site: NatSite, stream: Stream) -> tuple[dict, dict] | None:
    """Entries of the stream's flow in "nat_flows" and "nat_replies"; None: gone."""
    mine = [v for k, v in site.entries("nat_flows") if port(k["sport"]) == stream.local_port]
    answers = [v for k, v in site.entries("nat_replies")
               if port(v["client_port"]) == stream.local_port]
    return (mine[0], answers[0]) if mine and answers else None


def wait_gone(site: NatSite, stream_port: int, timeout_s: float) -> None:
    def gone() -> bool:
        ports = [port(k["sport"]) for k, _ in site.entries("nat_flows")]
        ports += [port(v["client_port"]) for _, v in site.entries("nat_replies")]
        return stream_port not in ports

    wait_until(gone, timeout_s, f"no entry of client port {stream_port} is left", interval_s=0.5)
