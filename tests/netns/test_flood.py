# SPDX-License-Identifier: BSD-2-Clause
"""New connections beside a flood of SYNs from random sources: the flood must not choose for
them."""
import collections
import os

from tests.lib import BUILD, config, loadgen, mock
from tests.lib.agent import Agent
from tests.lib.case import between, case, equal
from tests.lib.wait import wait_until

FLOOD = 20000
BUSY = 400  # requests on the node that new connections are to avoid
CONNECTIONS = 1200
RATE = 300  # of honest connections, a second


def occupy(tb, agent: Agent, node: str) -> None:
    """Streams that go to a node past the balancer; returns when the agent has seen them."""
    loadgen.Loadgen(tb.client, "stream", loadgen.url(tb[node].ip4), concurrency=BUSY, count=BUSY,
                    tokens=100000, duration=100).start()
    wait_until(lambda: (agent.nodes()[node]["load"]["running"] or 0) >= BUSY, 10,
               f"the agent sees {BUSY} requests on {node}")


def placed(tb, report_name: str) -> collections.Counter:
    """Honest connections by node; each must be answered."""
    report = loadgen.run(tb.client, "spread", [loadgen.url(tb.vip4), loadgen.url(tb.vip6)],
                         count=CONNECTIONS, rate=RATE, concurrency=64)
    equal(report["completed"], CONNECTIONS, f"answers {report_name}")
    return collections.Counter({n: b["started"] for n, b in report["by_backend"].items()})


@case("beside 20,000 SYNs a second that lead to nothing, new connections still avoid a busy node",
      timeout_s=90, alone=True)
def second_choice(t):
    t.need("sluiced", "sluicectl", "mockbackend", "loadgen", "synflood", "decap.bpf.o", "xdpattach")
    tb = t.testbed(nodes=4)
    mock.start_all(tb, slots=2000, tokens_per_second=0.2)
    for node in tb.nodes:
        node.attach_decap()
    agent = Agent(tb.ingress, config.one_pool(tb, pool={"policy": "p2c"})).start()
    agent.wait_all()
    occupy(tb, agent, "node1")
    quiet = placed(tb, "without a flood")
    print(f"without a flood: {dict(quiet)}")
    between(quiet["node1"], 0, CONNECTIONS * 0.02, "connections to the busy node, no flood")

    argv = [os.path.join(BUILD, "synflood"), "--dev", tb.client.dev, "--mac", tb.ingress.mac,
            "--rate", FLOOD, "--seconds", 30, f"{tb.vip4}:{mock.PORT}", f"[{tb.vip6}]:{mock.PORT}"]
    flood = tb.client.popen(argv, name="synflood")
    before = agent.ctl("status")["packets"]
    wait_until(lambda: agent.ctl("status")["packets"]["ok"] > before["ok"] + 4 * FLOOD, 15,
               "the flood comes through")
    flooded = placed(tb, "beside the flood")
    after = agent.ctl("status")["packets"]
    flood.stop()
    print(f"beside the flood: {dict(flooded)}; entries added "
          f"{after['flow_added'] - before['flow_added']}, promoted "
          f"{after['flow_promoted'] - before['flow_promoted']}, refused: no room "
          f"{after['overflow_half_open']}, rate {after['overflow_rate']}")
    between(flooded["node1"], 0, CONNECTIONS * 0.06, "connections to the busy node, flood")
    equal(after["overflow_half_open"], 0, "refused for want of room")
