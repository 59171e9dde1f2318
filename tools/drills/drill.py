# SPDX-License-Identifier: BSD-2-Clause
"""
What a drill is written with: a fleet under load, faults, what must follow and within what time.

    @case("process killed: ...", timeout_s=60)
    def process_killed(t):
        with Drill(t) as d:
            d.start_load()
            d.fault(d.mocks["node2"].kill)
            d.noticed({"node2": "unhealthy"}, within_s=0.6)
            d.end_load()
            d.only_on("node2")

A drill that ends writes its figures to figures.json in its log directory: time to notice, failed
connections, broken streams, and each check with what was expected and measured.
"""
from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time

from tests.lib import config
from tests.lib.agent import Agent
from tests.lib.loadgen import Loadgen, url
from tests.lib.mock import PORT, Mock
from tests.lib.wait import PATIENCE, NotInTime, wait_until

NEEDS = ("sluiced", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o", "xdpattach")
POLL_S = 0.01
# What was sent before the agent published its decision may have met the old table.
SLACK_S = 0.1
TOKENS_PER_S = 50
# Times are what drills are about, and `make drills` takes them as they are written. Among the
# tests, which other programs may run beside, they are judged with patience.
LIMITS = 1 if os.environ.get("DRILLS_STRICT") else PATIENCE


def fleet(testbed, names=None, vips=None, **pool) -> dict:
    """One pool, of these nodes (default: all), behind these VIPs (default: all)."""
    settings = config.one_pool(testbed, pool={"preset": "vllm", **pool})
    if names is not None:
        settings["pools"][0]["nodes"] = [n for n in settings["pools"][0]["nodes"]
                                         if n["name"] in names]
    if vips is not None:
        settings["vips"] = [v for v in settings["vips"] if v["address"] in vips]
    return settings


class Drill:
    """
    A testbed with servers, an agent and clients. config_of(testbed) -> configuration; without it
    fleet(testbed, **pool). mocks: which nodes have their server from the start (default: all).
    """

    def __init__(self, t, nodes=4, config_of=None, mocks=None, agent_start=None, topology=None,
                 mock_options=None, **pool):
        t.need(*NEEDS)
        self.t = t
        self.checks: list[dict] = []
        self.detection_s: float | None = None
        self.fault_at: float | None = None
        self.noticed_at: float | None = None
        self.bad: list[dict] = []
        self.done: list[dict] = []
        self.loads: list[Loadgen] = []
        self.tb = tb = t.testbed(nodes=nodes, **(topology or {}))
        self.mocks: dict[str, Mock] = {}
        for node in tb.nodes:
            node.attach_decap()
            self.mocks[node.name] = Mock(node, slots=64, tokens_per_second=TOKENS_PER_S,
                                         **(mock_options or {}))
        for name in mocks if mocks is not None else self.mocks:
            self.mocks[name].start()
        settings = config_of(tb) if config_of else fleet(tb, **pool)
        self.agent = Agent(tb.ingress, settings).start(**(agent_start or {}))
        members = {n["name"] for p in settings["pools"] for n in p.get("nodes", [])}
        up = {n: "healthy" for n in members if self.mocks[n].process}
        wait_until(lambda: self.are(up), 15, f"at the start: {up}")

    # -- what is

    def backends(self) -> dict[str, dict]:
        return {b["name"]: b for b in self.agent.api("/v1/backends")["backends"]}

    def states(self) -> dict[str, str]:
        return {name: b["state"] for name, b in self.backends().items()}

    def are(self, want: dict[str, str]) -> bool:
        now = self.states()
        return all(now.get(name) == state for name, state in want.items())

    def pool(self, name: str = "pool") -> dict:
        return next(p for p in self.agent.api("/v1/status")["pools"] if p["name"] == name)

    def packets(self, reason: str) -> int:
        return self.agent.api("/v1/status")["packets"][reason]

    # -- what happens

    def start_load(self, rate=60, streams=40, stream_s=3.0, silence_s=30, vips=None) -> None:
        """New connections at a rate, and streams of so many seconds; those are all begun."""
        urls = [url(v, PORT) for v in vips or (self.tb.vip4, self.tb.vip6)]
        self.loads.append(Loadgen(self.tb.client, "steady", urls, rate=rate, tokens=10,
                                  duration=600, silence=silence_s).start())
        if streams:
            load = Loadgen(self.tb.client, "stream", urls, concurrency=streams, duration=600,
                           rate=100, tokens=int(stream_s * TOKENS_PER_S), silence=silence_s).start()
            self.loads.append(load)
            load.wait_active(streams)
        self.loads[0].wait_for(lambda p: p.get("completed", 0) >= rate, 20, "load flows")

    def fault(self, cause, *args, **kwargs) -> float:
        """Make it happen, now."""
        self.fault_at = time.monotonic()
        cause(*args, **kwargs)
        return self.fault_at

    def noticed(self, want: dict[str, str], within_s: float) -> float:
        """The agent must get to these states so soon after the fault; seconds it took."""
        return self.follows(f"noticed: {_words(want)}", lambda: self.are(want), within_s)

    def follows(self, what: str, condition, within_s: float) -> float:
        """The condition must come true so soon after the fault, and is this drill's detection."""
        within_s *= LIMITS
        try:
            wait_until(condition, max(within_s * 3, within_s + 5), what, POLL_S)
        except NotInTime as e:
            self.check(what, f"within {within_s:g} s", str(e), False)
            self.finish()
        self.noticed_at = time.monotonic()
        took = self.noticed_at - self.fault_at
        if self.detection_s is None:
            self.detection_s = took
        self.check(what, f"within {within_s:g} s", f"{took:.3f} s", took <= within_s)
        return took

    def restored(self, want: dict[str, str], within_s: float, since: float) -> None:
        """After the fault is over."""
        what = f"afterwards: {_words(want)}"
        within_s *= LIMITS
        try:
            wait_until(lambda: self.are(want), max(within_s * 3, within_s + 5), what, POLL_S)
        except NotInTime as e:
            self.check(what, f"within {within_s:g} s", str(e), False)
            return
        took = time.monotonic() - since
        self.check(what, f"within {within_s:g} s", f"{took:.3f} s", took <= within_s)

    def stays(self, what: str, condition, duration_s: float) -> None:
        """The condition holds for so long."""
        until = time.monotonic() + duration_s
        while time.monotonic() < until:
            if not condition():
                self.check(what, f"for {duration_s:g} s", "no longer so", False)
                return
            time.sleep(POLL_S)
        self.check(what, f"for {duration_s:g} s", "so it was", True)

    # -- what came of it

    def end_load(self, timeout_s: float = 60) -> None:
        """No new connections; those under way run to their end."""
        threads = [threading.Thread(target=load.finish, args=(timeout_s,)) for load in self.loads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for load in self.loads:
            with open(load.files["json"], encoding="utf-8") as f:
                report = json.load(f)
            self.done.append(report)
            self.bad += [{**e, "mode": load.mode} for e in load.events()]

    def started(self) -> int:
        return sum(report["started"] for report in self.done)

    @property
    def failed(self) -> list[dict]:
        """Connections that ended before a good answer began."""
        return [e for e in self.bad if e["stage"] in ("connect", "head")]

    @property
    def broken(self) -> list[dict]:
        """Answers that ended wrongly after they began."""
        return [e for e in self.bad if e["stage"] not in ("connect", "head")]

    def none_lost(self) -> None:
        """No connection failed, no stream broke."""
        self.check("connections", "none failed, none broken",
                   f"{len(self.failed)} failed, {len(self.broken)} broken of {self.started()}"
                   + _examples(self.bad), not self.bad)

    def only_on(self, *names: str, until: float | None = None) -> None:
        """
        What failed or broke was on these nodes, or new and sent there before the agent noticed (or
        before `until`): nothing elsewhere, nothing later.
        """
        end = (until if until is not None else self.noticed_at) + SLACK_S
        strange = [e for e in self.bad
                   if e["t"] > end or (e["backend"] is not None and e["backend"] not in names)
                   or (e["backend"] is None and e["t_end"] < self.fault_at)]
        self.check("what was lost", f"only on {', '.join(names)}, and begun before it was noticed",
                   f"{len(self.failed)} failed, {len(self.broken)} broken of {self.started()}; "
                   f"{len(strange)} elsewhere or later" + _examples(strange), not strange)

    def check(self, what: str, expected: str, measured: str, ok: bool) -> None:
        self.checks.append({"what": what, "expected": expected, "measured": measured,
                            "passed": bool(ok)})
        print(f"{'ok  ' if ok else 'FAIL'} {what}: expected {expected}; {measured}", flush=True)

    # -- the end

    def figures(self) -> dict:
        return {
            "detection_ms": None if self.detection_s is None else round(self.detection_s * 1000),
            "connections": self.started(),
            "failed_connections": len(self.failed),
            "broken_streams": len(self.broken),
            "checks": self.checks,
        }

    def finish(self) -> None:
        """Write the figures; a failed check is an error."""
        with open(os.path.join(self.t.log_dir, "figures.json"), "w", encoding="utf-8") as f:
            json.dump(self.figures(), f, indent=1)
        wrong = [c for c in self.checks if not c["passed"]]
        if wrong or not self.checks:
            raise AssertionError("; ".join(f"{c['what']}: expected {c['expected']}, measured "
                                           f"{c['measured']}" for c in wrong) or "nothing checked")

    def __enter__(self) -> "Drill":
        return self

    def __exit__(self, kind, _value, _trace) -> None:
        if kind is not None:
            return
        if self.agent.process.running():
            self.check("the agent's own errors", "0 packets", f"{self.packets('internal')} packets",
                       self.packets("internal") == 0)
        self.finish()


class Talkers:
    """Kept connections of a client to the VIP, and the node that each one has."""

    def __init__(self, drill: Drill, count: int = 40):
        self.drill = drill
        self.nodes: list[tuple[str, http.client.HTTPConnection]] = []
        for _ in range(count):
            conn = http.client.HTTPConnection(drill.tb.vip4, PORT, timeout=2)
            conn.sock = drill.tb.client.call(socket.create_connection, (drill.tb.vip4, PORT), 2)
            conn.auto_open = 0
            self.nodes.append((self._ask(conn), conn))

    @staticmethod
    def _ask(conn) -> str:
        conn.request("GET", "/health")
        return json.loads(conn.getresponse().read())["name"]

    def check(self, lost: str) -> None:
        """Those of the lost node are reset as soon as they say something; all others answer."""
        reset, answered, wrong, slowest = 0, 0, [], 0.0
        for name, conn in self.nodes:
            began = time.monotonic()
            try:
                answered += self._ask(conn) == name != lost
            except (ConnectionResetError, http.client.RemoteDisconnected, BrokenPipeError):
                reset += name == lost
                if name != lost:
                    wrong.append(f"{name} was reset")
            except OSError as e:
                wrong.append(f"{name}: {e}")
            slowest = max(slowest, time.monotonic() - began)
            conn.close()
        all_right = reset > 0 and not wrong and reset + answered == len(self.nodes)
        self.drill.check("connections that speak again",
                         f"those of {lost} are reset, within 0.5 s; the others are answered",
                         f"{reset} reset, {answered} answered of {len(self.nodes)}, slowest "
                         f"{slowest:.3f} s {'; '.join(wrong[:3])}",
                         all_right and slowest < 0.5 * LIMITS)


def _words(want: dict[str, str]) -> str:
    by_state: dict[str, list[str]] = {}
    for name, state in sorted(want.items()):
        by_state.setdefault(state, []).append(name)
    return "; ".join(f"{', '.join(names)} {state}" for state, names in by_state.items())


def _examples(events: list[dict]) -> str:
    shown = [f"{e['mode']} to {e['backend']}: {e['cause']} in {e['stage']} after {e['age_s']:.2f} s"
             for e in events[:3]]
    return f" ({'; '.join(shown)})" if shown else ""
