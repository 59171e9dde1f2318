# SPDX-License-Identifier: BSD-2-Clause
"""What this host answers when a pool has no node left."""
import http.client
import json
import os
import socket
import time

from tests.lib import config, loadgen, mock, openai_sdk
from tests.lib.agent import Agent
from tests.lib.canary import Canary
from tests.lib.case import between, case, equal
from tests.lib.wait import holds_for, wait_until

TLS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "fixtures", "tls")


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


def request(host, address, method="GET", path="/v1/models", body=None, timeout_s=20):
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


def check_reset(host, vip) -> None:
    try:
        answer = request(host, vip)
    except (ConnectionResetError, http.client.RemoteDisconnected):
        return
    raise AssertionError(f"{vip} answered: {answer}")


@case("a VIP whose answers are turned off resets connections at once")
def turned_off(t):
    tb, agent, mocks = serve(t, fallback={"enabled": False})
    kill_all(agent, mocks)
    for vip in (tb.vip4, tb.vip6):
        check_reset(tb.client, vip)
    mocks["node1"].start()
    wait_until(lambda: "healthy" in states(agent), 10, "node1 is back")
    for vip in (tb.vip4, tb.vip6):
        equal(request(tb.client, vip)[0], 200, f"status of {vip} once a node is back")


def vip_fallback(agent: Agent, name: str = "vip4-1") -> dict:
    return next(v for v in agent.ctl("status")["vips"] if v["name"] == name)["fallback"]


@case("a path that is kept is answered with its age, until it is too old")
def cached(t):
    keep = [{"path": "/v1/models", "refresh": "200ms", "max_age": "1h"},
            {"path": "/health", "refresh": "200ms", "max_age": "3s"}]
    tb, agent, mocks = serve(t, fallback={"cache": keep})

    def kept(path: str, key: str) -> int:
        return next(e for e in vip_fallback(agent)["cache"] if e["path"] == path)[key]

    wait_until(lambda: min(kept(e["path"], "fetched") for e in keep) >= 2, 5, "two are kept")
    kill_all(agent, mocks)
    wait_until(lambda: kept("/v1/models", "age_ms") > 1000, 5, "a second passes")
    status, headers, body = request(tb.client, tb.vip4)
    equal((status, headers["x-sluice-answer"]), (200, "cached"), "the answer")
    equal(json.loads(body)["data"][0]["id"], "mock-model", "the model in it")
    equal(headers["content-type"], "application/json", "content-type")
    between(int(headers["age"]), 1, kept("/v1/models", "age_ms") // 1000, "age")
    equal(headers["connection"].lower(), "close", "connection")
    equal(request(tb.client, tb.vip4, "HEAD")[0], 200, "status of HEAD")
    check_degraded(request(tb.client, tb.vip4, path="/v1/models?x=1"))
    check_degraded(request(tb.client, tb.vip4, "POST"))
    wait_until(lambda: kept("/health", "age_ms") > 3000, 10, "it is too old")
    check_degraded(request(tb.client, tb.vip4, path="/health"))
    report = vip_fallback(agent)
    equal((report["cached_answers"], report["degraded_answers"]), (2, 3), "counters")
    shown = agent.ctl_run("status").stdout
    assert "3 degraded, 2 cached" in shown and "GET /v1/models" in shown, shown


def post_half(host, address):
    """A connected socket with half of a request sent."""

    def run():
        sock = socket.create_connection((address, mock.PORT), 20)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        sock.sendall(head.encode() + b"x" * 500)
        return sock

    return host.call(run)


def read_all(sock) -> bytes:
    data = b""
    with sock:
        while chunk := sock.recv(65536):
            data += chunk
    return data


def slow_client(t, mode: str) -> None:
    tb, agent, mocks = serve(t, mode)
    kill_all(agent, mocks)
    slow = {vip: post_half(tb.client, vip) for vip in (tb.vip4, tb.vip6)}
    wait_until(lambda: agent.ctl("status")["fallback"]["connections"] == 2, 5, "both are in")
    for server in mocks.values():
        server.start()
    wait_until(lambda: states(agent) == {"healthy"}, 10, "the nodes are back")
    for vip in slow:
        report = loadgen.run(tb.client, "spread", loadgen.url(vip), count=200)
        equal((report["completed"], report["failed"], report["broken"]), (200, 0, 0),
              f"new connections to {vip}")
    for vip, sock in slow.items():
        sock.sendall(b"x" * 500)
        answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 503"), f"{vip}: {answer[:200]!r}"
        assert answer.endswith(b"}}"), f"{vip}: {answer[-200:]!r}"


@case("ipip: nodes return to new connections at once, and a slow client still gets its answer")
def slow_ipip(t):
    slow_client(t, "ipip")


@case("l2dsr: nodes return to new connections at once, and a slow client still gets its answer")
def slow_l2dsr(t):
    slow_client(t, "l2dsr")


@case("with all nodes drained new connections are answered here, and live streams go on")
def drained(t):
    tb, agent, _ = serve(t)
    urls = [loadgen.url(tb.vip4), loadgen.url(tb.vip6)]
    streams = loadgen.Loadgen(tb.client, "stream", urls, count=40, concurrency=40, tokens=400,
                              duration=60).start()
    streams.wait_active(40)
    for node in tb.nodes:
        agent.ctl("drain", node.name)
    for vip in (tb.vip4, tb.vip6):
        check_degraded(request(tb.client, vip))
    slow = post_half(tb.client, tb.vip4)
    wait_until(lambda: agent.ctl("status")["fallback"]["connections"] == 1, 5, "it is in")
    for node in tb.nodes:
        agent.ctl("undrain", node.name)
    for vip in (tb.vip4, tb.vip6):
        wait_until(lambda: request(tb.client, vip)[0] == 200, 5, f"nodes answer for {vip} again")
    slow.sendall(b"x" * 500)
    assert read_all(slow).startswith(b"HTTP/1.1 503"), "the slow client of this host"
    report = streams.wait(60)
    equal((report["completed"], report["failed"], report["broken"]), (40, 0, 0), "streams")


def niceness(agent: Agent) -> dict[str, set]:
    """Of the agent's threads, by name."""
    values: dict[str, set] = {}
    for tid in os.listdir(f"/proc/{agent.pid}/task"):
        with open(f"/proc/{agent.pid}/task/{tid}/stat", encoding="ascii") as f:
            name, _, rest = f.read().partition("(")[2].rpartition(")")
        values.setdefault(name, set()).add(int(rest.split()[16]))
    return values


CROWD = 5000


@case("5,000 clients that arrive at once are answered, and no health check is late for that",
      timeout_s=90, alone=True)
def crowd(t):
    tb, agent, mocks = serve(t, pool={"check": {"interval": "100ms", "timeout": "2s"}})
    kill_all(agent, mocks)
    # What was late while everything started is forgotten after ten seconds.
    wait_until(lambda: agent.ctl("status")["checks"]["late_max_ms"] < 200, 20, "checks are in time")
    canary = Canary(tb.ingress)
    before = agent.ctl("status")["checks"]["started"]
    run = loadgen.Loadgen(tb.client, "spread", loadgen.url(tb.vip4), count=CROWD,
                          concurrency=CROWD, connect_timeout=60, silence=60, allow=CROWD).start()
    slowest, late_ms = 0.0, 0
    while run.process.running():
        began = time.monotonic()
        checks = agent.api("/v1/status", timeout_s=60)["checks"]
        slowest = max(slowest, time.monotonic() - began)
        late_ms = max(late_ms, checks["late_max_ms"])
        time.sleep(0.02)
    report, waited_ms = run.wait(), canary.end()
    answered = report["causes"].get("status", 0)
    equal(sum(report["causes"].values()), CROWD, "connections that ended")
    equal(answered, CROWD, f"answers, of {report['causes']}")
    equal(vip_fallback(agent)["degraded_answers"], CROWD, "answers counted")
    print(f"latest check {late_ms} ms, slowest report {slowest * 1e3:.0f} ms, canary "
          f"{waited_ms} ms,"
          f" {checks['started'] - before} checks")
    between(late_ms, 0, 200 + 3 * waited_ms,
            f"ms that the latest check was late (one who only waits: {waited_ms})")
    nice = niceness(agent)
    equal(nice["sluiced"], {0}, f"priority of the loop's thread, of {nice}")
    equal(nice["fallback"], {10}, f"priority of the thread that accepts, of {nice}")
    assert {10} in nice.values() and len(nice) >= 3, f"threads that answer: {nice}"


@case("HTTPS is answered with the certificate of the VIP")
def https(t):
    fallback = {"certificate_file": f"{TLS}/node.pem", "key_file": f"{TLS}/node.key",
                "cache": [{"path": "/v1/models", "refresh": "200ms"}]}
    tb, agent, mocks = serve(t, fallback=fallback)
    wait_until(lambda: vip_fallback(agent)["cache"][0]["fetched"], 5, "an answer is kept")
    kill_all(agent, mocks)
    url = f"https://node.test:{mock.PORT}"
    for vip in (tb.vip4, f"[{tb.vip6}]"):
        curl = ["curl", "-sS", "--cacert", f"{TLS}/ca.pem", "--max-time", "20", "-w",
                "\n%{http_code} %{header_json}", "--resolve", f"node.test:{mock.PORT}:{vip}"]
        kept = tb.client.run([*curl, f"{url}/v1/models"]).stdout
        assert "mock-model" in kept and "\n200 " in kept, kept
        data = ["-H", "Expect:", "--data-binary", "x" * 100000]
        refused = tb.client.run([*curl, *data, f"{url}/v1/chat/completions"]).stdout
        assert "\n503 " in refused and '"x-should-retry":["true"]' in refused, refused


@case("the official OpenAI SDK retries and succeeds when a node returns", timeout_s=180)
def openai_retries(t):
    openai_sdk.install(t)
    tb, agent, mocks = serve(t)
    kill_all(agent, mocks)
    base = f"http://{tb.vip4}:{mock.PORT}/v1"
    clients = [openai_sdk.Client(tb.client, base, 8, stream) for stream in (False, True)]
    wait_until(lambda: vip_fallback(agent)["degraded_answers"] >= 2, 20, "both were put off")
    mocks["node1"].start()
    for client in clients:
        report = client.wait()
        assert report["ok"] and report["content"], report
        put_off = report["attempts"][:-1]
        equal({a["status"] for a in put_off}, {503}, "statuses before the last")
        for this, following in zip(put_off, report["attempts"][1:]):
            wait_ms = following["at_ms"] - this["at_ms"]
            between(wait_ms, int(this["retry_after_ms"]) - 5, int(this["retry_after_ms"]) + 10000,
                    "ms until the next attempt")


@case("the official OpenAI SDK reports a 503 when its budget is used up", timeout_s=180)
def openai_gives_up(t):
    openai_sdk.install(t)
    fallback = {"retry_min": "50ms", "retry_max": "100ms"}
    tb, agent, mocks = serve(t, fallback=fallback)
    kill_all(agent, mocks)
    report = openai_sdk.Client(tb.client, f"http://{tb.vip4}:{mock.PORT}/v1", 3).wait()
    equal((report["ok"], report["status"], report["type"]), (False, 503, "server_error"), "result")
    equal(len(report["attempts"]), 4, "attempts")


def our_rules(tb) -> list[str]:
    lines = tb.ingress.ip("-4", "rule").splitlines() + tb.ingress.ip("-6", "rule").splitlines()
    return [line for line in lines if "proto 83" in line]


def is_refused(host, vip) -> bool:
    try:
        request(host, vip, timeout_s=1)
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False
    raise AssertionError(f"{vip}: nobody could answer")


@case("this host takes packets of a VIP's port only, and only while no node is left",
      timeout_s=90)
def delivery(t):
    tb, agent, mocks = serve(t)
    # Nodes that are judged late on a busy machine leave the rules of a short outage behind.
    if "no node left" not in agent.process.output():
        equal(our_rules(tb), [], "rules while nodes are healthy")
    kill_all(agent, mocks)
    equal(len(our_rules(tb)), 2, "rules while none is left")
    local = f"local {tb.vip4} dev lo"
    route = tb.ingress.ip("route", "get", tb.vip4, "ipproto", "tcp", "dport", str(mock.PORT))
    assert local in route, route
    for words in (["ipproto", "tcp", "dport", "22"], ["ipproto", "udp", "dport", str(mock.PORT)]):
        route = tb.ingress.run(["ip", "route", "get", tb.vip4, *words], check=False)
        assert local not in route.stdout, route.stdout
    tb.ingress.ip("rule", "del", "priority", "83")
    tb.ingress.ip("-6", "rule", "del", "priority", "83")
    wait_until(lambda: len(our_rules(tb)) == 2, 8, "rules that were flushed are back")
    agent.kill()
    equal(len(our_rules(tb)), 2, "rules while the agent is dead")
    for vip in (tb.vip6, tb.vip4):  # of IPv4 the packet program does it, when it is sure
        wait_until(lambda v=vip: is_refused(tb.client, v), 30, f"{vip} refuses, without an agent")
    agent.start()
    wait_until(lambda: agent.ctl("status")["pools"][0]["empty"], 10, "the pool is empty again")
    check_degraded(request(tb.client, tb.vip4))
    equal(len(our_rules(tb)), 2, "rules of the next agent")
    agent.ctl("detach")
    equal(our_rules(tb), [], "rules after detaching")
    equal(tb.ingress.ip("route", "show", "table", "8383").strip(), "", "routes after detaching")


@case("a reload changes answers and listeners, and connections in progress go on")
def reload(t):
    tb, agent, mocks = serve(t, fallback={"retry_min": "1s", "retry_max": "1s"})
    kill_all(agent, mocks)
    slow4, slow6 = post_half(tb.client, tb.vip4), post_half(tb.client, tb.vip6)
    wait_until(lambda: agent.ctl("status")["fallback"]["connections"] == 2, 5, "both are in")
    with open(agent.config_path, encoding="utf-8") as f:
        settings = json.load(f)
    body = os.path.join(tb.run_dir, "body.txt")
    with open(body, "w", encoding="utf-8") as f:
        f.write("closed for today")
    v4, v6 = settings["vips"]
    v6["fallback"] = {"enabled": False}
    v4["fallback"] = {"status": 529, "body_file": body, "body_type": "text/plain",
                      "retry_min": "2s", "retry_max": "2s"}
    agent.write_config(settings)
    agent.ctl("reload")
    status, headers, text = request(tb.client, tb.vip4)
    equal((status, text, headers["content-type"]), (529, b"closed for today", "text/plain"),
          "the new answer")
    equal((headers["retry-after-ms"], headers["retry-after"]), ("2000", "2"), "the new retry range")
    check_reset(tb.client, tb.vip6)
    for sock in (slow4, slow6):
        sock.sendall(b"x" * 500)
    assert b"closed for today" in read_all(slow4), "the slow client of the first VIP"
    assert read_all(slow6).startswith(b"HTTP/1.1 503"), "the slow client of the second VIP"
    v4["fallback"] = {"certificate_file": f"{TLS}/node.pem", "key_file": f"{TLS}/node.key"}
    v6["fallback"] = {}
    agent.write_config(settings)
    agent.ctl("reload")
    curl = ["curl", "-sSk", "-o", os.devnull, "-w", "%{http_code}", "--max-time", "20"]
    equal(tb.client.run([*curl, f"https://{tb.vip4}:{mock.PORT}/"]).stdout, "503", "over TLS")
    equal(request(tb.client, tb.vip6)[0], 503, "the VIP that is back")
    v4["fallback"]["key_file"] = f"{TLS}/client.key"
    agent.write_config(settings)
    agent.ctl("reload")
    assert "no certificate and its key" in vip_fallback(agent)["error"], vip_fallback(agent)
    equal(tb.client.run([*curl, f"https://{tb.vip4}:{mock.PORT}/"]).stdout, "503",
          "with the certificate that was good")


@case("an address that another program listens on is taken over when it is free")
def address_in_use(t):
    t.need("sluiced", "sluicectl", "mockbackend")
    tb = t.testbed(nodes=1)
    squatter = mock.Mock(tb.ingress, name="squatter").start()
    settings = config.one_pool(tb, pool={"mode": "l2dsr"})
    agent = Agent(tb.ingress, settings).start()
    wait_until(lambda: "Address already in use" in vip_fallback(agent)["error"], 5,
               "the error is reported")
    equal(vip_fallback(agent)["listening"], False, "listening")
    squatter.kill()
    wait_until(lambda: vip_fallback(agent)["listening"], 10, "the address is taken over")
    equal(vip_fallback(agent)["error"], "", "error")
    holds_for(lambda: agent.process.running(), 0.2, "the agent runs")
