# SPDX-License-Identifier: BSD-2-Clause
"""Nodes that cannot be reached, and nodes whose answers are broken: the others go on."""
import contextlib
import os
import random
import socket
import threading
import time

from tests.lib import mock
from tests.lib.case import between, case, equal
from tests.lib.service import Service
from tests.lib.wait import holds_for, wait_until

# As quick as transitions can be, and none held back because the node changes so often.
THRESHOLDS = {"warm_up": "0s", "busy": "1s", "flap_changes": "off", "latency_outlier": "off"}
CHECK = {"interval": "100ms", "connect_timeout": "200ms", "timeout": "400ms"}
PATIENT = {"connect_timeout": "5s", "timeout": "5s"}
LOAD = {"interval": "100ms", "timeout": "300ms"}
FAULTS = ("hang", "garbage", "huge", "slow", "truncated", "empty", "status", "reset", "close")


def service(t, nodes=2, preset="vllm", **pool) -> Service:
    """Nodes but the first, which has the faults, may be late as the machine may be."""
    settings = {"preset": preset, "thresholds": THRESHOLDS, "check": CHECK, "load": LOAD, **pool}
    s = Service(t, nodes=nodes, sanitized=True, pool=settings, start=False)
    for node in s.pool["nodes"][1:]:
        node["check"] = PATIENT
    s.agent.write_config(s.config)
    s.agent.start(timeout_s=20)
    s.agent.wait_all()
    return s


def only(s: Service, *names: str) -> None:
    """Exactly these nodes answer new connections, and all of those well."""
    equal(sorted(s.spread(60)["by_backend"]), sorted(names), "nodes that answer")


# --- answers --------------------------------------------------------------------------------------


@case("whatever a node answers to health checks, the agent lives and the others serve",
      timeout_s=90)
def health_faults(t):
    s = service(t, preset="json")
    server = s.mocks["node1"]
    for fault in FAULTS:
        server.control(health=fault)
        wait_until(lambda: s.agent.states()["node1"] in ("unhealthy", "loading"), 6,
                   f"{fault}: node1 is out")
        only(s, "node2")
        equal(s.agent.states()["node2"], "healthy", f"node2, while node1 answers by {fault}")
        server.control(reset=True)
        s.agent.wait_states(node1="healthy")
    only(s, "node1", "node2")
    s.end()


@case("whatever a node answers to scrapes, it serves on, and its load becomes the pool's",
      timeout_s=90)
def metrics_faults(t):
    s = service(t, load={**LOAD, "stale": "500ms"})
    server = s.mocks["node1"]
    for fault in FAULTS:
        server.control(metrics=fault)
        wait_until(lambda: s.agent.nodes()["node1"]["load"]["source"] == "median", 6,
                   f"{fault}: the pool's median stands in")
        node = s.agent.nodes()["node1"]
        equal((node["state"], node["effective_weight"]), ("healthy", 1), f"node1 under {fault}")
        only(s, "node1", "node2")
        server.control(reset=True)
        wait_until(lambda: s.agent.nodes()["node1"]["load"]["source"] == "fresh", 6,
                   f"after {fault}: its own load again")
    s.end()


@case("all nodes with broken metrics: load is ignored, and the hash decides")
def all_metrics_broken(t):
    s = service(t, nodes=3, load={**LOAD, "stale": "500ms"})
    for server in s.mocks.values():
        server.control(metrics="garbage")
    wait_until(lambda: {n["load"]["source"] for n in s.agent.nodes().values()} == {"ignored"}, 6,
               "load is ignored")
    report = s.spread(600)
    for name in s.mocks:
        between(report["by_backend"][name]["started"], 140, 260, f"connections to {name}")
    s.end()


class RawServer:
    """Answers every connection of a node's port with bytes of a function, and closes."""

    def __init__(self, host, port: int, answer):
        self.answer = answer
        self.count = 0
        self.listener = host.call(socket.create_server, ("", port), backlog=128)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(0.2)
                    client.recv(4096)
                    client.sendall(self.answer())
                self.count += 1

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


def random_answer(rng: random.Random) -> bytes:
    """Something between noise and an almost correct answer."""
    body = rng.choice((
        b'{"status": "ok", "queue_depth": 1e999, "running": -5, "gpu_memory_usage": "NaN"}',
        b'{"status": "ok", "queue_depth": 3}' + b" " * rng.randrange(3000),
        b"[" * rng.randrange(1, 5000),
        b"vllm:num_requests_waiting{" + b"a=\"" * rng.randrange(1, 500),
        b"vllm:num_requests_running 1e308\nvllm:num_requests_running 1e308\n",
        rng.randbytes(rng.randrange(2000)),
    ))
    head = rng.choice((
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % rng.choice((len(body), 0, 10**18, 7)),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n"
        % rng.choice((len(body), 2**64)),
        b"HTTP/1.0 %d X\r\n\r\n" % rng.choice((0, 99, 100, 204, 503, 1000)),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * rng.randrange(20000) + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * rng.randrange(1, 50) + b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n",
        rng.randbytes(rng.randrange(300)),
        b"",
    ))
    whole = head + body
    return whole[:rng.randrange(len(whole) + 1)] if rng.random() < 0.3 else whole


@case("hundreds of random answers to checks and scrapes leave the agent and the other node alone",
      timeout_s=60)
def random_answers(t):
    rng = random.Random(20260101)
    quick = {"check": {**CHECK, "interval": "20ms"}, "load": {**LOAD, "interval": "20ms"}}
    s = service(t, preset="json", **quick)
    s.mocks["node1"].kill()
    server = RawServer(s.tb["node1"], mock.PORT, lambda: random_answer(rng))
    try:
        wait_until(lambda: server.count >= 400, 30, "400 answers")
    finally:
        server.close()
    equal(s.agent.states()["node2"], "healthy", "state of node2")
    s.mocks["node1"].start()
    s.agent.wait_all()
    only(s, "node1", "node2")
    s.end()


# --- no answers -----------------------------------------------------------------------------------


@case("nodes that are not there, closed, filtered or unplugged are out, each for its own reason")
def unreachable(t):
    s = Service(t, nodes=4, sanitized=True, start=False,
                pool={"thresholds": THRESHOLDS, "check": CHECK, "load": LOAD})
    host = s.tb["node4"]
    s.pool["nodes"].append({"name": "nobody", "address": "10.77.1.222"})
    s.pool["nodes"].append({"name": "nowhere", "address": "192.0.2.1"})
    s.mocks["node2"].kill()
    s.tb["node3"].filter_port(mock.PORT)
    s.agent.write_config(s.config)
    s.agent.start(timeout_s=20)
    s.agent.wait_states(node1="healthy", node2="loading", node3="unhealthy", node4="healthy",
                        nobody="unhealthy", nowhere="unhealthy")
    only(s, "node1", "node4")
    host.plug(False)
    s.agent.wait_states(node4="unhealthy")
    nodes = s.agent.nodes()
    for name, word in (("node2", "refused"), ("node3", "timeout"), ("node4", "timeout"),
                       ("nobody", ""), ("nowhere", "unreachable")):
        said = f"{nodes[name]['check']['last_result']}: {nodes[name]['cause']}"
        assert word in said, f"{name}: {word} is missing in {said!r}"
    only(s, "node1")
    host.plug(True)
    s.tb["node3"].filter_port(mock.PORT, False)
    s.mocks["node2"].start()
    s.agent.wait_states(node2="healthy", node3="healthy", node4="healthy")
    only(s, "node1", "node2", "node3", "node4")
    s.end()


@case("a node whose server stops answering under its streams is busy first, and down only later")
def busy_is_not_dead(t):
    s = Service(t, nodes=2, pool={"check": CHECK, "load": LOAD,
                                  "thresholds": {**THRESHOLDS, "busy": "8s"}})
    server = s.mocks["node1"]
    server.control(health="hang")
    holds_for(lambda: s.agent.states()["node1"] == "healthy", 2, "it is busy, not dead")
    s.agent.wait_states(node1="unhealthy", timeout_s=15)
    server.control(reset=True)
    s.agent.wait_all()


@case("an agent that may open far too few files leaves some to the operator, and says what is "
      "missing")
def few_files(t):
    s = Service(t, nodes=1, start=False, pool={
        "check": {"interval": "100ms", "connect_timeout": "5s"},
        "load": {"interval": "100ms", "timeout": "5s"}})
    # each of them holds two sockets, waiting for an answer to ARP or to SYN
    s.pool["nodes"] += [{"name": f"silent{i}", "address": f"10.77.1.{i}"} for i in range(110, 210)]
    s.agent.write_config(s.config)
    s.agent.start(before=("prlimit", "--nofile=256:256", "setpriv", "--bounding-set=-sys_resource",
                          "--inh-caps=-sys_resource"))
    s.agent.wait_log("warning 101 nodes take up to .* may open only 256 files", 5)
    wait_until(lambda: any("open files" in n["check"]["detail"] for n in s.agent.nodes().values()),
               10, "a check finds no descriptor")
    holds_for(lambda: len(os.listdir(f"/proc/{s.agent.pid}/fd")) < 256 - 64, 3,
              "descriptors are left to the operator")
    equal(s.agent.ctl("reload")["result"], "reloaded", "a reload")
    metrics = s.agent.host.run(["curl", "-sSf", "http://127.0.0.1:9911/metrics"]).stdout
    assert "sluice_" in metrics, metrics[:200]


@case("every node down and back again: connections go to this host, then to the nodes at once")
def all_down(t):
    s = service(t)
    for server in s.mocks.values():
        server.kill()
    wait_until(lambda: s.agent.ctl("status")["pools"][0]["empty"], 5, "the pool is empty")
    began = time.monotonic()
    for server in s.mocks.values():
        server.start()
    s.agent.wait_all()
    between(time.monotonic() - began, 0, 60, "seconds until all were back")
    only(s, "node1", "node2")
    s.end()
