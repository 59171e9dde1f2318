# SPDX-License-Identifier: BSD-2-Clause
"""What this host answers when a pool has no node left."""
import http.client
import json

from tests.lib import config, mock
from tests.lib.agent import Agent
from tests.lib.case import between, case, equal
from tests.lib.wait import wait_until


def states(agent: Agent) -> set:
    return {node["state"] for node in agent.ctl("backends")["backends"]}


def forget_vips(tb) -> None:
    """The VIPs are no addresses of the ingress host, as where they are routed to it."""
    for vip in tb.plan.vips4:
        tb.ingress.ip("addr", "del", f"{vip}/32", "dev", "lo")
    for vip in tb.plan.vips6:
        tb.ingress.ip("addr", "del", f"{vip}/128", "dev", "lo")


def serve(t, mode="ipip", nodes=2, fallback=None, pool=None, **topology):
    """A testbed with agent and nodes, all healthy."""
    t.need("sluiced", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o", "xdpattach")
    tb = t.testbed(nodes=nodes, **topology)
    forget_vips(tb)
    mocks = mock.start_all(tb)
    if mode == "ipip":
        for node in tb.nodes:
            node.attach_decap()
    settings = config.one_pool(tb, pool={"mode": mode, **(pool or {})})
    for vip in settings["vips"]:
        vip["fallback"] = fallback or {}
    agent = Agent(tb.ingress, settings).start()
    wait_until(lambda: states(agent) == {"healthy"}, 10, "all nodes are healthy")
    return tb, agent, mocks


def kill_all(agent: Agent, mocks) -> None:
    for server in mocks.values():
        server.kill()
    wait_until(lambda: agent.ctl("status")["pools"][0]["empty"], 10, "the pool is empty")


def request(host, address, method="GET", path="/v1/models", body=None, timeout_s=5):
    """(status, headers in lower case, body) of a request from that host."""

    def run():
        conn = http.client.HTTPConnection(address, mock.PORT, timeout=timeout_s)
        try:
            conn.request(method, path, body)
            answer = conn.getresponse()
            headers = {k.lower(): v for k, v in answer.getheaders()}
            return answer.status, headers, answer.read()
        finally:
            conn.close()

    return host.call(run)


def check_degraded(answer) -> None:
    status, headers, body = answer
    equal(status, 503, "status")
    between(int(headers["retry-after-ms"]), 500, 3000, "retry-after-ms")
    between(int(headers["retry-after"]), 1, 3, "retry-after")
    equal(headers["x-should-retry"], "true", "x-should-retry")
    equal(headers["connection"].lower(), "close", "connection")
    equal(headers["content-type"], "application/json", "content-type")
    equal(json.loads(body)["error"]["type"], "server_error", "type of the error")


def dead_and_back(t, mode: str) -> None:
    tb, agent, mocks = serve(t, mode)
    vips = [tb.vip4, tb.vip6]
    for vip in vips:
        equal(request(tb.client, vip)[0], 200, f"status of {vip} while nodes are healthy")
    kill_all(agent, mocks)
    for vip in vips:
        check_degraded(request(tb.client, vip))
        check_degraded(request(tb.client, vip, "POST", "/v1/chat/completions", b"x" * 300000))
    mocks["node1"].start()
    wait_until(lambda: "healthy" in states(agent), 10, "node1 is back")
    for vip in vips:
        equal(request(tb.client, vip)[0], 200, f"status of {vip} once a node is back")


@case("ipip: with all nodes dead this host answers for both families, until a node is back")
def dead_ipip(t):
    dead_and_back(t, "ipip")


@case("l2dsr: with all nodes dead this host answers for both families, until a node is back")
def dead_l2dsr(t):
    dead_and_back(t, "l2dsr")
