# SPDX-License-Identifier: BSD-2-Clause
"""Pools that take their nodes from DNS or from a file of targets."""
import json
import os

from tests.lib import config, loadgen, mock
from tests.lib.agent import Agent
from tests.lib.case import between, case, equal
from tests.lib.dns import Dns
from tests.lib.wait import holds_for, wait_until

NAME = "gpu.test"


def backends(agent: Agent) -> dict:
    return {node["name"]: node for node in agent.ctl("backends")["backends"]}


def states(agent: Agent) -> dict:
    return {name: node["state"] for name, node in backends(agent).items()}


def discovery(agent: Agent) -> dict:
    return agent.ctl("status")["pools"][0]["discovery"]


def wait_states(agent: Agent, wanted: dict, timeout_s: float = 15) -> None:
    wait_until(lambda: states(agent) == wanted or None, timeout_s, f"states {wanted}")


def prepare(t, nodes=4, **topology):
    t.need("sluiced", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o", "xdpattach")
    tb = t.testbed(nodes=nodes, **topology)
    mocks = mock.start_all(tb)
    for node in tb.nodes:
        node.attach_decap()
    return tb, mocks


def pool_of(tb, source: dict, pool: dict | None = None, **top) -> dict:
    """The configuration: no node of its own, a short memory of flows, quick checks."""
    settings = {"nodes": [], "discovery": source, "policy": "hash", **(pool or {})}
    return config.one_pool(tb, pool=settings, **{"flow_idle": "3s", **top})


def dns_source(dns: Dns, **more) -> dict:
    source = {"name": NAME, "server": dns.server, "min_ttl": "300ms", "timeout": "2s"}
    return {"dns": {**source, **more}}


def addresses(tb, *numbers: int) -> list[str]:
    return [tb.nodes[n - 1].ip4 for n in numbers]


def healthy(*names: str) -> dict:
    return {name: "healthy" for name in names}


@case("nodes come from DNS at the start; a node that is added serves, without a reload", 60)
def dns_start(t):
    tb, _ = prepare(t)
    dns = Dns(tb.ingress).start()
    dns.set(NAME, "A", addresses(tb, 1, 2))
    agent = Agent(tb.ingress, pool_of(tb, dns_source(dns))).start()
    wait_states(agent, healthy(*addresses(tb, 1, 2)))
    report = loadgen.run(tb.client, "spread", loadgen.url(tb.vip4), count=100)
    equal(report["failed"], 0, "failed connections")
    equal(sorted(report["by_backend"]), ["node1", "node2"], "nodes that answered")
    dns.set(NAME, "A", addresses(tb, 1, 2, 3))
    wait_states(agent, healthy(*addresses(tb, 1, 2, 3)))
    now = discovery(agent)
    equal((now["type"], now["record"], now["source"]), ("dns", "A", NAME), "source")
    equal((now["named"], now["leaving"], now["error"]), (3, 0, ""), "discovery")
    between(now["age_ms"], 0, 10000, "age of the answer")
    equal(all(node["discovered"] for node in backends(agent).values()), True, "discovered")


@case("answers that are empty, failed, garbage or missing never empty a pool, and are logged once",
      90)
def dns_failures(t):
    tb, _ = prepare(t, nodes=2)
    dns = Dns(tb.ingress).start()
    dns.set(NAME, "A", addresses(tb, 1, 2))
    agent = Agent(tb.ingress, pool_of(tb, dns_source(dns))).start()
    wait_states(agent, healthy(*addresses(tb, 1, 2)))
    for behaviour, said in (
        ("empty", "no record of that type"),
        ("nxdomain", "no such name"),
        ("servfail", "every server"),
        ("silent", "no answer in time"),
        ("garbage", ""),
    ):
        failures = discovery(agent)["failures"]
        since = len(agent.process.output())
        dns.behave(behaviour)
        wait_until(lambda n=failures: discovery(agent)["failures"] > n + 1, 15,
                   f"two failures of {behaviour}")
        equal(states(agent), healthy(*addresses(tb, 1, 2)), f"nodes after {behaviour}")
        equal(said in discovery(agent)["error"], True, f"{said!r} in {discovery(agent)['error']!r}")
        lines = [x for x in agent.process.output()[since:].splitlines() if "2 nodes stay" in x]
        equal(len(lines), 1, f"log lines about {behaviour}: {lines}")
        dns.behave("answer")
        wait_until(lambda: discovery(agent)["error"] == "", 40, f"good again after {behaviour}")


@case("an answer with more nodes than max_nodes is refused whole", 60)
def dns_max_nodes(t):
    tb, _ = prepare(t)
    dns = Dns(tb.ingress).start()
    dns.set(NAME, "A", addresses(tb, 1, 2))
    agent = Agent(tb.ingress, pool_of(tb, {**dns_source(dns), "max_nodes": 2})).start()
    wait_states(agent, healthy(*addresses(tb, 1, 2)))
    dns.set(NAME, "A", addresses(tb, 1, 2, 3))
    wait_until(lambda: "max_nodes" in discovery(agent)["error"], 10, "the answer is refused")
    equal(sorted(states(agent)), addresses(tb, 1, 2), "nodes")


@case("answers are asked again by their TTL, held within min_ttl and max_ttl", 60)
def dns_ttl(t):
    tb, _ = prepare(t, nodes=2)
    dns = Dns(tb.ingress).start()
    dns.set(NAME, "A", addresses(tb, 1, 2), ttl=3600)
    settings = pool_of(tb, dns_source(dns, max_ttl="1500ms"))
    agent = Agent(tb.ingress, settings).start()
    wait_until(lambda: len(dns.questions()) >= 3, 10, "three questions by max_ttl")
    between(discovery(agent)["next_ms"], 0, 1500, "time to the next question")
    settings["pools"][0]["discovery"]["dns"]["max_ttl"] = "1h"
    dns.set(NAME, "A", addresses(tb, 1, 2), ttl=2)
    agent.write_config(settings)
    agent.ctl("reload")
    count = discovery(agent)["answers"]
    wait_until(lambda: discovery(agent)["answers"] > count + 1, 10, "asked by the TTL of 2 s")
    between(discovery(agent)["next_ms"], 0, 2000, "time to the next question by TTL")


@case("nodes renumbered by DNS under streams: none is cut, new ones go to the new nodes", 120)
def dns_renumber(t):
    tb, _ = prepare(t)
    dns = Dns(tb.ingress).start()
    dns.set(NAME, "A", addresses(tb, 1, 2))
    agent = Agent(tb.ingress, pool_of(tb, dns_source(dns))).start()
    wait_states(agent, healthy(*addresses(tb, 1, 2)))
    streams = loadgen.Loadgen(tb.client, "stream", [loadgen.url(tb.vip4), loadgen.url(tb.vip6)],
                              concurrency=40, tokens=200, duration=6, rate=100).start()
    streams.wait_active(40)
    dns.set(NAME, "A", addresses(tb, 3, 4))
    wait_states(agent, healthy(*addresses(tb, 3, 4)))
    report = loadgen.run(tb.client, "spread", loadgen.url(tb.vip4), count=60)
    equal(sorted(report["by_backend"]), ["node3", "node4"], "nodes of new connections")
    report = streams.finish()
    equal((report["failed"], report["broken"]), (0, 0), f"streams: {report['causes']}")
    equal({"node1", "node2"} <= set(report["by_backend"]), True, f"{list(report['by_backend'])}")
    agent.wait_log(f"node pool/{tb.nodes[0].ip4}, removed: nothing is left", 30)


@case("a node that DNS names again while it has flows is the same backend, and serves", 60)
def dns_return(t):
    tb, _ = prepare(t, nodes=2)
    dns = Dns(tb.ingress).start()
    dns.set(NAME, "A", addresses(tb, 1, 2))
    agent = Agent(tb.ingress, pool_of(tb, dns_source(dns), flow_idle="60s")).start()
    wait_states(agent, healthy(*addresses(tb, 1, 2)))
    number = backends(agent)[tb.nodes[1].ip4]["id"]
    dns.set(NAME, "A", addresses(tb, 1))
    wait_states(agent, healthy(*addresses(tb, 1)))
    dns.set(NAME, "A", addresses(tb, 1, 2))
    wait_states(agent, healthy(*addresses(tb, 1, 2)), 10)
    equal(backends(agent)[tb.nodes[1].ip4]["id"], number, "id of node2")
    report = loadgen.run(tb.client, "spread", loadgen.url(tb.vip4), count=60)
    equal(sorted(report["by_backend"]), ["node1", "node2"], "nodes of new connections")


@case("nodes that DNS no longer names serve until those that it names are ready", 60)
def dns_not_ready(t):
    tb, mocks = prepare(t, nodes=3)
    mocks["node3"].kill()
    dns = Dns(tb.ingress).start()
    dns.set(NAME, "A", addresses(tb, 1, 2))
    agent = Agent(tb.ingress, pool_of(tb, dns_source(dns))).start()
    wait_states(agent, healthy(*addresses(tb, 1, 2)))
    dns.set(NAME, "A", addresses(tb, 3))
    wait_until(lambda: discovery(agent)["leaving"] == 2, 10, "node1 and node2 are gone from DNS")
    holds_for(lambda: states(agent)[tb.nodes[0].ip4] == "healthy", 2, "node1 is in use")
    report = loadgen.run(tb.client, "spread", loadgen.url(tb.vip4), count=60)
    equal(report["failed"], 0, "failed connections")
    mocks["node3"].start()
    wait_states(agent, healthy(*addresses(tb, 3)))


@case("flows of a node that DNS no longer names are reset at drain_deadline", 60)
def dns_deadline(t):
    tb, _ = prepare(t, nodes=2)
    dns = Dns(tb.ingress).start()
    dns.set(NAME, "A", addresses(tb, 1, 2))
    source = {**dns_source(dns), "drain_deadline": "3s"}
    agent = Agent(tb.ingress, pool_of(tb, source, flow_idle="60s")).start()
    wait_states(agent, healthy(*addresses(tb, 1, 2)))
    streams = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), concurrency=30,
                              tokens=100000).start()
    streams.wait_active(30)
    dns.set(NAME, "A", addresses(tb, 1))
    wait_states(agent, healthy(*addresses(tb, 1)))
    agent.wait_log(f"node pool/{tb.nodes[1].ip4}, removed: drain deadline passed", 10)
    wait_until(lambda: {e["backend"] for e in streams.events()} == {"node2"}, 10,
               "streams of node2, and of no other, end")
    streams.stop()


@case("SRV gives ports, tiers and weights, and an answer too long for UDP comes whole", 90)
def dns_srv(t):
    tb, _ = prepare(t)
    dns = Dns(tb.ingress).start()
    targets = [(10, 3, mock.PORT, "gpu1.test"), (10, 1, mock.PORT, "gpu2.test"),
               (20, 1, mock.PORT, "gpu3.test")]
    for number in (1, 2):
        dns.set(f"gpu{number}.test", "A", addresses(tb, number))
    dns.set("gpu3.test", "CNAME", ["other.test"])
    dns.set("other.test", "AAAA", [tb.nodes[2].ip6])
    dns.set("_llm._tcp.test", "SRV", targets)
    source = dns_source(dns, name="_llm._tcp.test", type="SRV")
    agent = Agent(tb.ingress, pool_of(tb, source)).start()
    six = tb.nodes[2].ip6.replace(":", "-")
    wait_states(agent, healthy(*addresses(tb, 1, 2), six))
    seen = {name: (node["tier"], node["weight"]) for name, node in backends(agent).items()}
    one, two = addresses(tb, 1, 2)
    equal(seen, {one: (0, 3), two: (0, 1), six: (1, 1)}, "tiers and weights")
    long = [(10, 3, mock.PORT, f"{'x' * 50}{i}.test") for i in range(12)]
    for _, _, _, name in long:
        dns.set(name, "A", addresses(tb, 4))
    dns.set("_llm._tcp.test", "SRV", long)
    wait_until(lambda: "healthy" in states(agent).get(tb.nodes[3].ip4, ""), 15, "node4 by TCP")
    equal(any(q.endswith("SRV answer tcp") for q in dns.questions()), True, "asked by TCP")


@case("a restarted agent keeps the nodes of discovery while DNS is silent", 90)
def dns_restart(t):
    tb, _ = prepare(t, nodes=3)
    dns = Dns(tb.ingress).start()
    dns.set(NAME, "A", addresses(tb, 1, 2, 3))
    agent = Agent(tb.ingress, pool_of(tb, dns_source(dns), flow_idle="60s")).start()
    wait_states(agent, healthy(*addresses(tb, 1, 2, 3)))
    streams = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), concurrency=30,
                              tokens=200, duration=10).start()
    streams.wait_active(30)
    dns.set(NAME, "A", addresses(tb, 1, 2))
    wait_states(agent, healthy(*addresses(tb, 1, 2)))
    before = {name: node["id"] for name, node in backends(agent).items()}
    dns.behave("silent")
    agent.restart()
    equal({name: node["id"] for name, node in backends(agent).items()}, before, "ids")
    wait_states(agent, healthy(*addresses(tb, 1, 2)))
    dns.behave("answer")
    wait_until(lambda: discovery(agent)["answers"], 40, "an answer")
    report = streams.finish()
    equal((report["failed"], report["broken"]), (0, 0), "streams")
    equal("node3" in report["by_backend"], True, "node3 had streams")


@case("a reload keeps the nodes of discovery, and takes its other settings over", 60)
def dns_reload(t):
    tb, _ = prepare(t, nodes=3)
    dns = Dns(tb.ingress).start()
    dns.set(NAME, "A", addresses(tb, 1, 2))
    settings = pool_of(tb, dns_source(dns))
    agent = Agent(tb.ingress, settings).start()
    wait_states(agent, healthy(*addresses(tb, 1, 2)))
    before = {name: node["id"] for name, node in backends(agent).items()}
    settings["pools"][0]["discovery"]["weight"] = 5
    settings["pools"][0]["nodes"] = [{"address": tb.nodes[0].ip4, "weight": 7},
                                     {"name": "extra", "address": tb.nodes[2].ip4}]
    agent.write_config(settings)
    agent.ctl("reload")
    now = {name: (node["id"], node["weight"]) for name, node in backends(agent).items()}
    one, two = addresses(tb, 1, 2)
    equal(now[one], (before[one], 7), "node1, now of the file, keeps its id")
    equal(now[two], (before[two], 5), "node2 keeps its id and has the new weight")
    wait_states(agent, healthy(one, two, "extra"))
    settings["pools"][0]["nodes"] = []
    agent.write_config(settings)
    agent.ctl("reload")
    equal(backends(agent)[one]["id"], before[one], "node1, of DNS again")
    equal(sorted(states(agent)), [one, two], "nodes")


def write_targets(path: str, groups) -> None:
    """Replace the file in one step."""
    with open(f"{path}.new", "w", encoding="utf-8") as f:
        f.write(groups if isinstance(groups, str) else json.dumps(groups))
    os.rename(f"{path}.new", path)


@case("nodes come from a watched file; garbage and an empty list keep them", 90)
def file_targets(t):
    tb, _ = prepare(t)
    path = os.path.join(tb.run_dir, "targets.json")
    one, two, three = addresses(tb, 1, 2, 3)
    write_targets(path, [{"targets": [f"{one}:{mock.PORT}", two]}])
    agent = Agent(tb.ingress, pool_of(tb, {"file": path})).start()
    equal(sorted(states(agent)), [one, two], "nodes at the start")
    wait_states(agent, healthy(one, two))
    write_targets(path, [{"targets": [one, two]},
                         {"targets": [three], "labels": {"weight": "4", "tier": 1, "team": "x"}}])
    wait_states(agent, healthy(one, two, three))
    equal((backends(agent)[three]["weight"], backends(agent)[three]["tier"]), (4, 1), "labels")
    for bad, said in (("[{", "line 1"), ("", "empty"), ("[]", "no target"),
                      ('[{"targets": ["gpu7:8000"]}]', "gpu7:8000")):
        since = len(agent.process.output())
        write_targets(path, bad)
        agent.wait_log(f"discovery by file: .*{said}.*3 nodes stay", 10, since)
        equal(sorted(states(agent)), [one, two, three], f"nodes after {bad!r}")
    os.unlink(path)
    agent.wait_log("No such file.*3 nodes stay", 10)
    write_targets(path, [{"targets": [two]}])
    wait_states(agent, healthy(two), 20)
    equal(discovery(agent)["error"], "", "error")
    shown = agent.ctl_run("status").stdout
    equal(f"nodes by file {path}: 1 named" in shown, True, f"sluicectl status:\n{shown}")
