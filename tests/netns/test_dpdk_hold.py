# SPDX-License-Identifier: BSD-2-Clause
"""While sluice-dpdk does not run, the silence of nodes behind it is no evidence against them."""
import time

from tests.lib import config, loadgen, mock
from tests.lib.agent import Agent
from tests.lib.case import between, case, equal
from tests.lib.dpdk import Dpdk
from tests.lib.wait import wait_until

STREAMS = 60


def serve(t, pool=None):
    t.need("sluiced", "sluice-dpdk", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o")
    tb = t.testbed(nodes=4)
    mocks = mock.start_all(tb)
    for node in tb.nodes:
        node.attach_decap()
    dpdk = Dpdk(tb.ingress)
    agent = Agent(tb.ingress, config.one_pool(tb, pool=pool, **dpdk.config())).start()
    return tb, mocks, dpdk, agent


def went_down(agent) -> list[str]:
    return [line for line in agent.process.output().splitlines() if "-> unhealthy" in line]


def outage(t, policy, seconds, upgrade):
    """
    So long without a data plane under live streams, which then go on for as long. upgrade: it is
    stopped and the agent is exchanged meanwhile; otherwise it is killed.
    """
    tb, _, dpdk, agent = serve(t, {"policy": policy})
    dpdk.start(agent.config_path)
    agent.wait_all()
    streams = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), count=STREAMS,
                              concurrency=STREAMS, rate=1000, tokens=100 * seconds,
                              duration=3, silence=40, grace=60).start()
    streams.wait_active(STREAMS)
    began = time.monotonic()
    dpdk.stop() if upgrade else dpdk.kill()
    if upgrade:
        agent.stop()
        agent.start()
    time.sleep(seconds)
    said = agent.ctl("status")["dataplane"]
    equal((said["kind"], said["stopped"]), ("dpdk", True), "data plane, stopped")
    between(said["stopped_ms"], 900 * seconds, 1000 * (time.monotonic() - began) + 1000,
            "milliseconds without it")
    text = agent.ctl_run("status").stdout
    assert "NOTHING IS FORWARDED: sluice-dpdk has not run for " in text, text
    since = len(agent.process.output())
    dpdk.start(agent.config_path)
    agent.wait_log("sluice-dpdk forwards again", 3, since)
    text = agent.ctl_run("status")
    assert "Poll-mode workers: 1\n" in text.stdout, text
    report = streams.wait(80)
    equal(went_down(agent), [], "nodes that went down")
    equal((report["completed"], report["broken"], report["failed"]), (STREAMS, 0, 0),
          "streams complete, broken, failed")
    said = agent.ctl("status")["dataplane"]
    equal((said["stopped"], said["stops"]), (False, 0 if upgrade else 1),
          "stopped, number of stops")
    assert said["checks_ignored"] > 0, said
    dpdk.stop()


@case("DPDK: ten seconds after kill -9 of sluice-dpdk no node is down, no stream broken",
      timeout_s=100)
def killed_p2c(t):
    outage(t, "p2c", 10, upgrade=False)


@case("DPDK: the same when both programs are exchanged, in a pool of policy hash", timeout_s=100)
def stopped_hash(t):
    outage(t, "hash", 5, upgrade=True)


@case("DPDK: a node that died while nothing forwarded is down soon after", timeout_s=60)
def died_meanwhile(t):
    _, mocks, dpdk, agent = serve(t)
    dpdk.start(agent.config_path)
    agent.wait_all()
    dpdk.kill()
    agent.wait_log("sluice-dpdk has stopped", 3)
    mocks["node1"].kill()
    mocks["node2"].host.ip("link", "set", mocks["node2"].host.dev, "down")  # silent, not refused
    time.sleep(2)
    equal(set(agent.states().values()), {"healthy"}, "states while nothing forwards")
    dpdk.start(agent.config_path)
    agent.wait_states(8, node1="unhealthy", node2="unhealthy", node3="healthy", node4="healthy")


@case("DPDK: nodes stay unknown until sluice-dpdk is first started, then all are healthy")
def not_started(t):
    _, _, dpdk, agent = serve(t)
    time.sleep(4)
    equal(set(agent.states().values()), {"unknown"}, "states before")
    dpdk.start(agent.config_path)
    agent.wait_all(timeout_s=5)
    equal(went_down(agent), [], "nodes that went down")


@case("DPDK: a drain does not end while nothing forwards", timeout_s=60)
def drain_waits(t):
    tb, _, dpdk, agent = serve(t)
    dpdk.start(agent.config_path)
    agent.wait_all()
    streams = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), count=20, concurrency=20,
                              rate=1000, tokens=350, duration=3, silence=40, grace=40).start()
    streams.wait_active(20)
    dpdk.kill()
    agent.wait_log("sluice-dpdk has stopped", 3)
    agent.ctl("drain", "node1")
    time.sleep(3)
    drain = agent.nodes()["node1"]["drain"]
    assert not drain["done"], drain
    dpdk.start(agent.config_path)
    report = streams.wait(60)
    equal((report["completed"], report["broken"]), (20, 0), "streams complete, broken")
    wait_until(lambda: agent.nodes()["node1"]["drain"]["done"], 10, "the drain is done")
