# SPDX-License-Identifier: BSD-2-Clause
"""Every forwarding mode over every layout: real connections of both families, all answered."""
from tests.lib import config, loadgen, mock
from tests.lib.agent import Agent
from tests.lib.capture import Capture
from tests.lib.case import case, equal
from tests.lib.transfer import transfer
from tests.lib.wait import wait_until

CONNECTIONS = 400
BULK_PORT = 5001


def all_healthy(agent: Agent) -> bool:
    nodes = agent.ctl("backends")["backends"]
    return bool(nodes) and all(node["state"] == "healthy" for node in nodes)


def serve(t, layout: str, mode: str, family=4, xdp="native", nodes=4, vip_port=mock.PORT):
    """A testbed with agent and nodes, all healthy. family: of the nodes' addresses."""
    t.need("sluiced", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o", "xdpattach")
    tb = t.testbed(layout=layout, nodes=nodes)
    mock.start_all(tb)
    if mode in ("ipip", "gue"):
        for node in tb.nodes:
            node.attach_decap()
    interfaces = [{"name": leg.dev, "mode": xdp} for leg in tb.ingress.plan.legs]
    pool = {"mode": mode, "policy": "hash", "port": vip_port}
    pool["check"] = {**config.QUICK_CHECK, "port": mock.PORT}
    pool["load"] = {**config.QUICK_LOAD, "port": mock.PORT}
    settings = config.one_pool(tb, family=family, port=vip_port, pool=pool, interfaces=interfaces)
    agent = Agent(tb.ingress, settings).start()
    wait_until(lambda: all_healthy(agent), 10, "all nodes are healthy")
    return tb, agent


def all_answered(tb, vips: list[str]) -> None:
    for vip in vips:
        report = loadgen.run(tb.client, "spread", loadgen.url(vip), count=CONNECTIONS,
                             connect_timeout=10, duration=40)
        outcome = {k: report[k] for k in ("completed", "failed", "broken", "causes")}
        wanted = {"completed": CONNECTIONS, "failed": 0, "broken": 0, "causes": {}}
        equal(outcome, wanted, f"connections to {vip}")
        equal(sorted(report["by_backend"]), sorted(n.name for n in tb.nodes), f"nodes of {vip}")


def carries(t, layout: str, mode: str, **kwargs) -> None:
    tb, _ = serve(t, layout, mode, **kwargs)
    all_answered(tb, [tb.vip4, tb.vip6])


@case("l2dsr on one segment carries IPv4 and IPv6")
def flat_l2dsr(t):
    carries(t, "flat", "l2dsr")


@case("ipip on one segment carries IPv4 and IPv6 inside IPv4")
def flat_ipip(t):
    carries(t, "flat", "ipip")


@case("ipip on one segment carries IPv4 and IPv6 inside IPv6")
def flat_ipip6(t):
    carries(t, "flat", "ipip", family=6)


@case("gue on one segment carries IPv4 and IPv6 inside IPv4")
def flat_gue(t):
    carries(t, "flat", "gue")


@case("gue on one segment carries IPv4 and IPv6 inside IPv6")
def flat_gue6(t):
    carries(t, "flat", "gue", family=6)


@case("gue by another port, and the change from one port to another without a gap")
def gue_port(t):
    t.need("sluiced", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o", "xdpattach")
    tb = t.testbed(nodes=2)
    mock.start_all(tb)
    for node in tb.nodes:
        node.attach_decap(gue_ports=(7000, 6080))
    agent = Agent(tb.ingress, config.one_pool(tb, pool={"mode": "gue", "gue_port": 7000})).start()
    wait_until(lambda: all_healthy(agent), 10, "all nodes are healthy")
    all_answered(tb, [tb.vip4, tb.vip6])
    run = loadgen.Loadgen(tb.client, "steady", [loadgen.url(tb.vip4), loadgen.url(tb.vip6)],
                          rate=100, duration=2).start()
    run.wait_for(lambda p: p.get("completed", 0) > 10, 5, "connections are answered")
    agent.write_config(config.one_pool(tb, pool={"mode": "gue"}))
    agent.ctl("reload")
    report = run.wait(20)
    equal((report["failed"], report["broken"]), (0, 0), "failed, broken")
    for node in tb.nodes:
        node.attach_decap(gue_ports=(6080,))
    all_answered(tb, [tb.vip4, tb.vip6])


@case("ipip reaches nodes behind a router")
def routed_ipip(t):
    carries(t, "routed", "ipip")


@case("ipip reaches nodes behind a router inside IPv6")
def routed_ipip6(t):
    carries(t, "routed", "ipip", family=6)


@case("gue reaches nodes behind a router")
def routed_gue(t):
    carries(t, "routed", "gue")


@case("l2dsr leaves by another interface")
def split_l2dsr(t):
    carries(t, "split", "l2dsr")


@case("ipip leaves by another interface")
def split_ipip(t):
    carries(t, "split", "ipip")


@case("gue leaves by another interface, inside IPv6")
def split_gue6(t):
    carries(t, "split", "gue", family=6)


@case("generic XDP carries ipip as native does")
def generic_ipip(t):
    carries(t, "flat", "ipip", xdp="generic")


def bulk(t, mode: str, xdp: str) -> None:
    """Full-sized packets to the VIP arrive without the outer header, intact and without stalls."""
    tb, agent = serve(t, "flat", mode, nodes=1, xdp=xdp, vip_port=BULK_PORT)
    node = tb["node1"]
    for vip in (tb.vip4, tb.vip6):
        with Capture(node, f"tcp and dst {vip}") as capture:
            transfer(tb.client, node, vip, 4, BULK_PORT)
            capture.wait_for(100)
        frames = capture.stop()
        for frame in frames:
            equal(frame.ip.bad_sums, [], f"wrong checksums in {frame}")
        transfer(tb.client, node, vip, 60, BULK_PORT).flowed(f"{mode}, {xdp}, {vip}")


@case("a bulk transfer through ipip arrives whole and does not stall, by native XDP", alone=True)
def bulk_ipip(t):
    bulk(t, "ipip", "native")


@case("a bulk transfer through gue arrives whole and does not stall, by native XDP", alone=True)
def bulk_gue(t):
    bulk(t, "gue", "native")


@case("a bulk transfer through l2dsr arrives whole and does not stall, by native XDP", alone=True)
def bulk_l2dsr(t):
    bulk(t, "l2dsr", "native")


@case("a bulk transfer through ipip arrives whole, by generic XDP", alone=True)
def bulk_generic(t):
    bulk(t, "ipip", "generic")


@case("an agent that is killed forwards on, and finds its tables again")
def killed_agent(t):
    tb, agent = serve(t, "flat", "ipip")
    agent.kill()
    all_answered(tb, [tb.vip4, tb.vip6])
    agent.start()
    all_answered(tb, [tb.vip4, tb.vip6])
