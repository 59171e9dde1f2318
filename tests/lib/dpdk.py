# SPDX-License-Identifier: BSD-2-Clause
"""
build/sluice-dpdk on an ingress host of the testbed: each leg is driven by DPDK, its addresses and
routes move to a mirror device of the kernel, "sluice0" for the first.
"""
from __future__ import annotations

import os

from sluice_testbed import Host, TestbedError
from sluice_testbed.plan import Leg

from tests.lib import BUILD, ROOT
from tests.lib.wait import wait_until

DRIVERS = ("net_af_packet", "net_af_xdp")


def dataplane() -> str:
    """"xdp", or "dpdk" if the environment says DATAPLANE=dpdk."""
    value = os.environ.get("DATAPLANE", "xdp")
    if value not in ("xdp", "dpdk"):
        raise TestbedError(f"DATAPLANE={value}: accepted are xdp and dpdk")
    return value


def default_driver() -> str:
    """The DPDK driver for the testbed's devices: DPDK_DRIVER, or net_af_packet."""
    value = os.environ.get("DPDK_DRIVER", DRIVERS[0])
    if value not in DRIVERS:
        raise TestbedError(f"DPDK_DRIVER={value}: accepted are {', '.join(DRIVERS)}")
    return value


def of_unit(key: str) -> str:
    """What the service manager is told."""
    with open(os.path.join(ROOT, "tools/systemd/sluice-dpdk.service.in"), encoding="utf-8") as f:
        return next(line.split("=")[1].strip() for line in f if line.startswith(f"{key}="))


def as_unit() -> list[str]:
    """Its priority (clients and nodes share our cores) and capabilities, in front of a command."""
    bounding = of_unit("CapabilityBoundingSet").replace("CAP_", "+").lower().split()
    return ["nice", "-n", of_unit("Nice"), "setpriv", "--no-new-privs",
            "--bounding-set", ",".join(["-all", *bounding])]


class Dpdk:
    """
    sluice-dpdk, and what the host needs around it. device: of the first leg, as DPDK takes it,
    where the driver's usual form is not wanted; unmuted: the kernel uses the leg too.
    """

    def __init__(self, host: Host, cores: str = "0", queues: int = 1, idle_us: int = 20,
                 driver: str | None = None, device: str | None = None, unmuted: bool = False,
                 huge_pages: bool = False):
        self.host = host
        self.driver = driver or default_driver()
        self.cores = cores
        self.queues = queues
        self.idle_us = idle_us
        self.device = device
        self.unmuted = unmuted
        self.huge_pages = huge_pages
        self.process = None
        for number, leg in enumerate(host.plan.legs):
            self._mirror(number, leg)
        for route in host.plan.routes:
            host.ip("route", "replace", *route.split())

    def _mirror(self, number: int, leg: Leg) -> None:
        name, ip = f"sluice{number}", self.host.ip
        ip("tuntap", "add", "name", name, "mode", "tap", "multi_queue")
        ip("link", "set", name, "address", leg.mac, "mtu", str(leg.mtu))
        ip("addr", "flush", "dev", leg.dev)
        self.host.sysctl({f"net.ipv6.conf.{leg.dev}.disable_ipv6": 1})
        ip("link", "set", leg.dev, "arp", "off", "promisc", "on")
        if not self.unmuted:
            self._mute(leg.dev)
        ip("addr", "add", f"{leg.ip4}/24", "dev", name, "noprefixroute")
        ip("addr", "add", f"{leg.ip6}/64", "dev", name, "noprefixroute", "nodad")
        ip("link", "set", name, "up")
        ip("route", "replace", leg.segment.net4, "dev", name, "src", leg.ip4, "scope", "link")
        ip("route", "replace", leg.segment.net6, "dev", name)

    def _mute(self, dev: str) -> None:
        """A packet socket gets copies: the kernel itself must take nothing from the device."""
        rules = (f"table netdev dpdk-{dev} {{ chain ingress {{ type filter hook ingress device "
                 f"\"{dev}\" priority 0; policy drop; }}; }}")
        self.host.run(["nft", "-f", "-"], text_in=rules)

    def config(self) -> dict:
        """The keys at the top of the agent's configuration."""
        # busy polling is for workers that never sleep, and ours do (idle_us)
        args = {"net_af_packet": f"qpairs={self.queues},framesz=2048,framecnt=2048",
                "net_af_xdp": "force_copy=1,busy_budget=0"}[self.driver]
        interfaces = [
            {"name": f"sluice{i}", "device": f"{self.driver}{i},iface={leg.dev},{args}"}
            for i, leg in enumerate(self.host.plan.legs)
        ]
        if self.device:
            interfaces[0]["device"] = self.device
        return {
            "dataplane": "dpdk",
            "interfaces": interfaces,
            "dpdk": {"cores": self.cores, "huge_pages": self.huge_pages},
        }

    def start(self, config_path: str, timeout_s: float = 20, **kwargs) -> "Dpdk":
        """kwargs: as subprocess.Popen."""
        self.launch(config_path, **kwargs)
        wait_until(self._ready, timeout_s, "sluice-dpdk forwards", interval_s=0.05)
        return self

    def launch(self, config_path: str, *more: str, **kwargs) -> None:
        """The same without a look at what comes of it; more: arguments."""
        argv = [*as_unit(), os.path.join(BUILD, "sluice-dpdk"),
                "--config", config_path, "--idle-us", str(self.idle_us), *more]
        self.process = self.host.popen(argv, name="sluice-dpdk", **kwargs)

    def _ready(self) -> bool:
        if "forwarding on" in self.process.output():
            return True
        if not self.process.running():
            raise TestbedError(f"sluice-dpdk ended with status {self.process.returncode}:\n"
                               f"{self.process.tail()}")
        return False

    def stop(self) -> int:
        return self.process.stop()

    def kill(self) -> int:
        return self.process.kill()

    def restart(self, config_path: str, kill: bool = False) -> "Dpdk":
        self.kill() if kill else self.stop()
        return self.start(config_path)
