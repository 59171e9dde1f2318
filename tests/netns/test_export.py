# SPDX-License-Identifier: BSD-2-Clause
"""Metrics and the status page of the agent, as Prometheus and people read them."""
import json
import os
import re
import socket
import subprocess
import time

from sluice_testbed import TestbedError

from tests.lib import ROOT, loadgen, mock
from tests.lib.agent import Agent
from tests.lib.case import between, case, equal
from tests.lib.config import one_pool
from tests.lib.wait import port_open, wait_until

PORT = 9911
PROMETHEUS_PORT = 9090
RULES = os.path.join(ROOT, "tools", "prometheus", "sluice.rules.yml")
DASHBOARD = os.path.join(ROOT, "tools", "grafana", "sluice.json")
NAME = re.compile(r"\b(?:sluice|process)_[a-z_]+")


def started(t, nodes=2, agent=True, **top):
    """A testbed with servers and an agent whose nodes are healthy."""
    t.need("sluiced", "mockbackend", "decap.bpf.o")
    tb = t.testbed(nodes=nodes)
    for node in tb.nodes:
        node.attach_decap()
    mocks = mock.start_all(tb)
    sluiced = Agent(tb.ingress, one_pool(tb, **top))
    if agent:
        sluiced.start()
        wait_healthy(sluiced, nodes)
    return tb, mocks, sluiced


def wait_healthy(agent, count):
    wait_until(lambda: states(agent).count("healthy") == count, 10, "all nodes are healthy")


def states(agent):
    return [b["state"] for b in agent.ctl("backends")["backends"]]


def get(host, path, port=PORT, check=True, *options):
    url = f"http://127.0.0.1:{port}{path}"
    return host.run(["curl", "-sS", "--max-time", "20", *options, url], check=check).stdout


def value(page, series):
    """Of one series, written as in the page; None if it is not there."""
    for line in page.splitlines():
        if line.startswith(series + " "):
            return float(line.rpartition(" ")[2])
    return None


def names_in(path):
    """Metrics that a file of rules or a dashboard speaks of."""
    with open(path, encoding="utf-8") as f:
        return set(NAME.findall(f.read()))


def expressions():
    """Those of the dashboard, as Grafana would send them."""
    with open(DASHBOARD, encoding="utf-8") as f:
        panels = json.load(f)["panels"]
    for panel in panels:
        for target in panel["targets"]:
            yield (target["expr"].replace("$instance", ".*").replace("$pool", ".*")
                   .replace("$__rate_interval", "1m"))


def lint(page):
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True,
                          text=True, timeout=20)
    return done.returncode, (done.stdout + done.stderr).strip()


@case("promtool finds nothing to say about the agent's metrics, on either socket", timeout_s=40)
def promtool(t):
    t.need("promtool", "loadgen")
    tb, mocks, agent = started(t, nodes=3)
    targets = os.path.join(t.log_dir, "targets.json")
    with open(targets, "w", encoding="utf-8") as f:
        json.dump([{"targets": [f"{tb['node3'].ip4}:{mock.PORT}"]}], f)
    settings = one_pool(tb)
    settings["pools"].append({"name": "found", "preset": "vllm", "port": mock.PORT,
                              "discovery": {"file": targets}})
    agent.write_config(settings)
    agent.ctl("reload")
    loadgen.run(tb.client, "spread", loadgen.url(tb.vip4), count=300)
    agent.ctl("drain", "node2", "--deadline", "60s")
    mocks["node3"].kill()
    wait_until(lambda: states(agent)[:3] == ["healthy", "draining", "unhealthy"], 10, "states")
    page = get(tb.ingress, "/metrics")
    equal(lint(page), (0, ""), "promtool check metrics, TCP")
    equal(lint(agent.api("/metrics")), (0, ""), "promtool check metrics, the agent's socket")

    node = 'pool="pool",node='
    equal(value(page, f'sluice_node_state{{{node}"node2",state="draining"}}'), 1, "node2 drains")
    equal(value(page, f'sluice_node_state{{{node}"node3",state="unhealthy"}}'), 1, "node3 is down")
    equal(value(page, f'sluice_node_state_cause{{{node}"node3",cause="refused"}}'), 1, "cause")
    between(value(page, f'sluice_node_drain_deadline_seconds{{{node}"node2"}}'), 10, 60, "deadline")
    equal(value(page, f'sluice_node_share_ratio{{{node}"node1"}}'), 1, "share of node1")
    equal(value(page, 'sluice_vip_new_flows_total{vip="vip4-1"}'), 300, "connections")
    given = sum(value(page, f'sluice_node_new_flows_total{{{node}"{n}"}}') for n in mocks)
    equal(given, 300, "connections given to nodes")
    between(value(page, f'sluice_node_load_age_seconds{{{node}"node1"}}'), 0, 10, "age of load")
    between(value(page, "sluice_agent_heartbeat_age_seconds"), 0, 10, "age of the heartbeat")
    between(value(page, "process_start_time_seconds"), time.time() - 300, time.time(), "start")
    between(value(page, "process_resident_memory_bytes"), 1e6, 1e9, "memory")
    equal(value(page, 'sluice_pool_discovery_nodes{pool="found"}'), 1, "nodes found")
    there = set(NAME.findall(page))
    for path in (RULES, DASHBOARD):
        names = {n for n in names_in(path) if not n.startswith("sluice_dpdk_")}  # only with it
        equal(names - there, set(), f"names in {os.path.basename(path)} and not there")
    counted = sum(len(line) > 1 and line[0] != "#" for line in page.splitlines())
    between(counted, 200, 1000, "series of four nodes")


@case("Prometheus scrapes the agent, and its alert about a dead node becomes pending", timeout_s=60)
def prometheus(t):
    t.need("prometheus", "promtool")
    tb, mocks, agent = started(t)
    host, base = tb.ingress, os.path.join(t.log_dir, "prometheus")
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [RULES],
        "scrape_configs": [{"job_name": "sluice",
                            "static_configs": [{"targets": [f"127.0.0.1:{PORT}"]}]}],
    }
    with open(f"{base}.yml", "w", encoding="utf-8") as f:
        json.dump(config, f)
    server = host.popen(["prometheus", f"--config.file={base}.yml", f"--storage.tsdb.path={base}",
                         f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"])
    wait_until(lambda: port_open(host, "127.0.0.1", PROMETHEUS_PORT), 20, "Prometheus listens")

    def query(expression):
        done = host.run(["promtool", "query", "instant", "-o", "json",
                         f"http://127.0.0.1:{PROMETHEUS_PORT}", expression])
        return {json.dumps(r["metric"], sort_keys=True): float(r["value"][1])
                for r in json.loads(done.stdout)}

    wait_until(lambda: list(query('up{job="sluice"}').values()) == [1], 20, "it is up",
               ignore=TestbedError)
    equal(list(query("sum(sluice_pool_healthy_capacity)").values()), [2], "healthy capacity")
    equal(query('ALERTS'), {}, "alerts while all is well")
    for expression in expressions():
        query(expression)
    mocks["node2"].kill()
    wait_until(lambda: query('ALERTS{alertname="SluiceNodeDown",node="node2"}'), 20, "the alert")
    pending = query('ALERTS{alertname="SluiceNodeDown",alertstate="pending"}')
    equal(len(pending), 1, "nodes it is about")
    agent.kill()
    wait_until(lambda: list(query('up{job="sluice"}').values()) == [0], 20, "the agent is down")
    wait_until(lambda: query('ALERTS{alertname="SluiceAgentDown"}'), 20, "its alert")
    server.stop()


@case("a reload moves the metrics to another address, and takes them away", timeout_s=40)
def moved(t):
    tb, _, agent = started(t)
    host = tb.ingress
    assert "sluice_build_info" in get(host, "/metrics")
    agent.write_config(one_pool(tb, metrics={"listen": "[::1]:9912"}))
    agent.ctl("reload")
    wait_until(lambda: port_open(host, "::1", 9912), 5, "the new address")
    wait_until(lambda: not port_open(host, "127.0.0.1", PORT), 5, "the old one is closed")
    assert "sluice_build_info" in host.run(["curl", "-sS", "--max-time", "20",
                                            "http://[::1]:9912/metrics"]).stdout
    agent.write_config(one_pool(tb, metrics={"listen": "off"}))
    agent.ctl("reload")
    wait_until(lambda: not port_open(host, "::1", 9912), 5, "no address")
    assert "sluice_build_info" in agent.api("/metrics"), "the agent's socket has them still"


@case("an agent whose metrics port is taken goes on without, and has it when it is free",
      timeout_s=40)
def taken(t):
    tb, _, agent = started(t, agent=False)

    def listen():
        s = socket.socket()
        s.bind(("127.0.0.1", PORT))
        s.listen()
        return s

    other = tb.ingress.call(listen)
    agent.start()
    wait_healthy(agent, 2)
    agent.wait_log(r"error +metrics on 127\.0\.0\.1:9911: Address already in use", 2)
    other.close()
    wait_until(lambda: "sluice_build_info" in get(tb.ingress, "/metrics", check=False), 10,
               "the metrics")
    equal(agent.process.output().count("Address already in use"), 1, "lines about it")


@case("readers that are slow, rude or many do not delay a health check", timeout_s=40)
def rude(t):
    tb, mocks, agent = started(t)
    host = tb.ingress

    def connect(request):
        s = socket.create_connection(("127.0.0.1", PORT), 20)
        s.sendall(request)
        return s

    silent = [host.call(connect, b"GET /met") for _ in range(40)]
    unread = [host.call(connect, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
              for _ in range(20)]
    began = time.monotonic()
    mocks["node1"].kill()
    wait_until(lambda: "unhealthy" in states(agent), 5, "the dead node is noticed")
    between(time.monotonic() - began, 0, 8, "seconds until then")  # readers are cut off after 10
    for s in silent + unread:
        s.close()
    wait_until(lambda: "ok" in get(host, "/healthy", check=False), 5, "an answer afterwards")


@case("the status page names nodes with their causes, and only GET is answered", timeout_s=40)
def page(t):
    tb, mocks, agent = started(t)
    mocks["node1"].control(gpu_memory=97)
    wait_until(lambda: "degraded" in states(agent), 5, "node1 is degraded")
    html = get(tb.ingress, "/")
    for part in ("<h2>Pool pool</h2>", 'class="degraded">degraded<', "gpu memory 0.97", tb.vip4):
        assert part in html, f"{part} is not in the page"
    assert "http" not in html.replace("http-equiv", ""), "the page asks for something elsewhere"
    status = ("-o", "/dev/null", "-w", "%{http_code}")
    equal(get(tb.ingress, "/nothing", PORT, True, *status), "404", "status of another path")
    equal(get(tb.ingress, "/metrics", PORT, True, "-X", "POST", *status), "405", "of a POST")
    equal(get(tb.ingress, "/metrics", PORT, True, "-I", *status), "200", "of a HEAD")
