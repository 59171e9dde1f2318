# SPDX-License-Identifier: BSD-2-Clause
"""
Beside other XDP programs in libxdp's dispatcher, where the kernel has it (freplace). One test after
the other: xdp-loader fails while another one holds the lock file of the machine.
"""
import json
import os

from tests.lib import BUILD, config, loadgen, mock
from tests.lib.agent import Agent
from tests.lib.case import case, equal
from tests.lib.wait import wait_until

CONNECTIONS = 200
OTHER = os.path.join(BUILD, "tests", "xdp_count.bpf.o")


def chain_of(host, dev: str) -> list[list[str]]:
    """The rows of xdp-loader about the chain: =>, priority, name, id, tag, actions; in order."""
    out = host.run(["xdp-loader", "status", dev]).stdout
    return [line.split() for line in out.splitlines() if "=>" in line]


def programs(host, dev: str) -> list[str]:
    return [row[2] for row in chain_of(host, dev)]


def add_other(host, dev: str) -> None:
    host.run(["xdp-loader", "load", "-m", "native", dev, OTHER])


def frames_seen(host, dev: str) -> int:
    """What the other program has counted."""
    number = next(row[3] for row in chain_of(host, dev) if row[2] == "xdp_count")
    shown = json.loads(host.run(["bpftool", "-j", "prog", "show", "id", number]).stdout)
    total = 0
    for map_id in shown["map_ids"]:
        dump = json.loads(host.run(["bpftool", "-j", "map", "dump", "id", map_id]).stdout)
        total += sum(entry["formatted"]["value"] for entry in dump)
    return total


class Chain:
    """A testbed with two nodes, an agent, and whatever else its interface runs."""

    def __init__(self, t):
        t.need("xdp-loader", "bpftool", "sluiced", "sluicectl", "loadgen", "mockbackend",
               "xdpattach", "decap.bpf.o", OTHER)
        self.t = t
        self.tb = t.testbed(nodes=2)
        self.host = self.tb.ingress
        self.dev = self.host.dev
        mock.start_all(self.tb)
        for node in self.tb.nodes:
            node.attach_decap()
        self.agent = Agent(self.host, config.one_pool(self.tb))

    def start(self) -> None:
        """Start the agent; skip if its program cannot be one of several."""
        self.agent.start()
        wait_until(self.all_healthy, 10, "all nodes are healthy")
        if self.agent.ctl("status")["interfaces"][0]["chain"] != "dispatcher":
            self.t.skip("this kernel cannot run libxdp's dispatcher")

    def all_healthy(self) -> bool:
        nodes = self.agent.ctl("backends")["backends"]
        return len(nodes) == 2 and all(node["state"] == "healthy" for node in nodes)

    def carries(self) -> None:
        for vip in (self.tb.vip4, self.tb.vip6):
            report = loadgen.run(self.tb.client, "spread", loadgen.url(vip), count=CONNECTIONS,
                                 connect_timeout=10, duration=40)
            equal([report["completed"], report["failed"], report["broken"]], [CONNECTIONS, 0, 0],
                  f"connections to {vip}")


def need_chains(t, chain: Chain) -> None:
    """Whether there are chains is only known when one was tried: on a device of its own."""
    host = chain.host
    host.ip("link", "add", "try0", "type", "veth", "peer", "name", "try1")
    done = host.run(["xdp-loader", "load", "-m", "native", "try0", OTHER], check=False)
    names = programs(host, "try0") if done.returncode == 0 else []
    host.run(["xdp-loader", "unload", "try0", "--all"], check=False)
    host.ip("link", "del", "try0")
    if names != ["xdp_count"]:
        t.skip("this kernel cannot run libxdp's dispatcher")


@case("a program that is there stays, and both see the frames; detach takes only ours",
      timeout_s=60,
      alone=True)
def joins(t):
    chain = Chain(t)
    need_chains(t, chain)
    add_other(chain.host, chain.dev)
    chain.start()
    equal(programs(chain.host, chain.dev), ["xdp_count", "sluice_balancer"], "the chain")
    before = frames_seen(chain.host, chain.dev)
    chain.carries()
    frames = frames_seen(chain.host, chain.dev) - before
    assert frames >= 2 * CONNECTIONS * 4, f"the other program saw {frames} frames"
    chain.agent.ctl("detach")
    equal(programs(chain.host, chain.dev), ["xdp_count"], "the chain after detach")


@case("a program that comes later runs beside ours, and an agent that is killed finds its own",
      timeout_s=60, alone=True)
def is_joined(t):
    chain = Chain(t)
    chain.start()
    equal(programs(chain.host, chain.dev), ["sluice_balancer"], "the chain")
    add_other(chain.host, chain.dev)
    equal(programs(chain.host, chain.dev), ["xdp_count", "sluice_balancer"], "the chain")
    chain.carries()
    chain.agent.restart()
    wait_until(chain.all_healthy, 10, "all nodes are healthy")
    equal(programs(chain.host, chain.dev), ["xdp_count", "sluice_balancer"], "the chain")
    before = frames_seen(chain.host, chain.dev)
    chain.carries()
    assert frames_seen(chain.host, chain.dev) > before, "the other program saw nothing"


@case("a dispatcher that somebody takes off comes back whole; ours taken out of one that stays "
      "is told",
      timeout_s=150, alone=True)
def taken_off(t):
    chain = Chain(t)
    need_chains(t, chain)
    add_other(chain.host, chain.dev)
    chain.start()
    both = ["xdp_count", "sluice_balancer"]
    chain.host.ip("link", "set", "dev", chain.dev, "xdp", "off")
    chain.agent.wait_log("warning interface .*the packet program was taken off, and is attached", 5)
    equal(programs(chain.host, chain.dev), both, "the chain")
    before = frames_seen(chain.host, chain.dev)
    chain.carries()
    assert frames_seen(chain.host, chain.dev) > before, "the other program saw nothing"
    ours = next(row[3] for row in chain_of(chain.host, chain.dev) if row[2] == "sluice_balancer")
    chain.host.run(["xdp-loader", "unload", chain.dev, "--id", ours])
    chain.agent.wait_log("error +interface .*taken out of libxdp's dispatcher", 5)
    equal(programs(chain.host, chain.dev), ["xdp_count"], "the chain")
    chain.agent.restart()
    wait_until(chain.all_healthy, 10, "all nodes are healthy")
    equal(programs(chain.host, chain.dev), both, "the chain after a restart")
    chain.carries()
    chain.agent.restart(args=("--restart-to-repair",))
    chain.host.run(["xdp-loader", "unload", chain.dev, "--all"])
    chain.agent.wait_log("error +interface .*only root can put it into libxdp's dispatcher", 5)
    equal(chain.agent.process.wait(90), 1, "exit status of an agent that is started again")
    assert "to be started again as root" in chain.agent.process.output(), "why it ended"
    chain.agent.start()
    wait_until(chain.all_healthy, 10, "all nodes are healthy")
    chain.carries()
