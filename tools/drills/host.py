# SPDX-License-Identifier: BSD-2-Clause
"""Drills: what happens on the ingress host itself, and around it."""
from __future__ import annotations

import os
import signal
import struct
import subprocess
import time

from tests.lib import ROOT
from tests.lib.case import case
from tests.lib.dns import Dns
from tests.lib.wait import wait_until
from tools.drills.drill import Drill, fleet
from tools.drills.nodes import BACK_S, REFUSED_S, healthy

STOPPED_S = 60


@case("agent stopped for a minute: forwarding goes on; what it finds afterwards is not held "
      "against nodes",
      timeout_s=150)
def agent_stopped(t):
    with Drill(t) as d:
        d.start_load()
        transitions = d.agent.process.output().count(" -> ")
        d.agent.process.send(signal.SIGSTOP)
        time.sleep(STOPPED_S)
        killed = d.fault(d.mocks["node4"].kill)
        time.sleep(0.5)
        since = d.fault(d.agent.process.send, signal.SIGCONT)
        d.noticed({"node4": "unhealthy"}, REFUSED_S + 0.5)
        d.fault_at = killed
        time.sleep(2)
        changes = d.agent.process.output().count(" -> ") - transitions
        d.check("changes of state after it", "1, of the node that died", str(changes), changes == 1)
        d.mocks["node4"].start()
        d.restored(healthy(*d.mocks), BACK_S + 5, since)
        d.end_load()
        d.only_on("node4")


@case("agent killed: forwarding goes on, and the next agent changes nothing", timeout_s=60)
def agent_killed(t):
    with Drill(t) as d:
        d.start_load()
        d.fault(d.agent.kill)
        time.sleep(2)
        d.agent.start()
        d.follows("all nodes are judged again", lambda: d.are(healthy(*d.mocks)), 8)
        written = d.pool()["slots_written"]
        d.check("slots that the next agent changed", "0", str(written), written == 0)
        d.end_load()
        d.none_lost()


def clock_of(agent) -> float:
    """The wall clock as the agent has it: the time of its start as it sees it now, and its age."""
    values = dict(line.rsplit(" ", 1) for line in agent.api("/metrics").splitlines()
                  if not line.startswith("#"))
    return (float(values["process_start_time_seconds"]) +
            float(values["sluice_agent_uptime_seconds"]))


@case("clock jump: a step of the wall clock by a day, either way, changes nothing", timeout_s=90)
def clock_jump(t):
    # The machine's clock is not touched: the agent alone is shown another one.
    library, offset_s = os.path.join(t.log_dir, "wallclock.so"), os.path.join(t.log_dir, "offset")
    source = os.path.join(ROOT, "tests", "lib", "wallclock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-o", library, source], check=True)
    with open(offset_s, "wb") as f:
        f.write(struct.pack("=q", 0))

    def step(seconds: int) -> None:
        with open(offset_s, "r+b") as f:
            f.write(struct.pack("=q", seconds))

    env = {"LD_PRELOAD": library, "WALLCLOCK_OFFSET_FILE": offset_s}
    with Drill(t, agent_start={"env": env}) as d:
        d.start_load()
        before, changes = clock_of(d.agent), d.agent.process.output().count(" -> ")
        for seconds, days in ((86400, 1), (-86400, -2)):
            d.fault(step, seconds)
            d.follows("the agent sees the step",
                      lambda: abs(clock_of(d.agent) - before) > 80000, 2)
            moved = (clock_of(d.agent) - before) / 86400
            d.check("its clock", f"{days} days off the last", f"{moved:.2f}",
                    abs(moved - days) < 0.01)
            before = clock_of(d.agent)
            d.stays("all nodes are healthy", lambda: d.are(healthy(*d.mocks)), 3)
        n = d.agent.process.output().count(" -> ") - changes
        d.check("changes of state", "0", str(n), n == 0)
        d.fault(d.mocks["node1"].kill)
        d.detection_s = d.noticed({"node1": "unhealthy"}, REFUSED_S)
        d.end_load()
        d.only_on("node1")


@case("full disk: an agent that cannot write its log works on", timeout_s=60)
def full_disk(t):
    with open("/dev/full", "wb") as full, \
            Drill(t, agent_start={"stdout": full, "stderr": full}) as d:
        d.start_load()
        d.fault(d.mocks["node3"].kill)
        d.noticed({"node3": "unhealthy"}, REFUSED_S)
        since = time.monotonic()
        d.mocks["node3"].start()
        d.restored(healthy("node3"), BACK_S, since)
        d.agent.ctl("reload")
        d.end_load()
        d.only_on("node3")


@case("log reader stuck: an agent whose log nobody reads does not wait for it", timeout_s=60)
def log_reader_stuck(t):
    read_end, write_end = os.pipe()
    try:
        with Drill(t, agent_start={"stdout": write_end, "stderr": write_end,
                                   "args": ("--debug",)}) as d:
            os.set_blocking(write_end, False)
            try:
                while True:
                    os.write(write_end, b"x" * 4096)
            except BlockingIOError:
                pass
            finally:
                os.set_blocking(write_end, True)
            d.start_load()
            d.fault(d.mocks["node3"].kill)
            d.noticed({"node3": "unhealthy"}, REFUSED_S)
            since = time.monotonic()
            d.mocks["node3"].start()
            d.restored(healthy("node3"), BACK_S, since)
            d.end_load()
            d.only_on("node3")
    finally:
        os.close(read_end)
        os.close(write_end)


# A host with a stateful firewall that drops what it knows no connection of: balancers whose packets
# pass it see one half of each connection, and lose them.
FIREWALL = """
table inet strict {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iif lo accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
  chain forward { type filter hook forward priority 0; policy drop; }
}
"""


@case("conntrack: connections to VIPs are not tracked, and a strict firewall does not see them",
      timeout_s=60)
def conntrack_free(t):
    with Drill(t) as d:
        host = d.tb.ingress
        done = host.run(["nft", "-f", "-"], check=False, text_in=FIREWALL)
        if done.returncode:
            t.skip(f"nftables cannot track connections here: {done.stderr.strip()[:100]}")
        d.fault(lambda: None)
        d.start_load()

        def tracked() -> int:
            with open("/proc/sys/net/netfilter/nf_conntrack_count", encoding="ascii") as f:
                return int(f.read())

        time.sleep(2)
        n = host.call(tracked)
        # The agent's own checks and scrapes are tracked: two connections a node.
        d.check("tracked connections under load", "those of the agent's checks (20 at most)",
                str(n), 0 < n <= 20)
        d.fault(d.mocks["node1"].kill)
        d.noticed({"node1": "unhealthy"}, REFUSED_S)
        d.end_load()
        d.only_on("node1")


@case("nodes renumbered by DNS: new addresses are used, streams to the old ones end in peace",
      timeout_s=90)
def renumbered_by_dns(t):
    name, dns = "gpu.example.net", None

    def config_of(tb):
        nonlocal dns
        dns = Dns(tb.client, tb.client.ip4).start()
        dns.set(name, "A", [tb["node1"].ip4, tb["node2"].ip4])
        settings = fleet(tb)
        settings["pools"][0].pop("nodes")
        settings["pools"][0]["discovery"] = {
            "dns": {"name": name, "type": "A", "server": dns.server,
                    "min_ttl": "1s", "max_ttl": "1s"}}
        return settings

    with Drill(t, config_of=config_of) as d:
        old = [d.tb["node1"].ip4, d.tb["node2"].ip4]
        new = [d.tb["node3"].ip4, d.tb["node4"].ip4]

        def serving() -> set[str]:
            return {b["address"].rsplit(":", 1)[0] for b in d.backends().values()
                    if b["state"] == "healthy" and b["effective_weight"] > 0}

        wait_until(lambda: serving() == set(old), 15, "nodes of the first answer serve")
        d.start_load()
        d.fault(dns.set, name, "A", new)
        d.follows("nodes of the new answer serve, and no others", lambda: serving() == set(new), 6)
        d.fault(dns.set, name, "A", [])
        d.stays("an empty answer empties nothing", lambda: serving() == set(new), 3)
        d.end_load()
        d.none_lost()
