# SPDX-License-Identifier: BSD-2-Clause
"""More frames than poll-mode workers take: they are counted, and no node is found dead for it."""
import ctypes
import os
import time

from tests.lib import BUILD, config, mock
from tests.lib.agent import Agent
from tests.lib.case import between, case, equal
from tests.lib.dpdk import DRIVERS, Dpdk
from tests.lib.wait import wait_until
from tests.netns.test_silence import Starving, begin_streams, went_down, STREAMS

FLOOD = 20000
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def serve(t, nodes: int = 4, **dpdk):
    t.need("sluiced", "sluice-dpdk", "sluicectl", "mockbackend", "loadgen", "synflood",
           "decap.bpf.o")
    tb = t.testbed(nodes=nodes)
    mock.start_all(tb)
    for node in tb.nodes:
        node.attach_decap()
    data = Dpdk(tb.ingress, **dpdk)
    agent = Agent(tb.ingress, config.one_pool(tb, **data.config())).start()
    data.start(agent.config_path)
    agent.wait_all()
    return tb, data, agent


def whole(streams) -> None:
    report = streams.wait(90)
    equal((report["completed"], report["broken"], report["failed"]), (STREAMS, 0, 0),
          "streams complete, broken, failed")


def overloaded(t, driver: str) -> None:
    tb, data, agent = serve(t, driver=driver)
    equal(agent.ctl("status")["dataplane"]["lost"], 0, "frames lost before")
    streams = begin_streams(tb, 10)
    flood = tb.client.popen(
        [os.path.join(BUILD, "synflood"), "--dev", tb.client.dev, "--mac", tb.ingress.mac, "--rate",
         FLOOD, "--seconds", 14, f"{tb.vip4}:{mock.PORT}"], name="synflood")
    starving = Starving(data.process.pid, 0.05, 0.25)  # a stop it is not: that takes half a second
    wait_until(lambda: "OVERLOADED: " in agent.ctl_run("status").stdout, 10, "status says so",
               interval_s=0.5)
    flood.wait(30)
    starving.end()
    said = agent.ctl("status")["dataplane"]
    between(said["stops"], 0, sum(s > 0.4 for s in starving.stops), "stops of the data plane")
    between(said["lost"], 1000, 20 * FLOOD, "frames lost")
    assert 'sluice_dpdk_missed_frames_total{why="queue_full"} ' in agent.api("/metrics")
    agent.wait_all(timeout_s=10)
    whole(streams)
    equal(went_down(agent), [], "nodes that went down")
    equal(data.stop(), 0, "exit status")
    assert "frames lost before a worker had them: " in data.process.output(), data.process.tail()


@case("DPDK: under a flood that its worker cannot take, no node is down and no stream breaks",
      timeout_s=120, alone=True)
def af_packet(t):
    overloaded(t, DRIVERS[0])


@case("DPDK: the same with sockets of AF_XDP", timeout_s=120, alone=True)
def af_xdp(t):
    overloaded(t, DRIVERS[1])


class Standstill:
    """One thread of a process stands still, from outside."""

    def __init__(self, tid: int):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.tid = tid
        self._ptrace(PTRACE_ATTACH)
        os.waitpid(tid, 0x40000000)  # __WALL

    def _ptrace(self, request: int) -> None:
        if self.libc.ptrace(request, self.tid, None, None) < 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request}")

    def end(self) -> None:
        self._ptrace(PTRACE_DETACH)


def worker_threads(pid: int) -> list[int]:
    """Of the workers that are not the process's first thread."""
    tasks = f"/proc/{pid}/task"
    names = {int(t): open(f"{tasks}/{t}/comm", encoding="utf-8").read().strip()
             for t in os.listdir(tasks)}
    return [tid for tid, name in names.items() if "worker" in name or "lcore" in name]


@case("DPDK: one of two workers stands still: half of all is lost, and no node is found dead",
      timeout_s=120, alone=True)
def one_stands_still(t):
    tb, data, agent = serve(t, driver=DRIVERS[0], cores="0-1", queues=2)
    streams = begin_streams(tb, 10)
    (tid,) = worker_threads(data.process.pid)
    still = Standstill(tid)
    try:
        time.sleep(9)
        text = agent.ctl_run("status").stdout
        assert "WORKERS THAT STAND STILL: 1, " in text, text
        equal(set(agent.states().values()), {"healthy"}, "states of the nodes")
    finally:
        still.end()
    whole(streams)
    equal(went_down(agent), [], "nodes that went down")
    equal(agent.ctl("status")["dataplane"]["stops"], 0, "stops of the data plane")
