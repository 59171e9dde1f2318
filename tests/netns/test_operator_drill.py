# SPDX-License-Identifier: BSD-2-Clause
"""sluicectl drill: what an operator runs against a fleet that serves."""
import json
import os
import signal
import time

from tests.lib import config, loadgen, mock, program
from tests.lib.agent import Agent
from tests.lib.case import between, case, equal
from tests.lib.wait import wait_until


def fleet(t, nodes=3, **settings):
    t.need("sluiced", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o")
    tb = t.testbed(nodes=nodes)
    for node in tb.nodes:
        node.attach_decap()
    mocks = mock.start_all(tb, slots=64, tokens_per_second=50)
    agent = Agent(tb.ingress, config.one_pool(tb, **settings)).start()
    wait_until(lambda: set(states(agent).values()) == {"healthy"}, 10, "all nodes are healthy")
    return tb, agent, mocks


def states(agent):
    return {b["name"]: b["state"] for b in agent.ctl("backends")["backends"]}


def command(agent, *words):
    return [program("sluicectl"), "--socket", agent.socket, "--json", "drill", *words]


def drill(tb, agent, *words, timeout_s=150):
    """From the client's host: (exit status, JSON, standard error)."""
    done = tb.client.run(command(agent, *words), check=False, timeout_s=timeout_s)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def health(tb):
    return loadgen.url(tb.vip4, path="/health")


@case("sluicectl drill drains and restores each node in turn, and no client notices", timeout_s=60)
def all_in_turn(t):
    tb, agent, _ = fleet(t)
    load = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), concurrency=30, tokens=50,
                           duration=60).start()
    load.wait_active(30)
    status, result, said = drill(tb, agent, "--pool", "pool", "--url", health(tb), "--url",
                                 loadgen.url(tb.vip6, path="/health"), "--pause", "300ms")
    report = load.finish()
    equal((status, result["passed"], result["error"]), (0, True, ""), "result")
    equal([n["node"] for n in result["nodes"]], ["pool/node1", "pool/node2", "pool/node3"], "order")
    for n in result["nodes"]:
        between(n["drained_ms"], 500, 60000, f"time to drain {n['node']}")
        between(n["restored_ms"], 0, 15000, f"time until {n['node']} was back")
    between(result["probes"]["sent"], 20, 1000, "requests")
    equal(result["probes"]["failed"], 0, "requests that failed")
    equal((report["failed"], report["broken"]), (0, 0), "failed and broken streams of a client")
    log = agent.process.output()
    order = [n for n in log.split() if n.startswith("pool/node")]
    equal(log.count("drained by the operator"), 3, f"drains logged ({order})")
    equal(set(states(agent).values()), {"healthy"}, "states afterwards")
    assert "pool/node2: drained in" in said, said


@case("a drill that would leave too little of a pool drains nothing", timeout_s=40)
def too_little(t):
    tb, agent, _ = fleet(t, nodes=2)
    status, result, _ = drill(tb, agent, "--nodes", "node1,node2", "--url", health(tb),
                              "--min-capacity", "60%")
    equal((status, result["passed"]), (8, False), "result")
    assert "1 of 2 (50 %)" in result["error"], result["error"]
    equal(agent.process.output().count("drained by the operator"), 0, "drains")
    equal(drill(tb, agent, "--nodes", "nodeX", "--no-probe")[0], 8, "an unknown node")
    equal(drill(tb, agent, "--nodes", "node1")[0], 2, "nothing to watch")


@case("a dry run says what could be drained and changes nothing", timeout_s=40)
def dry_run(t):
    tb, agent, _ = fleet(t, nodes=2)
    plan = os.path.join(t.log_dir, "plan.json")
    with open(plan, "w", encoding="utf-8") as f:
        json.dump({"nodes": ["pool/node2"], "urls": [health(tb)], "min_capacity": "50%"}, f)
    status, result, _ = drill(tb, agent, plan, "--dry-run")
    equal((status, result["passed"], result["dry_run"]), (0, True, True), "result")
    equal([n["node"] for n in result["nodes"]], ["pool/node2"], "nodes")
    equal(agent.process.output().count("drained by the operator"), 0, "drains")


@case("when the service breaks in a drill, the node is put back and the drill stops", timeout_s=60)
def breaks(t):
    tb, agent, mocks = fleet(t, nodes=2)
    load = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), concurrency=20, count=20,
                           tokens=1000, duration=5).start()
    load.wait_active(20)
    process = tb.client.popen(command(agent, "--nodes", "node1,node2", "--url", health(tb)),
                              name="drill")
    wait_until(lambda: states(agent)["node1"] == "draining", 5, "node1 drains")
    mocks["node2"].kill()
    killed = time.monotonic()
    wait_until(lambda: states(agent)["node1"] == "healthy", 5, "node1 is back")
    between(time.monotonic() - killed, 0, 12, "seconds until it was")
    equal(process.wait(30), 8, "exit status")
    assert "the service does not hold" in process.output(), process.output()
    equal(agent.process.output().count("pool/node2: drained"), 0, "drains of the other node")
    load.stop()


@case("a drill cuts nothing off: at its deadline, or interrupted, it puts the node back",
      timeout_s=60)
def patient(t):
    tb, agent, _ = fleet(t, nodes=2)
    load = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), concurrency=20, count=20,
                           tokens=1000, duration=5).start()
    load.wait_active(20)
    status, result, _ = drill(tb, agent, "--nodes", "node1", "--url", health(tb), "--deadline",
                              "1s")
    equal(status, 8, "exit status at the deadline")
    assert "left after the deadline" in result["error"], result["error"]
    equal(states(agent)["node1"], "healthy", "state of node1")
    process = tb.client.popen(command(agent, "--nodes", "node2", "--url", health(tb)), name="drill")
    wait_until(lambda: states(agent)["node2"] == "draining", 5, "node2 drains")
    process.send(signal.SIGINT)
    equal(process.wait(30), 8, "exit status when interrupted")
    equal(states(agent)["node2"], "healthy", "state of node2")
    report = load.wait(60)
    equal((report["completed"], report["broken"]), (20, 0), "streams that ended well, and broke")
