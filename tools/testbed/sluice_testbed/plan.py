# SPDX-License-Identifier: BSD-2-Clause
"""
Topology -> segments, hosts, legs, addresses, routes, and the `ip` commands and sysctls that make
them. Nothing here touches the system.
"""
from __future__ import annotations

import dataclasses
import os

from .signals import TestbedError

NODES_MAX = 16


@dataclasses.dataclass(frozen=True)
class Topology:
    """
    What the testbed looks like.
    mtu: of the clients' side. backend_mtu: between ingress and nodes, where an outer header has to
    fit; the same on both means that full-sized packets do not fit once they are encapsulated.
    access_mtu: with edge=True, of the segment between clients and their router.
    """

    layout: str = "flat"
    clients: int = 1
    ingress: int = 1
    nodes: int = 4
    vips: int = 1
    mtu: int = 1500
    backend_mtu: int = 1700
    edge: bool = False
    access_mtu: int = 1500

    def check(self) -> None:
        limits = {
            "clients": (1, 64),
            "ingress": (1, 2),
            "nodes": (1, NODES_MAX),
            "vips": (1, 100),
            "mtu": (1280, 3498),
            "backend_mtu": (1280, 3498),
            "access_mtu": (1280, 3498),
        }
        if self.layout not in ("flat", "routed", "split"):
            raise TestbedError(f"layout {self.layout!r}: accepted are flat, routed, split")
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise TestbedError(f"{name} {value}: accepted is {low} to {high}")


@dataclasses.dataclass(frozen=True)
class Segment:
    """A layer-2 segment: 10.77.INDEX.0/24 and fd77:0:0:INDEX::/64. Index 0 is the VIPs'."""

    name: str
    index: int
    mtu: int

    def ip4(self, number: int) -> str:
        return f"10.77.{self.index}.{number}"

    def ip6(self, number: int) -> str:
        """The decimal digits of `number` are the last group, so that both families read alike."""
        return f"fd77:0:0:{self.index}::{number}" if self.index else f"fd77::{number}"

    @property
    def net4(self) -> str:
        return f"10.77.{self.index}.0/24"

    @property
    def net6(self) -> str:
        return f"fd77:0:0:{self.index}::/64" if self.index else "fd77::/64"


@dataclasses.dataclass(frozen=True)
class Leg:
    """One network interface of a host, and the switch port it is plugged into."""

    dev: str
    segment: Segment
    number: int
    port: str
    mtu: int

    @property
    def ip4(self) -> str:
        return self.segment.ip4(self.number)

    @property
    def ip6(self) -> str:
        return self.segment.ip6(self.number)

    @property
    def mac(self) -> str:
        return f"02:77:00:00:{self.segment.index:02x}:{self.number:02x}"


@dataclasses.dataclass
class HostPlan:
    """A host to build. routes: arguments of `ip route add`, both families."""

    name: str
    role: str
    legs: list[Leg]
    routes: list[str] = dataclasses.field(default_factory=list)
    owns_vips: bool = False
    forwards: bool = False


class Plan:
    """Topology -> segments, hosts, legs, addresses and routes. Pure: creates nothing."""

    def __init__(self, topology: Topology):
        topology.check()
        self.topology = t = topology
        wide = max(t.mtu, t.backend_mtu)
        self.vip = Segment("vip", 0, 0)
        self.front = Segment("front", 1, t.mtu if t.layout == "split" else wide)
        self.back = None if t.layout == "flat" else Segment("back", 2, t.backend_mtu)
        self.access = Segment("access", 3, t.access_mtu) if t.edge else None
        self.vips4 = [self.vip.ip4(100 + i) for i in range(t.vips)]
        self.vips6 = [self.vip.ip6(100 + i) for i in range(t.vips)]
        self.hosts = self._clients() + self._ingress() + self._nodes() + self._routers()

    @property
    def segments(self) -> list[Segment]:
        return [s for s in (self.front, self.back, self.access) if s]

    @staticmethod
    def _via(networks: list[str], gateway4: str, gateway6: str, extra: str = "") -> list[str]:
        return [f"{net} via {gateway6 if ':' in net else gateway4}{extra}" for net in networks]

    def _clients(self) -> list[HostPlan]:
        t, hosts = self.topology, []
        home = self.access or self.front
        for i in range(t.clients):
            name = "client" if i == 0 else f"client{i + 1}"
            mtu = t.access_mtu if self.access else t.mtu
            leg = Leg("eth0", home, 11 + i, name, mtu)
            host = HostPlan(name, "client", [leg])
            if self.access:
                host.routes = self._via(["default", "::/0"], home.ip4(253), home.ip6(253))
            else:
                host.routes = self._vip_routes() + self._back_routes()
            hosts.append(host)
        return hosts

    def _vip_routes(self) -> list[str]:
        front = self.front
        return self._via([self.vip.net4, self.vip.net6], front.ip4(1), front.ip6(1))

    def _back_routes(self) -> list[str]:
        if not self.back:
            return []
        return self._via([self.back.net4, self.back.net6], self.front.ip4(254), self.front.ip6(254))

    def _access_routes(self, extra: str = "") -> list[str]:
        if not self.access:
            return []
        networks = [self.access.net4, self.access.net6]
        return self._via(networks, self.front.ip4(253), self.front.ip6(253), extra)

    def _ingress(self) -> list[HostPlan]:
        t, hosts = self.topology, []
        for i in range(t.ingress):
            name = "ingress" if i == 0 else f"ingress{i + 1}"
            legs = [Leg("eth0", self.front, 1 + i, name, self.front.mtu)]
            host = HostPlan(name, "ingress", legs, self._access_routes(), owns_vips=True)
            if t.layout == "split":
                legs.append(Leg("eth1", self.back, 1 + i, f"{name}-b", t.backend_mtu))
            elif t.layout == "routed":
                host.routes += self._back_routes()
            hosts.append(host)
        return hosts

    def _nodes(self) -> list[HostPlan]:
        t, hosts = self.topology, []
        home = self.back or self.front
        for i in range(t.nodes):
            name = f"node{i + 1}"
            leg = Leg("eth0", home, 101 + i, name, t.backend_mtu)
            host = HostPlan(name, "node", [leg], owns_vips=True)
            if self.back:
                extra = f" mtu {t.mtu}"
                host.routes = self._via(["default", "::/0"], home.ip4(254), home.ip6(254), extra)
            else:
                host.routes = self._access_routes(f" mtu {t.mtu}")
            hosts.append(host)
        return hosts

    def _routers(self) -> list[HostPlan]:
        t, hosts = self.topology, []
        if self.back:
            legs = [
                Leg("eth0", self.front, 254, "router", self.front.mtu),
                Leg("eth1", self.back, 254, "router-b", t.backend_mtu),
            ]
            hosts.append(HostPlan("router", "router", legs, self._access_routes(), forwards=True))
        if self.access:
            legs = [
                Leg("eth0", self.front, 253, "edge", t.mtu),
                Leg("eth1", self.access, 253, "edge-a", t.access_mtu),
            ]
            routes = self._vip_routes() + self._back_routes()
            hosts.append(HostPlan("edge", "router", legs, routes, forwards=True))
        return hosts


def host_sysctls(host: HostPlan) -> dict[str, object]:
    """Before any device exists, so that `default` reaches all of them."""
    values: dict[str, object] = {
        "net.ipv4.ip_forward": int(host.forwards),
        "net.ipv6.conf.all.forwarding": int(host.forwards),
        "net.ipv4.ping_group_range": "0 2147483647",
        "net.ipv4.ip_local_port_range": "10240 65535",
        "net.ipv4.tcp_max_syn_backlog": 65535,
        "net.core.somaxconn": 65535,
    }
    for scope in ("all", "default"):
        values |= {
            f"net.ipv4.conf.{scope}.rp_filter": 0,
            f"net.ipv4.conf.{scope}.arp_ignore": 1,
            f"net.ipv4.conf.{scope}.arp_announce": 2,
            f"net.ipv4.conf.{scope}.send_redirects": 0,
            f"net.ipv4.conf.{scope}.accept_redirects": 0,
            f"net.ipv6.conf.{scope}.accept_dad": 0,
            f"net.ipv6.conf.{scope}.accept_ra": 0,
            f"net.ipv6.conf.{scope}.accept_redirects": 0,
            f"net.ipv6.conf.{scope}.router_solicitations": 0,
        }
    return values


def fabric_sysctls() -> dict[str, object]:
    """Switches have no opinion about IP: no addresses, and no filter that eats odd headers."""
    values: dict[str, object] = {
        "net.ipv6.conf.all.disable_ipv6": 1,
        "net.ipv6.conf.default.disable_ipv6": 1,
    }
    for table in ("arptables", "ip6tables", "iptables"):
        key = f"net.bridge.bridge-nf-call-{table}"
        if os.path.exists("/proc/sys/" + key.replace(".", "/")):
            values[key] = 0
    return values


def host_batch(plan: Plan, host: HostPlan) -> list[str]:
    """`ip` commands inside a host whose legs are there already."""
    lines = ["link set lo up"]
    for leg in host.legs:
        own = f"dev {leg.dev}"
        mtu = ""
        if host.role == "node" and leg.mtu > plan.topology.mtu:
            mtu = f" mtu {plan.topology.mtu}"
        lines += [
            f"addr add {leg.ip4}/24 {own} noprefixroute",
            f"addr add {leg.ip6}/64 {own} noprefixroute nodad",
            f"link set {own} up",
            f"route add {leg.segment.net4} {own} src {leg.ip4} scope link{mtu}",
            f"route add {leg.segment.net6} {own}{mtu}",
        ]
    if host.owns_vips:
        lines += [f"addr add {vip}/32 dev lo" for vip in plan.vips4]
        lines += [f"addr add {vip}/128 dev lo nodad" for vip in plan.vips6]
    for route in host.routes:
        lines.append(f"route add {route}")
    return lines


def fabric_batch(plan: Plan, prefix: str, pass_program: str) -> list[str]:
    """`ip` commands inside the fabric: switches, and a cable to every leg of every host."""
    lines = []
    for segment in plan.segments:
        lines.append(f"link add {segment.name} type bridge stp_state 0 forward_delay 0 "
                     "mcast_snooping 0")
        lines.append(f"link set {segment.name} up")
    for host in plan.hosts:
        for leg in host.legs:
            lines.append(
                f"link add {leg.port} mtu {leg.mtu} type veth peer name {leg.dev} mtu {leg.mtu} "
                f"address {leg.mac} netns {prefix}{host.name}"
            )
            lines.append(f"link set {leg.port} master {leg.segment.name} up")
            lines.append(f"link set {leg.port} xdpdrv pinned {pass_program}")
    return lines
