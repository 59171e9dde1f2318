# SPDX-License-Identifier: BSD-2-Clause
"""The command line and the HTTP API behind it."""
import concurrent.futures
import contextlib
import http.server
import json
import os
import shlex
import signal
import socket
import socketserver
import stat
import threading
import time

from tests.lib import loadgen, program, unixhttp
from tests.lib.case import between, case, equal
from tests.lib.service import Service, xdp_of
from tests.lib.wait import wait_until

DONE, REFUSED, USAGE, NO_AGENT, NO_NODE, DEADLINE = range(6)


def says_one_line(done, status: int, *words: str) -> None:
    """It failed with that status and one line on standard error that has these words."""
    equal((done.returncode, done.stdout), (status, ""), f"{done.args[3:]}: {done.stderr!r}")
    equal(done.stderr.count("\n"), 1, f"lines in {done.stderr!r}")
    assert done.stderr.startswith("sluicectl: "), done.stderr
    for word in words:
        assert word in done.stderr, f"{word} is missing in {done.stderr!r}"


@case("every command prints JSON with --json, wherever it stands, and text without")
def json_everywhere(t):
    service = Service(t, nodes=2)
    agent = service.agent
    for words, key in ((("status",), "pools"), (("backends",), "backends"), (("vips",), "vips"),
                       (("drain", "node1"), "state"), (("undrain", "node1"), "state"),
                       (("weight", "node1", "4"), "weight"),
                       (("weight", "node1", "file"), "weight"), (("reload",), "result"),
                       (("check-config", agent.config_path), "good")):
        for argv in (("--json", *words), (*words, "--json"), (words[0], "--json", *words[1:]),
                     (*words, "-j")):
            done = agent.ctl_run(*argv)
            equal((done.returncode, done.stderr), (0, ""), f"sluicectl {' '.join(argv)}")
            assert key in json.loads(done.stdout), done.stdout
        done = agent.ctl_run(*words)
        equal((done.returncode, done.stderr), (0, ""), f"sluicectl {' '.join(words)}")
        assert done.stdout.strip() and not done.stdout.lstrip().startswith("{"), done.stdout
    done = agent.ctl_run("--json", "detach")
    equal(json.loads(done.stdout), {"result": "detached"}, "detach")


@case("an unknown node, and a name in two pools, are one line and status 4")
def unknown_node(t):
    service = Service(t, nodes=2)
    second = {**service.pool, "name": "second", "port": 8000}
    service.config["pools"].append(second)
    equal(service.reload().returncode, 0, "reload")
    for words in (("drain", "nobody"), ("drain", "nobody", "--wait"), ("undrain", "pool/nobody"),
                  ("weight", "nowhere/node1", "3"), ("weight", "../../status", "3"),
                  ("drain", "ä\x01%2F"), ("drain", "x" * 200)):
        says_one_line(service.agent.ctl_run(*words), NO_NODE)
    says_one_line(service.agent.ctl_run("drain", "node1"), NO_NODE, "more than one pool",
                  "POOL/node1")
    equal(service.agent.ctl_run("drain", "second/node1").returncode, 0, "the node of one pool")
    states = {(n["pool"], n["name"]): n["state"]
              for n in service.agent.ctl("backends")["backends"]}
    equal(states["second", "node1"], "draining", "state of second/node1")
    equal(states["pool", "node1"], "healthy", "state of pool/node1")


@case("an agent that is dead, stopped or was never there is one line and status 3")
def dead_agent(t):
    service = Service(t, nodes=1, start=False)
    agent = service.agent
    commands = (("status",), ("backends",), ("vips",), ("drain", "node1"), ("undrain", "node1"),
                ("weight", "node1", "2"), ("reload",))
    for words in commands:
        says_one_line(agent.ctl_run(*words), NO_AGENT, "no agent", agent.socket)
    agent.start()
    agent.wait_all()
    agent.kill()
    for words in commands:
        says_one_line(agent.ctl_run(*words), NO_AGENT, "no agent", "forwarding goes on")
    agent.start()
    agent.wait_all()


@contextlib.contextmanager
def agent_that_says(path: str, answer: dict):
    """Somebody on an agent's socket who has the same answer to everything."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def address_string(self):
            return "sluicectl"

    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield
        finally:
            server.shutdown()
            os.unlink(path)


@case("status --wait returns once the agent has judged every node, or says what it waits for")
def status_wait(t):
    agent = Service(t, nodes=2, start=False).agent
    says_one_line(agent.ctl_run("status", "--wait", "--timeout", "300ms"), NO_AGENT, "no agent")
    with agent_that_says(agent.socket, {"pools": [{"name": "llama", "settled": False}]}):
        says_one_line(agent.ctl_run("status", "--wait", "--timeout=300ms"), REFUSED,
                      "pool llama still waits")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.ctl, "status", "--wait")
        agent.start()
        equal(waiting.result(60)["pools"][0]["states"], {"healthy": 2}, "states when it returned")


@case("wrong usage is status 2 and says what is right")
def usage(t):
    service = Service(t, nodes=1)
    for words in ((), ("fly",), ("drain",), ("drain", "a", "b"), ("undrain",), ("weight", "node1"),
                  ("weight", "node1", "heavy"), ("weight", "node1", "-1"),
                  ("weight", "node1", "1001"), ("weight", "node1", "2.5"), ("status", "all"),
                  ("status", "--timeout", "1s"), ("status", "--wait", "--timeout"),
                  ("drain", "node1", "--deadline"), ("drain", "node1", "--deadline", "soon"),
                  ("drain", "node1", "--deadline="), ("drain", "node1", "--now", "--deadline=5m"),
                  ("drain", "node1", "--fast"), ("detach", "now"), ("check-config",), ("--fast",)):
        done = service.agent.ctl_run(*words)
        equal((done.returncode, done.stdout), (USAGE, ""), f"sluicectl {' '.join(words)}")
        assert done.stderr, f"sluicectl {' '.join(words)} says nothing"
    equal(service.agent.states(), {"node1": "healthy"}, "states")
    equal(service.agent.ctl_run("--help").returncode, 0, "--help")
    assert "0.1" in service.agent.ctl_run("--version").stdout


@case("an output that cannot be written is said, with status 1")
def output_lost(t):
    service = Service(t, nodes=2)
    for words in (("status",), ("backends", "--json"), ("drain", "node1"), ("--help",)):
        argv = [program("sluicectl"), "--socket", service.agent.socket, *words]
        done = service.tb.ingress.run(["sh", "-c", 'exec "$@" >/dev/full', "sh", *argv],
                                      check=False)
        equal((done.returncode, done.stderr.count("\n")), (REFUSED, 1), f"{words}: {done.stderr}")
        assert "cannot write the output" in done.stderr, done.stderr


@case("who takes the last node out of a pool is told, and done as told")
def last_node(t):
    agent = Service(t, nodes=2).agent
    warning = "sluicectl: pool pool has no node left for new connections: this host answers them\n"
    for words, said in ((("drain", "node1"), ""), (("weight", "node2", "0"), warning),
                        (("weight", "node2", "file"), ""), (("drain", "node2"), warning),
                        (("undrain", "node1"), "")):
        done = agent.ctl_run(*words)
        equal((done.returncode, done.stderr), (DONE, said), " ".join(words))


@case("an order says what it did")
def orders_said(t):
    service = Service(t, nodes=2)
    for words, said in ((("weight", "node1", "7"), "weight 7\n"),
                        (("weight", "node1", "file"), "weight 1, as in the file\n"),
                        (("drain", "node1"), "run to their end\n"),
                        (("drain", "node1", "--deadline=90s"), "left in 90.0 s are reset\n"),
                        (("drain", "node1", "--now"), "are reset\n"),
                        (("undrain", "node1"), "back in service\n")):
        done = service.agent.ctl_run(*words)
        equal((done.returncode, done.stderr), (DONE, ""), " ".join(words))
        assert done.stdout.startswith("pool/node1: ") and done.stdout.endswith(said), done.stdout


@case("backends shows the nodes of a pool, of a name or of a state; a word that names none is "
      "status 4")
def some_backends(t):
    service = Service(t, nodes=3)
    agent = service.agent
    agent.ctl("drain", "node2")
    for word, names in (("pool", {"node1", "node2", "node3"}), ("node1", {"node1"}),
                        ("pool/node3", {"node3"}), ("draining", {"node2"}), ("degraded", set())):
        equal({n["name"] for n in agent.ctl("backends", word)["backends"]}, names, word)
    says_one_line(agent.ctl_run("backends", "nobody"), NO_NODE, "nobody")
    said = agent.ctl_run("backends").stdout
    equal(said.splitlines()[-1], "3 nodes: 2 healthy, 1 draining", "the sum")
    assert "\033" not in said, "colours in a pipe"


@case("top says what each node gets a second, in text and JSON, and wrong usage is told")
def top(t):
    service = Service(t, nodes=3, weights={"node1": 2}, pool={"policy": "hash"})
    agent = service.agent
    load = loadgen.Loadgen(service.tb.client, "steady", service.urls, rate=200, duration=20).start()
    wait_until(lambda: load.progress().get("completed", 0) > 50, 10, "connections are made")
    answer = agent.ctl("top", "--interval", "2s")
    between(answer["seconds"], 1.9, 20, "seconds")
    nodes = {n["name"]: n for n in answer["backends"]}
    between(sum(n["new_flows_per_s"] for n in nodes.values()), 50, 400, "connections a second")
    between(nodes["node1"]["share"], 0.35, 0.65, "share of node1")
    between(sum(n["share"] for n in nodes.values()), 0.999, 1.001, "shares")
    for node in nodes.values():
        between(node["packets_per_s"] / node["new_flows_per_s"], 3, 20, "packets a connection")
    [one] = agent.ctl("top", "node1", "--interval=500ms")["backends"]
    between(one["share"], 0.2, 0.8, "share of its pool, though shown alone")
    said = agent.ctl_run("top", "pool", "--count", "2", "--interval", "200ms")
    equal((said.returncode, said.stderr), (DONE, ""), "top --count 2")
    equal(said.stdout.count("NODE "), 2, "tables")
    assert said.stdout.splitlines()[-1].startswith("3 nodes: "), said.stdout
    load.stop()
    says_one_line(agent.ctl_run("top", "nobody"), NO_NODE, "nobody")
    for words in (("--interval",), ("--interval", "1ms"), ("--interval=soon",), ("--count", "0"),
                  ("--count=x",), ("--fast",), ("a", "b")):
        done = agent.ctl_run("top", *words)
        equal((done.returncode, done.stdout), (USAGE, ""), f"top {' '.join(words)}")
        assert "Usage: sluicectl top" in done.stderr, done.stderr


@case("top on a terminal goes on over a restart of the agent; in a pipe it ends with status 3")
def top_over_a_restart(t):
    agent = Service(t, nodes=1).agent
    argv = [program("sluicectl"), "--socket", agent.socket, "top", "--interval", "200ms"]
    shown = agent.host.popen(["script", "-qec", f"stty cols 120; exec {shlex.join(argv)}",
                              "/dev/null"], name="terminal")
    piped = agent.host.popen([*argv, "--count", "1000"], name="pipe")
    for one in (shown, piped):
        wait_until(lambda one=one: "1 node:" in one.output(), 5, "a table")
    agent.kill()
    equal(piped.wait(20), NO_AGENT, "exit status in a pipe")
    wait_until(lambda: "the next one is waited for" in shown.output(), 5, "it says so")
    agent.start()
    tables = shown.output().count("1 node:")
    wait_until(lambda: shown.output().count("1 node:") > tables + 1, 10, "tables of the next agent")
    shown.kill()


@case("status names the nodes that are not healthy, with the cause, and says what counters mean")
def attention(t):
    service = Service(t, nodes=2)
    agent = service.agent
    equal(agent.ctl("status")["attention"], [], "nodes to look at")
    agent.ctl("drain", "node2", "--now")
    [node] = agent.ctl("status")["attention"]
    equal((node["pool"], node["name"], node["state"]), ("pool", "node2", "maintenance"), "node")
    said = agent.ctl_run("status").stdout
    assert "pool/node2  maintenance" in said and node["cause"] in said, said
    assert "Nothing was lost, and no limit was met." in said, said


@case("a command that is nearly right is told which was meant; help is there where it is looked "
      "for")
def near_commands(t):
    service = Service(t, nodes=1, start=False)
    for word, near in (("drian", "drain"), ("stat", "status"), ("backend", "backends")):
        says_one_line(service.agent.ctl_run(word), USAGE, f"did you mean '{near}'?")
    for words in (("help",), ("help", "drain"), ("drain", "--help"), ("status", "-h")):
        done = service.agent.ctl_run(*words)
        equal((done.returncode, done.stderr), (DONE, ""), " ".join(words))
        assert done.stdout.startswith("Usage: sluicectl "), done.stdout


# --- drain ----------------------------------------------------------------------------------------


@case("drain --wait cuts no stream, and returns when the last one has ended")
def drain_wait(t):
    service = Service(t, nodes=2, sanitized=True)
    streams = service.streams(30, 8)
    live = service.mocks["node1"].control()["running"]
    between(live, 5, 25, "streams on node1")
    done = service.agent.ctl_run("drain", "node1", "--wait")
    returned = time.monotonic()
    equal(done.returncode, DONE, f"exit status: {done.stderr}")
    assert "drained" in done.stdout, done.stdout
    assert "live flows" in done.stderr, f"no progress in {done.stderr!r}"
    equal(service.mocks["node1"].control()["running"], 0, "streams on node1 when it returned")
    equal(streams.wait(30)["completed"], 30, "streams that went on")
    last = max(c["t_end"] for c in streams.series() if c["backend"] == "node1")
    between(returned - last, 0.5, 30, "seconds after the last stream")
    equal(service.spread(100)["by_backend"].keys(), {"node2"}, "nodes that answer")
    equal(service.agent.ctl_run("drain", "node1", "--wait").returncode, DONE, "a second time")
    service.end()


@case("drain --wait of servers that say nothing of their requests ends with silence, not before",
      60)
def drain_of_the_mute(t):
    service = Service(t, nodes=2, flow_idle="5s", pool={"preset": "tcp", "policy": "hash"})
    agent, client = service.agent, service.tb.client
    asked = [client.popen(["curl", "-sS", "-m", "60", "-d", json.dumps(
        {"prompt": "x", "max_tokens": 300, "stream": False}), f"{service.urls[0]}/v1/completions"],
        name=f"curl{i}") for i in range(4)]
    running = {name: mock.control for name, mock in service.mocks.items()}
    wait_until(lambda: sum(ask()["running"] for ask in running.values()) == 4, 5, "4 requests run")
    name = max(running, key=lambda n: running[n]()["running"])
    began = time.monotonic()
    done = agent.ctl_run("drain", name, "--wait")
    equal(done.returncode, DONE, f"exit status: {done.stderr}")
    equal(running[name]()["running"], 0, "requests on the node when it was said to be empty")
    between(time.monotonic() - began, 5, 60, "seconds")
    assert "without a packet" in done.stderr, done.stderr
    for curl in asked:
        equal(curl.wait(60), 0, f"curl: {curl.output()}")
    agent.ctl("undrain", name)
    service.mocks[name].process.kill()
    agent.wait_states(**{name: "unhealthy"})
    done = agent.ctl_run("drain", name, "--wait")
    equal(done.returncode, DONE, "drain of a dead node")
    assert "without a packet" not in done.stderr, f"a dead node is waited for: {done.stderr}"


@case("a drain's deadline ends it: what is left is reset, and the command says so with status 5")
def deadline(t):
    service = Service(t, nodes=2)
    streams = service.streams(20, 20)
    live = service.mocks["node1"].control()["running"]
    began = time.monotonic()
    done = service.agent.ctl_run("drain", "node1", "--wait", "--deadline", "1500ms")
    between(time.monotonic() - began, 1.4, 12, "seconds until it returned")
    equal(done.returncode, DEADLINE, f"exit status: {done.stderr}")
    assert "deadline" in done.stdout, done.stdout
    equal(service.agent.states()["node1"], "maintenance", "state")
    wait_until(lambda: len(streams.events()) == live, 5, f"{live} streams are broken")
    equal({e["cause"] for e in streams.events()}, {"reset"}, "causes")
    report = streams.stop()
    equal(report["broken"], live, "broken streams")


@case("a deadline that finds nothing left cuts nothing, and is no failure; what is not known is "
      "said")
def deadline_of_the_idle(t):
    service = Service(t, nodes=2)
    agent = service.agent
    service.spread(100)
    wait_until(lambda: service.mocks["node1"].control()["running"] == 0, 5, "nothing runs")
    done = agent.ctl_run("drain", "node1", "--wait", "--deadline", "100ms")
    equal((done.returncode, done.stdout),
          (DONE, "pool/node1: drained: nothing runs there any more\n"),
          f"an idle node: {done.stderr}")
    agent.wait_log("info .*node1: drain deadline passed: nothing was left", 5)
    equal(agent.nodes()["node1"]["drain"]["deadline_left"], "nothing", "as JSON")
    agent.ctl("undrain", "node1")
    service.pool["preset"] = "tcp"
    del service.pool["load"]
    equal(service.reload().returncode, 0, "reload")
    service.spread(100)
    done = agent.ctl_run("drain", "node1", "--wait", "--deadline", "1s", "--json")
    equal((done.returncode, json.loads(done.stdout)["drain"]["deadline_left"]),
          (DEADLINE, "unknown"), f"a mute server: {done.stderr}")


@case("drain --wait goes on over a restart of the agent, and still cuts nothing", 60)
def drain_over_a_restart(t):
    service = Service(t, nodes=2)
    agent = service.agent
    streams = service.streams(20, 8)
    argv = [program("sluicectl"), "--socket", agent.socket, "drain", "node1", "--wait"]
    waiting = service.tb.ingress.popen(argv, name="sluicectl")
    agent.wait_states(node1="draining")
    agent.kill()
    wait_until(lambda: "no agent answers; the drain stays" in waiting.output(), 5, "it says so")
    agent.start()
    equal(waiting.wait(30), DONE, f"how sluicectl ended: {waiting.output()}")
    equal(service.mocks["node1"].control()["running"], 0, "streams on node1 when it returned")
    assert "drained: nothing runs there" in waiting.output(), waiting.output()
    equal(streams.wait(30)["completed"], 20, "streams that went on")


@case("a deadline that is over when the agent was dead is kept when it is back")
def deadline_survives(t):
    service = Service(t, nodes=2)
    agent = service.agent
    streams = service.streams(20, 20)
    agent.ctl("drain", "node1", "--deadline", "1s")
    agent.kill()
    time.sleep(1.2)
    equal(streams.events(), [], "broken streams without an agent")
    agent.start()
    agent.wait_states(node1="maintenance")
    agent.ctl("undrain", "node1")
    agent.wait_all()
    streams.stop()


@case("drain --now resets at once; undrain brings the node back")
def drain_now(t):
    service = Service(t, nodes=2)
    streams = service.streams(20, 20)
    live = service.mocks["node1"].control()["running"]
    done = service.agent.ctl_run("drain", "node1", "--now", "--wait")
    equal(done.returncode, DONE, "exit status")
    wait_until(lambda: len(streams.events()) == live, 5, f"{live} streams are broken")
    equal(service.agent.states()["node1"], "maintenance", "state")
    equal(service.agent.ctl_run("undrain", "node1").returncode, DONE, "undrain")
    service.agent.wait_all()
    equal(len(service.spread(200)["by_backend"]), 2, "nodes that answer")
    streams.stop()


@case("whoever waits for a drain is told when somebody puts the node back")
def undrained(t):
    service = Service(t, nodes=2)
    streams = service.streams(20, 20)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(service.agent.ctl_run, "drain", "node1", "--wait")
        service.agent.wait_states(node1="draining")
        service.agent.ctl("undrain", "node1")
        done = waiting.result(40)
    equal(done.returncode, REFUSED, "exit status")
    assert "put the node back" in done.stderr, done.stderr
    equal(streams.events(), [], "broken streams")
    streams.stop()


@case("two who drain one node at once both return when it is done")
def drain_twice(t):
    service = Service(t, nodes=2)
    streams = service.streams(20, 3)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        both = [pool.submit(service.agent.ctl_run, "drain", "node1", "--wait") for _ in range(2)]
        for waiting in both:
            equal(waiting.result(60).returncode, DONE, "exit status")
    equal(streams.wait(60)["completed"], 20, "streams that went on")


@case("Ctrl-C ends the waiting and not the drain")
def interrupted(t):
    service = Service(t, nodes=2)
    streams = service.streams(20, 20)
    argv = [program("sluicectl"), "--socket", service.agent.socket, "drain", "node1",
            "--wait"]
    waiting = service.tb.ingress.popen(argv, name="sluicectl")
    service.agent.wait_states(node1="draining")
    wait_until(lambda: "draining" in waiting.output(), 5, "it waits")
    waiting.send(signal.SIGINT)
    equal(waiting.wait(20), -signal.SIGINT, "how sluicectl ended")
    equal(service.agent.states()["node1"], "draining", "state")
    streams.stop()


# --- weight ---------------------------------------------------------------------------------------


@case("a weight set by hand moves new connections, outlives a reload, and goes back to the file's")
def weight(t):
    service = Service(t, nodes=2, pool={"policy": "hash"})
    agent = service.agent
    streams = service.streams(20, 6)
    for value, low, high in (("3", 0.67, 0.83), ("0", 0, 0), ("file", 0.4, 0.6)):
        agent.ctl("weight", "node1", value)
        share = loadgen.shares(service.spread(1000)).get("node1", 0)
        between(share, low, high, f"share of node1 with weight {value}")
    agent.ctl("weight", "node1", "7")
    equal(service.reload().returncode, 0, "reload")
    node = agent.nodes()["node1"]
    equal((node["weight"], node["weight_set"]), (7, True), "weight after the reload")
    agent.ctl("weight", "node1", "file")
    node = agent.nodes()["node1"]
    equal((node["weight"], node["weight_set"]), (1, False), "weight at the end")
    equal(streams.wait(60)["completed"], 20, "streams that went on")


# --- files ----------------------------------------------------------------------------------------


@case("check-config finds what is wrong, without an agent")
def check_config(t):
    service = Service(t, nodes=1, start=False)
    agent = service.agent
    done = agent.ctl_run("check-config", agent.config_path)
    equal((done.returncode, done.stderr), (DONE, ""), "a good file")
    assert "2 VIPs, 1 pool: good" in done.stdout, done.stdout
    agent.write_config({k: v for k, v in service.config.items() if k != "hash_key"})
    done = agent.ctl_run("check-config", agent.config_path)
    equal((done.returncode, done.stderr.count("\n")), (DONE, 1), "a file without a key")
    assert done.stderr.startswith(f"{agent.config_path}: warning: hash_key is not set"), done.stderr
    answer = json.loads(agent.ctl_run("--json", "check-config", agent.config_path).stdout)
    equal((answer["good"], len(answer["warnings"])), (True, 1), "as JSON")
    agent.start()
    agent.wait_log("warning hash_key is not set", 5)
    equal(agent.ctl("status")["warnings"], [w.split("warning: ")[1] for w in [done.stderr.strip()]],
          "warnings in the status")
    assert "Warning: hash_key is not set" in agent.ctl_run("status").stdout, "status as text"
    equal(agent.ctl("reload")["result"], "reloaded", "a reload")
    equal(agent.process.output().count("hash_key is not set"), 1, "warnings in the log")
    service.pool["mode"] = "teleport"
    service.pool["check"]["ca_file"] = "/nowhere/ca.pem"
    agent.write_config(service.config)
    done = agent.ctl_run("check-config", agent.config_path)
    equal((done.returncode, done.stdout), (REFUSED, ""), "a bad file")
    assert done.stderr.startswith(f"{agent.config_path}:"), done.stderr
    assert "teleport" in done.stderr, done.stderr
    answer = json.loads(agent.ctl_run("--json", "check-config", agent.config_path).stdout)
    equal((answer["good"], len(answer["errors"])), (False, 1), "as JSON")
    service.pool["mode"] = "ipip"
    agent.write_config(service.config)
    done = agent.ctl_run("check-config", agent.config_path)
    equal(done.returncode, REFUSED, "a file that names a file that is missing")
    assert "/nowhere/ca.pem" in done.stderr, done.stderr
    done = agent.ctl_run("check-config", "/nowhere/sluice.yaml")
    equal((done.returncode, done.stderr.count("\n")), (REFUSED, 1), done.stderr)


# --- the socket -----------------------------------------------------------------------------------


def status_of(service: Service, method: str, target: str, data=None) -> tuple[int, str]:
    try:
        return 200, unixhttp.request(service.agent.socket, method, target, data)
    except unixhttp.HttpError as e:
        return e.status, json.loads(e.body)["error"]


@case("curl gets the same from the socket, and wrong requests are told why")
def curl(t):
    service = Service(t, nodes=1, sanitized=True)
    done = service.tb.ingress.run(["curl", "-sS", "--fail", "--unix-socket", service.agent.socket,
                                   "http://sluice/v1/backends/pool/node1"])
    equal(json.loads(done.stdout)["address"], f"{service.tb['node1'].ip4}:8000", "address")
    long = {"x": "y" * 10000}
    for method, target, data, status, word in (
        ("GET", "/v1/nothing", None, 404, "/v1/nothing"),
        ("GET", "/v1/backends/nobody", None, 404, "nobody"),
        ("POST", "/v1/backends/node1/fly", {}, 404, "drain, undrain, weight"),
        ("POST", "/v1/backends/node1/drain", {"deadline_ms": "soon"}, 400, "deadline_ms"),
        ("POST", "/v1/backends/node1/drain", {"deadline_ms": -5}, 400, "deadline_ms"),
        ("POST", "/v1/backends/node1/drain", [1], 400, "object"),
        ("POST", "/v1/backends/node1/drain", {"now": "true"}, 400, "true or false"),
        ("POST", "/v1/backends/node1/drain", {"deadline": 5000}, 400, "'deadline'"),
        ("POST", "/v1/backends/node1/undrain", {"now": True}, 400, "'now'"),
        ("POST", "/v1/backends/node1/weight", {"weight": 1, "for": 5}, 400, "'for'"),
        ("POST", "/v1/backends/node1/weight", {"weight": 1e99}, 400, "weight"),
        ("POST", "/v1/backends/node1/weight", {"weight": "file"}, 400, "weight"),
        ("POST", "/v1/backends/node1/weight", long, 413, "bytes"),
        ("PUT", "/v1/reload", {}, 405, "GET or POST"),
        ("POST", "/v1/everything", {}, 404, "/v1/everything"),
    ):
        got, error = status_of(service, method, target, data)
        equal(got, status, f"{method} {target}: {error}")
        assert word in error, f"{word} is missing in {error!r}"
    equal(service.agent.states(), {"node1": "healthy"}, "states")
    service.end()


@case("broken requests, and clients that hold the socket without a word, keep nobody out for long")
def hostile_clients(t):
    service = Service(t, nodes=1, sanitized=True)
    agent = service.agent
    held = []
    for data in (b"", b"\0" * 5000, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20000,
                 b"POST /v1/reload HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                 b"POST /v1/reload HTTP/1.1\r\nContent-Length: 5\r\n\r\n{",
                 b"\xff\xfe GET\r\n\r\n") * 8:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(agent.socket)
        try:
            client.sendall(data)
        except OSError:
            pass  # it was told off before it had finished
        held.append(client)
    equal(agent.ctl("status")["pid"], agent.pid, "pid, asked beside all of them")
    for client in held:
        client.close()
    agent.wait_all()
    service.end()


@case("the socket's mode and group are those of the configuration")
def permissions(t):
    service = Service(t, nodes=1, start=False, socket_mode="0640", socket_group="daemon")
    agent = service.agent
    agent.start()
    info = os.stat(agent.socket)
    equal(stat.S_IMODE(info.st_mode), 0o640, "mode")
    equal(info.st_gid, 1, "group")
    agent.stop()
    agent.write_config({**service.config, "socket_group": "nobody-here"})
    agent.start(wait=False)
    equal(agent.process.wait(30), 1, "exit status with a group that is not there")
    assert "nobody-here" in agent.process.output(), agent.process.output()
    assert xdp_of(service.tb.ingress), "the program that ran before is off"
    assert not os.path.exists(agent.socket), "a socket was left"
    agent.write_config({**service.config, "socket": agent.config_path})
    agent.start(wait=False)
    equal(agent.process.wait(30), 1, "exit status with a file in the socket's place")
    assert "no socket" in agent.process.output(), agent.process.output()
    assert os.path.exists(agent.config_path), "the file was removed"
