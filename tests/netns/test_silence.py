# SPDX-License-Identifier: BSD-2-Clause
"""Nodes that fall silent together: what lies between them and the balancer is not held against
them."""
import os
import signal
import threading
import time

from tests.lib import config, loadgen, mock
from tests.lib.agent import Agent
from tests.lib.case import case, equal
from tests.lib.wait import holds_for, wait_until

STREAMS = 60
SPARED = "NODES THAT DO NOT ANSWER, AND STAY AS THEY ARE: "


def serve(t, nodes: int = 4):
    t.need("sluiced", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o", "xdpattach")
    tb = t.testbed(nodes=nodes)
    mock.start_all(tb)
    for node in tb.nodes:
        node.attach_decap()
    agent = Agent(tb.ingress, config.one_pool(tb)).start()
    agent.wait_all()
    return tb, agent


def begin_streams(tb, seconds: int) -> loadgen.Loadgen:
    streams = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), count=STREAMS,
                              concurrency=STREAMS, rate=1000, tokens=100 * seconds,
                              duration=3, silence=40, grace=60).start()
    streams.wait_active(STREAMS)
    return streams


def mute(node) -> None:
    """Nothing that comes to it is seen, as behind a switch that restarts."""
    node.run(["nft", "-f", "-"], text_in=f"table netdev silence {{ chain c {{ type filter hook "
             f"ingress device \"{node.dev}\" priority 0; policy drop; }}; }}")


def unmute(node) -> None:
    node.run(["nft", "delete", "table", "netdev", "silence"])


def went_down(agent) -> list[str]:
    return [line for line in agent.process.output().splitlines() if "-> unhealthy" in line]


def doubted(agent) -> int:
    return agent.ctl("status")["checks"]["doubted"]


@case("no stream breaks when all nodes are out of reach for ten seconds", timeout_s=100)
def switch_restarts(t):
    tb, agent = serve(t)
    streams = begin_streams(tb, 12)
    for node in tb.nodes:
        mute(node)
    wait_until(lambda: doubted(agent) == 4, 9, "all nodes are spared")
    text = agent.ctl_run("status").stdout
    assert f"{SPARED}4. " in text, text
    assert "sluice_nodes_doubted 4\n" in agent.api("/metrics"), "metric"
    holds_for(lambda: set(agent.states().values()) == {"healthy"}, 4, "all nodes stay healthy")
    for node in tb.nodes:
        unmute(node)
    wait_until(lambda: doubted(agent) == 0, 9, "no node is spared any more")
    report = streams.wait(90)
    equal((report["completed"], report["broken"], report["failed"]), (STREAMS, 0, 0),
          "streams complete, broken, failed")
    equal(went_down(agent), [], "nodes that went down")


@case("a node that falls silent among others that answer is down within seconds", timeout_s=60)
def one_dies(t):
    tb, agent = serve(t)
    mute(tb.nodes[1])
    agent.wait_states(9, node1="healthy", node2="unhealthy", node3="healthy", node4="healthy")
    mute(tb.nodes[0])
    mute(tb.nodes[2])
    agent.wait_states(9, node1="unhealthy", node2="unhealthy", node3="unhealthy", node4="healthy")


class Starving:
    """A process that gets the processor for `run_s` of each `run_s` + `stop_s` seconds."""

    def __init__(self, pid: int, run_s: float, stop_s: float):
        self.pid, self.run_s, self.stop_s = pid, run_s, stop_s
        self.stops: list[float] = []  # how long each was; two between which it did not run are one
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _ran_ns(self) -> int:
        """Of its first thread."""
        with open(f"/proc/{self.pid}/schedstat", encoding="ascii") as f:
            return int(f.read().split()[0])

    def _run(self) -> None:
        began = time.monotonic()
        while not self.over.is_set():
            os.kill(self.pid, signal.SIGSTOP)
            self.over.wait(self.stop_s)
            ran = self._ran_ns()
            os.kill(self.pid, signal.SIGCONT)
            ended = time.monotonic()
            self.over.wait(self.run_s)
            if self._ran_ns() != ran or self.over.is_set():
                self.stops.append(ended - began)
                began = time.monotonic()

    def end(self) -> None:
        self.over.set()
        self.thread.join()


@case("an agent that hardly gets the processor takes no node out and breaks no stream",
      timeout_s=100)
def starved_agent(t):
    tb, agent = serve(t)
    streams = begin_streams(tb, 11)
    for run_s, stop_s in ((0.005, 0.2), (0.005, 0.7), (0.02, 1.5)):
        starving = Starving(agent.pid, run_s, stop_s)
        starving.over.wait(6)
        starving.end()
    agent.wait_all(timeout_s=10)
    report = streams.wait(90)
    equal((report["completed"], report["broken"], report["failed"]), (STREAMS, 0, 0),
          "streams complete, broken, failed")
    equal(went_down(agent), [], "nodes that went down")
