# SPDX-License-Identifier: BSD-2-Clause
"""
The whole agent with thousands of nodes, each checked every second and scraped every two: processor
time, memory, how late its checks start, what one change of a table takes, what a reload takes, and
what follows when hundreds of nodes die at once. Writes build/bench/scale.json.

The nodes are one process behind a router: addresses of a prefix that its host has as a whole.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import time

from sluice_testbed import Host, Testbed, Topology

from tests.lib import BUILD
from tests.lib.agent import Agent
from tests.lib.wait import wait_until

PORT = 8000
PREFIX = "10.90.0.0/15"
PER_NET = 250  # of 256 addresses
CORES_BUDGET = 0.25
CHANGE_BUDGET_MS = 5.0
DEAD = "dead"  # the table of the packet filter that kills nodes


def address(i: int) -> str:
    net = i // PER_NET
    return f"10.{90 + net // 256}.{net % 256}.{i % PER_NET + 1}"


class Fleet:
    """n nodes in n_pools pools of one agent."""

    def __init__(self, testbed: Testbed, n: int, n_pools: int):
        self.n = n
        self.per_pool = n // n_pools
        self.host: Host = testbed.nodes[0]
        self.host.ip("route", "add", "local", PREFIX, "dev", "lo")
        testbed.ingress.ip("route", "add", PREFIX, "via", self.host.ip4)
        self.server = self.host.popen([os.path.join(BUILD, "bench_probe"), "--serve", str(PORT)],
                                      name="nodes")
        self.config = {"pools": [self._pool(k) for k in range(n_pools)],
                       "vips": [{"name": f"vip{k}", "address": f"10.99.0.{k + 1}", "port": PORT,
                                 "pool": f"pool{k}"} for k in range(n_pools)]}
        self.agent = Agent(testbed.ingress, self.config)

    def _pool(self, k: int) -> dict:
        nodes = [{"name": f"n{i}", "address": address(i), "port": PORT}
                 for i in range(k * self.per_pool, (k + 1) * self.per_pool)]
        return {"name": f"pool{k}", "preset": "vllm", "mode": "ipip", "nodes": nodes,
                "check": {"interval": "1s"}, "load": {"interval": "2s"}}

    def pools(self) -> list[dict]:
        return self.agent.ctl("status")["pools"]

    def count(self, state: str) -> int:
        return sum(pool["states"].get(state, 0) for pool in self.pools())

    def late_ms(self) -> int:
        return self.agent.ctl("status")["checks"]["late_max_ms"]

    def lines(self) -> int:
        return len(self.agent.process.output().splitlines())

    def kill(self, n: int) -> None:
        """The first n nodes refuse everything, what they had open included."""
        dead = ", ".join(address(i) for i in range(n))
        path = os.path.join(self.host.testbed.run_dir, "dead.nft")
        with open(path, "w", encoding="ascii") as f:
            f.write(f"table ip {DEAD} {{\n set nodes {{\n type ipv4_addr\n elements = {{ {dead} }}"
                    "\n }\n chain in {\n type filter hook input priority 0\n"
                    " ip daddr @nodes meta l4proto tcp reject with tcp reset\n }\n}\n")
        self.host.run(["nft", "-f", path])

    def revive(self) -> None:
        self.host.run(["nft", "delete", "table", "ip", DEAD])


def start(fleet: Fleet) -> dict:
    began = time.monotonic()
    fleet.agent.start(timeout_s=60)
    ready = time.monotonic()
    wait_until(lambda: fleet.count("healthy") == fleet.n, 60, "all nodes are healthy")
    return {"start_s": round(ready - began, 2), "all_healthy_s": round(time.monotonic() - began, 2),
            "start_log_lines": fleet.lines()}


def steady(fleet: Fleet, seconds: float) -> dict:
    time.sleep(10)  # what the start made late is forgotten by then
    agent = fleet.agent
    started = agent.ctl("status")["checks"]["started"]
    cores = agent.cpu_share(seconds)
    checks = agent.ctl("status")["checks"]
    return {"cores": round(cores, 4), "cores_budget": CORES_BUDGET,
            "probes_per_second": round((checks["started"] - started) / seconds),
            "late_max_ms": checks["late_max_ms"], "resident_kib": agent.memory_kib(),
            "resident_own_kib": agent.memory_kib("RssAnon")}


def changes(fleet: Fleet, times: int) -> dict:
    """One member of a pool goes and comes, again and again."""
    took = []
    for i in range(times):
        for word in ("drain", "undrain"):
            fleet.agent.ctl(word, f"pool0/n{i}")
            took.append(fleet.pools()[0]["change_ms"])
            time.sleep(0.1)
    return {"members": fleet.per_pool, "change_ms_median": statistics.median(took),
            "change_ms_least": min(took), "change_ms_max": max(took),
            "change_budget_ms": CHANGE_BUDGET_MS}


def reload(fleet: Fleet) -> dict:
    """What the API's caller waits for, which is what the agent's thread is busy with."""
    def timed() -> float:
        began = time.monotonic()
        fleet.agent.api("/v1/reload", "POST", timeout_s=60)
        return round(1000 * (time.monotonic() - began), 1)

    same = min(timed() for _ in range(3))
    fleet.config["pools"][0]["nodes"][0]["weight"] = 2
    fleet.agent.write_config(fleet.config)
    one = timed()
    nodes = fleet.config["pools"][0]["nodes"]
    gone, fleet.config["pools"][0]["nodes"] = nodes[:100], nodes[100:]
    fleet.agent.write_config(fleet.config)
    less = timed()
    fleet.config["pools"][0]["nodes"] = gone + fleet.config["pools"][0]["nodes"]
    fleet.agent.write_config(fleet.config)
    more = timed()
    wait_until(lambda: fleet.count("unknown") == 0, 30, "what was added is known")
    time.sleep(40)  # and warm
    return {"reload_same_ms": same, "reload_one_changed_ms": one, "reload_100_removed_ms": less,
            "reload_100_added_ms": more}


def deaths(fleet: Fleet, n: int) -> dict:
    time.sleep(10)
    lines, cpu = fleet.lines(), fleet.agent.cpu_s()
    before = fleet.pools()[0]
    fleet.kill(n)
    began = time.monotonic()
    wait_until(lambda: fleet.count("unhealthy") >= n, 30, f"{n} nodes are down", interval_s=0.05)
    detected = time.monotonic() - began
    time.sleep(1)
    busy = fleet.agent.cpu_s() - cpu
    after, late = fleet.pools()[0], fleet.late_ms()
    found = {"died": n, "died_detected_s": round(detected, 2), "died_cpu_s": round(busy, 2),
             "died_of_s": round(time.monotonic() - began, 2), "died_late_max_ms": late,
             "died_tables": after["builds"] - before["builds"],
             "died_log_lines": fleet.lines() - lines}
    fleet.revive()
    cpu, began = fleet.agent.cpu_s(), time.monotonic()
    wait_until(lambda: fleet.count("healthy") == fleet.n, 90, "all nodes are back", interval_s=1)
    seconds = time.monotonic() - began
    return {**found, "returned_s": round(seconds, 1),
            "returned_cores": round((fleet.agent.cpu_s() - cpu) / seconds, 4)}


def judge(figures: dict) -> list[str]:
    missed = []
    if figures["cores"] > CORES_BUDGET:
        missed.append(f"{figures['cores']:.3f} of a core is over {CORES_BUDGET}")
    if figures["change_ms_least"] > CHANGE_BUDGET_MS:
        missed.append(f"{figures['change_ms_least']} ms for one change is over {CHANGE_BUDGET_MS}")
    return missed


def say(figures: dict) -> None:
    print("{nodes} nodes in {pools} pools: {percent:.1f} % of a core (budget {budget:.0f} %), "
          "{probes_per_second} probes a second, late by {late_max_ms} ms at most, {mib:.0f} MiB, "
          "{own:.0f} of them its own".format(
              percent=100 * figures["cores"], budget=100 * CORES_BUDGET,
              mib=figures["resident_kib"] / 1024, own=figures["resident_own_kib"] / 1024,
              **figures))
    print("  one of {members} members changes: {change_ms_median:.1f} ms until the maps are "
          "written (least {change_ms_least:.1f}, budget {change_budget_ms:.0f})".format(**figures))
    print("  reload: {reload_same_ms:.0f} ms for nothing new, {reload_one_changed_ms:.0f} for one "
          "weight, {reload_100_removed_ms:.0f} for 100 nodes less, {reload_100_added_ms:.0f} for "
          "100 more".format(**figures))
    print("  {died} nodes die at once: all out after {died_detected_s} s, {died_tables} tables, "
          "{died_cpu_s} s of processor time, {died_log_lines} lines; back with "
          "{percent:.0f} % of a core".format(percent=100 * figures["returned_cores"], **figures))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scale", description=__doc__.strip().splitlines()[0])
    parser.add_argument("--nodes", type=int, default=4000)
    parser.add_argument("--pools", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10, help="of the steady measurement")
    parser.add_argument("--die", type=int, default=500, help="nodes that die at once")
    parser.add_argument("--json", default=os.path.join(BUILD, "bench", "scale.json"))
    options = parser.parse_args(argv)
    figures = {"nodes": options.nodes, "pools": options.pools}
    with Testbed(Topology(nodes=1), prefix=f"scale{os.getpid()}-") as testbed:
        fleet = Fleet(testbed, options.nodes, options.pools)
        figures |= start(fleet)
        figures |= steady(fleet, options.seconds)
        figures |= changes(fleet, 10)
        figures |= reload(fleet)
        figures |= deaths(fleet, options.die)
        fleet.agent.stop()
    os.makedirs(os.path.dirname(options.json), exist_ok=True)
    with open(options.json, "w", encoding="utf-8") as f:
        json.dump(figures, f, indent=2)
        f.write("\n")
    say(figures)
    missed = judge(figures)
    for line in missed:
        print(f"  MISSED: {line}")
    return 1 if missed else 0
