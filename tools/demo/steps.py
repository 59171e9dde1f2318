# SPDX-License-Identifier: BSD-2-Clause
"""The steps of the demo, in the order in which they are shown."""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import threading
import time

from sluice_testbed import Testbed, TestbedError, Topology

from screen import Screen
from tests.lib import BUILD
from tests.lib.agent import Agent
from tests.lib.canary import Canary
from tests.lib.config import one_pool
from tests.lib.dpdk import Dpdk, dataplane, default_driver
from tests.lib.loadgen import Loadgen, run, shares, url
from tests.lib.mock import Mock
from tests.lib.wait import wait_until

WEIGHTS = {"node1": 3, "node2": 2, "node3": 2, "node4": 1}
SLOTS_OF_WEIGHT = 32
TOKENS_PER_S = 50


class Demo:
    """The testbed with everything started, and what the steps share."""

    def __init__(self, testbed: Testbed, screen: Screen):
        self.tb = testbed
        self.screen = screen
        self.urls = [url(testbed.vip4), url(testbed.vip6)]
        self.mocks: dict[str, Mock] = {}
        for node in testbed.nodes:
            node.attach_decap()
            self.mocks[node.name] = Mock(
                node,
                slots=WEIGHTS[node.name] * SLOTS_OF_WEIGHT,
                tokens_per_second=TOKENS_PER_S,
            ).start()
        self.dpdk = Dpdk(testbed.ingress) if dataplane() == "dpdk" else None
        top = self.dpdk.config() if self.dpdk else {}
        self.config = one_pool(testbed, WEIGHTS, **top)
        self.agent = Agent(testbed.ingress, self.config).start()
        if self.dpdk:
            self.dpdk.start(self.agent.config_path)

    def choose_by(self, policy: str) -> None:
        """From now on, by a reload."""
        self.config["pools"][0]["policy"] = policy
        self.agent.write_config(self.config)
        self.agent.ctl("reload")

    def backend(self, name: str) -> dict:
        return next(b for b in self.agent.ctl("backends")["backends"] if b["name"] == name)

    def state(self, name: str) -> str:
        return self.backend(name)["state"]

    def wait_states(self, want: dict[str, str], timeout_s: float = 15) -> None:
        def reached() -> bool:
            now = {b["name"]: b["state"] for b in self.agent.ctl("backends")["backends"]}
            return all(now[name] == state for name, state in want.items())

        wait_until(reached, timeout_s, f"states {want}", interval_s=0.05)

    def all_healthy(self) -> None:
        self.wait_states({name: "healthy" for name in WEIGHTS})


def percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def per_node(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {percent(values.get(name, 0))}" for name in WEIGHTS)


def outcome(report: dict) -> str:
    """What became of the connections; of failures, why."""
    text = (f"{report['completed']} correct, {report['failed']} failed, "
            f"{report['broken']} broken")
    causes = ", ".join(f"{n} {cause}" for cause, n in report["causes"].items())
    return f"{text} ({causes})" if causes else text


def weight_shares() -> dict[str, float]:
    total = sum(WEIGHTS.values())
    return {name: w / total for name, w in WEIGHTS.items()}


def share_of(series: list[dict], name: str, since: float, until: float) -> tuple[float, int]:
    """The node's share of the connections begun in [since, until), and their number."""
    mine = [c for c in series if since <= c["t"] < until and c["backend"]]
    return sum(c["backend"] == name for c in mine) / max(1, len(mine)), len(mine)


def step_spread(d: Demo) -> None:
    # By hash alone: p2c rightly gives less to a node that a busy machine keeps waiting. Of so many,
    # the lightest node's share has a deviation of 1.9 % by chance.
    d.screen.heading("1. 20,000 connections over four nodes of weights 3, 2, 2, 1 (hash)")
    d.choose_by("hash")
    d.screen.waiting("20,000 connections, half IPv4 and half IPv6")
    report = run(d.tb.client, "spread", d.urls, count=20000, concurrency=192, tokens=2)
    d.choose_by("p2c")
    got, want = shares(report), weight_shares()
    worst = max(abs(got.get(n, 0) / want[n] - 1) for n in WEIGHTS)
    d.screen.check("spread by weight", f"{per_node(want)}, each within 10 %",
                   f"{per_node(got)}, worst off by {percent(worst)}", worst <= 0.10)
    d.screen.check("answers", "20000 of 20000 correct", outcome(report),
                   report["completed"] == 20000)


def step_slow(d: Demo) -> None:
    slow, want = "node2", weight_shares()["node2"]
    d.screen.heading(f"2. {slow} becomes ten times slower under steady load, and recovers (p2c)")
    load = Loadgen(d.tb.client, "steady", d.urls, rate=80, tokens=20, duration=20).start()
    d.screen.waiting("steady load, all nodes equally fast")
    load.wait_for(lambda p: p.get("started", 0) >= 240, 15, "240 connections begun")
    t0 = time.monotonic()
    d.mocks[slow].control(rate_factor=0.1)
    d.screen.waiting(f"{slow} is slow")
    time.sleep(7)
    t1 = time.monotonic()
    d.mocks[slow].control(rate_factor=1)
    d.screen.waiting(f"{slow} is fast again; its backlog drains")
    report = load.wait(60)
    series, end = load.series(), time.monotonic()
    before, _ = share_of(series, slow, 0, t0)
    # The first two seconds of each phase belong to the change.
    during, n_during = share_of(series, slow, t0 + 2, t1)
    after, n_after = share_of(series, slow, t1 + 2, end)
    d.screen.check(f"share of {slow} while slow", f"under half of its weight's {percent(want)}",
                   f"{percent(during)} of {n_during} new connections (before: {percent(before)})",
                   during < want / 2)
    d.screen.check(f"share of {slow} afterwards", f"over 60 % of {percent(want)} again",
                   f"{percent(after)} of {n_after}", after > want * 0.6)
    d.screen.check("answers meanwhile", "none failed or broken", outcome(report),
                   report["failed"] + report["broken"] == 0)


def step_degraded(d: Demo) -> None:
    sick = "node3"
    d.screen.heading(f"3. {sick} reports 97 % GPU memory: no new connections, live streams run on")
    streams = Loadgen(d.tb.client, "stream", d.urls, concurrency=100, count=100, rate=1000,
                      tokens=8 * TOKENS_PER_S, duration=3).start()
    d.screen.waiting("100 streams begin")
    streams.wait_active(100)
    live = d.mocks[sick].control()["running"]
    d.mocks[sick].control(gpu_memory=97)
    d.screen.waiting(f"{sick} is judged over three samples")
    d.wait_states({sick: "degraded"})
    report = run(d.tb.client, "spread", d.urls, count=1000, concurrency=50)
    hits = report["by_backend"].get(sick, {}).get("started", 0)
    d.screen.note(f"cause: {d.backend(sick)['cause']}")
    d.screen.check(f"new connections to {sick} while degraded", "0 of 1000", f"{hits} of 1000",
                   hits == 0 and report["completed"] == 1000)
    d.screen.waiting("the streams run to their end")
    report = streams.wait(60)
    d.screen.check("live streams", f"100 of 100 complete, {live} of them on {sick}",
                   f"{report['completed']} complete, {report['broken']} broken",
                   report["completed"] == 100 and live > 0)
    d.mocks[sick].control(gpu_memory=50)
    d.screen.waiting(f"{sick} recovers")
    d.all_healthy()


class Drain:
    """`sluicectl drain NODE --wait` beside what goes on; when it returned, and how."""

    def __init__(self, d: Demo, name: str):
        self.ended = 0.0
        self.result: subprocess.CompletedProcess | None = None
        self.thread = threading.Thread(target=self._run, args=(d, name))
        self.thread.start()

    def _run(self, d: Demo, name: str) -> None:
        self.result = d.agent.ctl_run("drain", name, "--wait", "--deadline", "60s", timeout_s=70)
        self.ended = time.monotonic()


def step_drain(d: Demo) -> None:
    name = "node1"
    d.screen.heading(f"4. sluicectl drain --wait {name}, with 50 or more live streams on it")
    streams = Loadgen(d.tb.client, "stream", d.urls, concurrency=180, count=180, rate=1000,
                      tokens=6 * TOKENS_PER_S, duration=3).start()
    d.screen.waiting("180 streams begin")
    streams.wait_active(180)
    live = d.mocks[name].control()["running"]
    drain = Drain(d, name)
    d.wait_states({name: "draining"})
    hits = run(d.tb.client, "spread", d.urls, count=1000, concurrency=50)
    n = hits["by_backend"].get(name, {}).get("started", 0)
    d.screen.waiting(f"{live} streams on {name} run to their end")
    report = streams.wait(60)
    last = max((c["t_end"] for c in streams.series() if c["backend"] == name), default=0)
    drain.thread.join()
    d.screen.check("streams on the draining node", f"{live} (50 or more), none broken",
                   f"{report['completed']} of 180 complete, {report['broken']} broken",
                   live >= 50 and report["completed"] == 180)
    d.screen.check("new connections to it", "0 of 1000", f"{n} of 1000",
                   n == 0 and hits["completed"] == 1000)
    late = drain.ended - last
    d.screen.check("the command returned", "after the last stream ended, within 5 s, status 0",
                   f"{late:.1f} s after, status {drain.result.returncode}",
                   0 <= late <= 5 and drain.result.returncode == 0)
    d.agent.ctl("undrain", name)
    d.all_healthy()


def step_killed(d: Demo) -> None:
    name = "node4"
    d.screen.heading(f"5. the process of {name} is killed under load")
    load = Loadgen(d.tb.client, "steady", d.urls, rate=200, tokens=10, duration=6).start()
    d.screen.waiting("200 new connections a second")
    load.wait_for(lambda p: p.get("started", 0) >= 400, 15, "400 connections begun")
    canary = Canary(d.tb.ingress)
    killed = time.monotonic()
    on_it = d.mocks[name].control()["running"]
    d.mocks[name].kill()
    d.wait_states({name: "unhealthy"})
    detected = time.monotonic() - killed
    held_up = canary.end() / 1000
    report = load.wait(60)
    bad = [c for c in load.series() if not c["ok"]]
    elsewhere = [c for c in bad if c["backend"] not in (None, name)]
    # A connection that failed before any answer was sent to the closed port.
    refused = [c for c in bad if c["t"] >= killed]
    last = max((c["t"] - killed for c in refused), default=0.0)
    d.screen.note(f"cause: {d.backend(name)['cause']}")
    d.screen.check("time until no new connection went to it",
                   "under 0.5 s (checks every 0.2 s), and three times this machine's own delay",
                   f"{last * 1000:.0f} ms (unhealthy after {detected * 1000:.0f} ms at most; "
                   f"one who only waits was woken up to {held_up * 1000:.0f} ms late)",
                   last < 0.5 + 3 * held_up)
    d.screen.check("connections that failed", "only those on it, and new ones until it was noticed",
                   f"{len(bad)} of {report['started']}: {len(bad) - len(refused)} were on it "
                   f"(it ran {on_it}), {len(refused)} arrived before it was noticed, "
                   f"{len(elsewhere)} elsewhere",
                   not elsewhere and len(bad) < report["started"] / 10)
    d.mocks[name].restart()
    d.screen.waiting(f"{name} is started again")
    d.all_healthy()


def step_agent_killed(d: Demo) -> None:
    d.screen.heading("6. the agent is killed with kill -9 under load, and started again")
    load = Loadgen(d.tb.client, "steady", d.urls, rate=200, tokens=50, duration=7).start()
    load.wait_for(lambda p: p.get("started", 0) >= 400, 15, "400 connections begun")
    d.agent.kill()
    d.screen.waiting("no agent: forwarding goes on with the last table")
    time.sleep(1.5)
    d.agent.start()
    d.all_healthy()
    moved = sum(p["slots_written"] for p in d.agent.ctl("status")["pools"])
    d.screen.waiting("the connections end")
    report = load.wait(60)
    d.screen.check("connections", "none failed or broken",
                   f"of {report['started']}: {outcome(report)}",
                   report["completed"] == report["started"] > 500)
    d.screen.check("slots the new agent rewrote", "0", str(moved), moved == 0)


def step_maps(d: Demo) -> None:
    path = os.path.join(d.agent.pin_dir, "backend_info")
    d.screen.heading(f"7. bpftool map dump pinned {path}")
    done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", path], capture_output=True,
                          text=True, check=True, timeout=30)
    rows = [e["formatted"]["value"] for e in json.loads(done.stdout)]
    rows = [r for r in rows if r["state"] not in (0, "LB_STATE_NONE")]
    for r in rows:
        d.screen.note(f'{r["name"]}  {r["address"]}  {r["state"]}  weight {r["weight"]} -> '
                      f'{r["effective_weight"] / 1000:g}')
    seen = {r["name"].strip('"'): (r["weight"], str(r["state"])) for r in rows}
    want = {n: (w, "LB_STATE_HEALTHY") for n, w in WEIGHTS.items()}
    d.screen.check("backends, weights and states by name", "the four nodes, healthy",
                   f"{len(rows)} backends", seen == want)


def step_dpdk_restarted(d: Demo) -> None:
    d.screen.heading("8. sluice-dpdk is stopped, then killed with kill -9, under load, and started "
                     "again")
    load = Loadgen(d.tb.client, "steady", d.urls, rate=200, tokens=50, duration=7).start()
    load.wait_for(lambda p: p.get("started", 0) >= 400, 15, "400 connections begun")
    times = []
    for kill in (False, True):
        began = time.monotonic()
        d.dpdk.restart(d.agent.config_path, kill=kill)
        times.append(time.monotonic() - began)
        d.screen.waiting("its connections go on")
        time.sleep(1.5)
    report = load.wait(60)
    d.screen.check("connections", "none failed or broken",
                   f"{report['completed']} of {report['started']} correct, "
                   f"{report['failed']} failed, {report['broken']} broken; without forwarding for "
                   f"{times[0]:.1f} s and {times[1]:.1f} s",
                   report["completed"] == report["started"] > 500)


STEPS = [step_spread, step_slow, step_degraded, step_drain, step_killed, step_agent_killed,
         step_maps]
if dataplane() == "dpdk":
    STEPS.append(step_dpdk_restarted)


def check_machine() -> str | None:
    """What is missing, in one line."""
    if os.geteuid() != 0:
        return "the demo makes network namespaces and loads XDP programs: run it as root"
    needed = ["sluiced", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o"]
    for name in needed + (["sluice-dpdk"] if dataplane() == "dpdk" else []):
        if not os.path.exists(os.path.join(BUILD, name)):
            return f"build/{name} is missing: run make"
    return None


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--step", type=int, action="append", choices=range(1, len(STEPS) + 1),
                        help="only this step (may be repeated)")
    args = parser.parse_args(argv)
    missing = check_machine()
    if missing:
        print(f"demo: {missing}")
        return 2
    screen = Screen()
    try:
        host = f"DPDK, {default_driver()}" if dataplane() == "dpdk" else "XDP, native"
        print(f"Sluice: client -> ingress ({host}) -> 4 GPU nodes (mock servers), by veth")
        with Testbed(Topology(nodes=4)) as testbed:
            demo = Demo(testbed, screen)
            screen.waiting("the agent checks the nodes")
            demo.all_healthy()
            for number, step in enumerate(STEPS, 1):
                if not args.step or number in args.step:
                    run_step(demo, step)
            demo.agent.ctl("detach")
    finally:
        screen.close()
    return screen.verdict()


def run_step(demo: Demo, step) -> None:
    """A step that cannot be finished is a failed check, not the end of the demo."""
    try:
        step(demo)
    except (AssertionError, TestbedError, subprocess.SubprocessError) as e:
        demo.screen.check(step.__name__, "the step runs to its end", str(e), False)
    finally:
        demo.screen.waiting(None)
