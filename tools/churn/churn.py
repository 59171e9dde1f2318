# SPDX-License-Identifier: BSD-2-Clause
"""
Many concurrent token streams through a balancer whose pool changes all the time; every stream that
ends early is put down to somebody.
"""
from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
import os
import threading
import time

from sluice_testbed import Testbed, TestbedError, Topology

from blame import Cut, summary
from schedule import DEADLINE_S, ENDS, Action, Schedule
from tests.lib import BUILD
from tests.lib.agent import Agent
from tests.lib.config import one_pool
from tests.lib.dpdk import Dpdk, dataplane
from tests.lib.loadgen import Loadgen, url
from tests.lib.mock import PORT, Mock
from tests.lib.pinned import map_pinned
from tests.lib.wait import wait_until

RAMP_PER_S = 3000
SHORT_STREAM_S = 24  # or half of the run, if that is less
FORGET_EVERY_S = 0.02
SLOTS = 65537  # of the pool, which is the first
SPARES = 2
WHOLE_S = 60  # a run that is shorter need not have every kind of action
TOP_UP_S = 10  # from one look at whether streams are missing to the next
LOSSES = ("no_backend", "no_nexthop", "overflow_flows", "overflow_half_open", "overflow_learn",
          "overflow_rate", "reset_sent", "local")


@dataclasses.dataclass
class Settings:
    streams: int = 10000
    seconds: float = 120
    nodes: int = 12
    tokens_per_second: float = 2
    flood: int = 20000
    seed: int = 1
    mode: str = "ipip"
    policy: str = "p2c"
    flow_idle_s: int = 8
    exceptions: bool = True
    dataplane: str = "xdp"

    def pool(self) -> dict:
        return {
            "preset": "vllm",
            "mode": self.mode,
            "policy": self.policy,
            "check": {"interval": "500ms", "timeout": "5s"},
            "load": {"interval": "500ms", "timeout": "2s"},
            "thresholds": {"warm_up": "4s"},
        }


class Churn:
    """One run: a testbed, its nodes, agent and clients, and what was done to them."""

    def __init__(self, testbed: Testbed, settings: Settings, say):
        self.tb = testbed
        self.settings = settings
        self.say = say
        self.names = [n.name for n in testbed.nodes]
        self.members = self.names[:settings.nodes]
        self.mocks = {n.name: Mock(n, slots=20000, tokens_per_second=settings.tokens_per_second)
                      for n in testbed.nodes}
        for node in testbed.nodes:
            node.attach_decap()
            self.mocks[node.name].start()
        self.data = None
        extra = {}
        if settings.dataplane == "dpdk":
            self.data = Dpdk(testbed.ingress)
            extra = self.data.config()
        self.config = one_pool(testbed, pool=settings.pool(), **extra)
        self.config["flow_idle"] = f"{settings.flow_idle_s}s"
        self.all_nodes = {n["name"]: n for n in self.config["pools"][0]["nodes"]}
        self.agent = Agent(testbed.ingress, self._with_members())
        self.agent.start(timeout_s=30)
        if self.data:
            self.data.start(self.agent.config_path)
        self.cuts: list[Cut] = []
        self.done: list[dict] = []
        self.moved = 0  # slots written, of agents that have ended too
        self.moved_now = 0
        wait_until(self._all_healthy, 30, "all nodes are healthy")

    def _with_members(self) -> dict:
        self.config["pools"][0]["nodes"] = [self.all_nodes[n] for n in self.members]
        return self.config

    def _nodes(self) -> dict[str, dict]:
        return {b["name"]: b for b in self.agent.ctl("backends")["backends"]}

    def _all_healthy(self) -> bool:
        return all(b["state"] == "healthy" for b in self._nodes().values())

    def _wait_state(self, node: str, state: str) -> None:
        wait_until(lambda: self._nodes()[node]["state"] == state, 20, f"{node} is {state}",
                   interval_s=0.05)

    # -- actions

    def perform(self, action: Action) -> None:
        self.say(f"{action.kind} {action.node} {action.value or ''}".rstrip())
        begin = time.monotonic()
        getattr(self, f"do_{action.kind}")(action)
        packets = self.agent.ctl("status")["packets"]
        self.done.append({"t": begin, "kind": action.kind, "node": action.node,
                          "losses": {n: packets[n] for n in LOSSES if packets[n]}})

    def do_weight(self, action: Action) -> None:
        self.agent.ctl("weight", action.node, str(action.value))

    def do_drain(self, action: Action) -> None:
        self.agent.ctl("drain", action.node)

    def do_undrain(self, action: Action) -> None:
        self.agent.ctl("undrain", action.node)

    def do_deadline(self, action: Action) -> None:
        self.agent.ctl("drain", action.node, "--deadline", f"{DEADLINE_S:g}s")
        begin = time.monotonic() + DEADLINE_S
        self._wait_state(action.node, "maintenance")
        self.cuts.append(Cut("the deadline of its drain passed", action.node, begin,
                             time.monotonic()))

    def do_degrade(self, action: Action) -> None:
        self.mocks[action.node].control(kv_usage=0.99)

    def do_recover(self, action: Action) -> None:
        self.mocks[action.node].control(kv_usage=None)

    def do_remove(self, action: Action) -> None:
        self.members.remove(action.node)
        self._reload()

    def do_add(self, action: Action) -> None:
        self.members.append(action.node)
        self._reload()

    def do_swap(self, action: Action) -> None:
        self.members[self.members.index(action.node)] = action.value
        self._reload()

    def _reload(self) -> None:
        self.agent.write_config(self._with_members())
        self.agent.ctl("reload")

    def do_kill_agent(self, _action: Action) -> None:
        self._end_agent()
        time.sleep(0.7)
        self.agent.start(timeout_s=20)

    def do_reload_while_down(self, action: Action) -> None:
        """The agent that starts finds a node in the maps that its configuration lacks."""
        self._end_agent()
        self.members.remove(action.node)
        self.agent.write_config(self._with_members())
        self.agent.start(timeout_s=20)

    def _end_agent(self) -> None:
        self.count_moved()
        self.moved += self.moved_now
        self.moved_now = 0
        self.agent.kill()

    def do_kill_node(self, action: Action) -> None:
        begin = time.monotonic()
        self.mocks[action.node].kill()
        self._wait_state(action.node, "unhealthy")
        self.cuts.append(Cut("its node was killed", action.node, begin, time.monotonic()))

    def do_start_node(self, action: Action) -> None:
        self.mocks[action.node].start()

    # -- what is seen of it

    def count_moved(self) -> None:
        self.moved_now = sum(p["slots_written"] for p in self.agent.ctl("status")["pools"])

    def frames_lost(self) -> int:
        """Frames that came faster than poll-mode workers took them; they outlive agents."""
        return self.agent.ctl("status")["dataplane"].get("lost", 0)

    def counters(self) -> dict:
        status = self.agent.ctl("status")
        packets = status["packets"]
        names = ("flow_added", "flow_learned", "flow_promoted", "flow_void", "overflow_flows",
                 "overflow_half_open", "overflow_learn", "overflow_rate", "alt_chosen",
                 "reset_sent", "reply_limit", "no_backend", "no_nexthop", "local")
        return {**{n: packets[n] for n in names}, "slots_written": self.moved + self.moved_now,
                "flows": status["flows"]}


class Forgetting:
    """
    Exceptions turned off, from outside: prev and exc of every slot are cleared all the time, so
    that the hash alone decides.
    """

    def __init__(self, pin_dir: str):
        words = map_pinned(os.path.join(pin_dir, "slots"), SLOTS * 8, "I")
        self.memory = words[1::2]  # a slot's second half: prev, exc
        self.nothing = memoryview(bytes(SLOTS * 4)).cast("I")
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.ended.wait(FORGET_EVERY_S):
            self.memory[:] = self.nothing

    def stop(self) -> None:
        self.ended.set()
        self.thread.join()


class Load:
    """Streams of both families: three fifths last the whole time, the rest come and go."""

    def __init__(self, tb: Testbed, s: Settings):
        urls = [url(tb.vip4), url(tb.vip6)]
        rate = s.tokens_per_second
        self.period = 1 / rate
        n_long = s.streams * 3 // 5
        n_short = s.streams - n_long
        ramp = s.streams / RAMP_PER_S
        common = {"duration": s.seconds + ramp, "grace": 60, "connect_timeout": 10}
        long_s = s.seconds + ramp + 3
        self.long = Loadgen(tb.client, "stream", urls, concurrency=n_long, count=n_long,
                            rate=RAMP_PER_S * 3 // 5, tokens=math.ceil(long_s * rate), **common)
        self.short = Loadgen(tb.client, "stream", urls, concurrency=n_short,
                             rate=RAMP_PER_S * 2 // 5,
                             tokens=math.ceil(min(SHORT_STREAM_S, s.seconds / 2) * rate), **common)
        self.all = [self.long, self.short]
        for load in self.all:
            load.start()
        self.tb = tb
        self.urls = urls
        self.wanted = s.streams
        self.least = s.streams  # at once, of the moments in which top_up() looked

    def top_up(self, left_s: float) -> None:
        """Streams that were ended by intent are replaced: as many are to run as were asked for."""
        active = self.active()
        self.least = min(self.least, active)
        missing = self.wanted - active
        if missing < self.wanted / 100 or left_s < TOP_UP_S:
            return
        self.all.append(Loadgen(
            self.tb.client, "stream", self.urls, concurrency=missing, count=missing,
            rate=RAMP_PER_S / 5, tokens=math.ceil(left_s / self.period), duration=left_s,
            grace=60, connect_timeout=10).start())

    def active(self) -> int:
        return sum(load.progress().get("active", 0) for load in self.all)

    def wait_up(self, streams: int) -> None:
        wait_until(lambda: self.active() >= streams * 0.98 or self._ended(), 60,
                   f"{streams} streams run", interval_s=0.25)
        if self._ended():
            raise TestbedError(f"loadgen ended early: {[p.process.tail(5) for p in self.all]}")

    def _ended(self) -> bool:
        return any(not load.process.running() for load in self.all)

    def wait(self) -> list[dict]:
        return [load.wait(180) for load in self.all]

    def events(self) -> list[dict]:
        return [{**event, "period": self.period} for load in self.all for event in load.events()]


def start_flood(tb: Testbed, s: Settings):
    """SYNs of random sources, from the client's own device."""
    if not s.flood:
        return None
    argv = [os.path.join(BUILD, "synflood"), "--dev", tb.client.dev, "--mac", tb.ingress.mac,
            "--rate", s.flood, "--seconds", s.seconds, "--seed", s.seed,
            f"{tb.vip4}:{PORT}", f"[{tb.vip6}]:{PORT}"]
    return tb.client.popen(argv, name="synflood")


def perform_all(churn: Churn, load: Load, schedule: Schedule) -> None:
    """What takes longer than planned moves what follows; what would begin too late is left out."""
    began = shown = time.monotonic()
    late = 0.0
    for action in schedule.actions:
        if late + action.at > churn.settings.seconds:
            break
        while time.monotonic() < began + late + action.at:
            time.sleep(min(0.25, max(0.0, began + late + action.at - time.monotonic())))
            if time.monotonic() - shown > TOP_UP_S:
                shown = time.monotonic()
                load.top_up(began + churn.settings.seconds - shown)
                churn.say(f"[{shown - began:.0f} of {churn.settings.seconds:.0f} s] "
                          f"{load.active()} streams, {len(load.events())} ended early")
        churn.perform(action)
        late = max(late, time.monotonic() - began - action.at)


def run(s: Settings, say=lambda text: None, log_dir: str | None = None) -> dict:
    """A whole run. The report: streams, bytes, broken, who broke them."""
    topology = Topology(nodes=s.nodes + SPARES)
    with Testbed(topology, log_dir=log_dir) as tb:
        churn = Churn(tb, s, say)
        schedule = Schedule(churn.members, churn.names[s.nodes:], s.seconds, s.seed)
        load = Load(tb, s)
        say(f"{s.streams} streams begin")
        load.wait_up(s.streams)
        forgetting = None if s.exceptions else Forgetting(churn.agent.pin_dir)
        flood = start_flood(tb, s)
        perform_all(churn, load, schedule)
        say("the streams run to their end")
        reports = load.wait()
        if forgetting:
            forgetting.stop()
        churn.count_moved()
        report = {
            "settings": dataclasses.asdict(s),
            "streams": sum(r["started"] for r in reports),
            "streams_at_once": sum(r["active_max"] for r in reports[:2]),
            "streams_at_once_least": load.least,
            "bytes": sum(r["bytes"] for r in reports),
            "completed": sum(r["completed"] for r in reports),
            **summary(load.events(), churn.cuts, churn.frames_lost(), s.flow_idle_s),
            "cuts": [dataclasses.asdict(cut) for cut in churn.cuts],
            "actions": dict(collections.Counter(a["kind"] for a in churn.done)),
            "actions_done": churn.done,
            "counters": churn.counters(),
        }
        if flood:
            flood.wait(10)
            report["flood"] = json.loads(flood.output())
        churn.agent.ctl("detach")
        return report


# --------------------------------------------------------------------------------------------------
# The command


def _parser() -> argparse.ArgumentParser:
    def of_env(name: str, default):
        return type(default)(os.environ.get(name, default))

    d = Settings()
    parser = argparse.ArgumentParser(prog="churn", description=__doc__)
    parser.add_argument("--streams", type=int, default=of_env("STREAMS", d.streams))
    parser.add_argument("--seconds", type=float, default=of_env("CHURN_S", d.seconds))
    parser.add_argument("--nodes", type=int, default=of_env("NODES", d.nodes))
    parser.add_argument("--flood", type=int, default=of_env("FLOOD", d.flood), metavar="SYNS_PER_S")
    parser.add_argument("--seed", type=int, default=of_env("SEED", d.seed))
    parser.add_argument("--mode", choices=("l2dsr", "ipip", "gue"), default=d.mode)
    parser.add_argument("--policy", default=d.policy)
    parser.add_argument("--no-control", action="store_true",
                        help="without the second run, which has exceptions turned off")
    parser.add_argument("--json", default=os.path.join(BUILD, "churn.json"), metavar="FILE")
    return parser


def settings_of(args: argparse.Namespace) -> Settings:
    names = {f.name for f in dataclasses.fields(Settings)}
    return Settings(dataplane=dataplane(),
                    **{k: v for k, v in vars(args).items() if k in names})


def control_of(s: Settings) -> Settings:
    """The same, smaller and shorter, with exceptions turned off: it must break streams."""
    return dataclasses.replace(s, exceptions=False, streams=min(s.streams, 1500),
                               seconds=min(s.seconds, 20), flood=0)


def show(report: dict) -> None:
    print(f"  {report['streams']} streams ({report['streams_at_once']} at once, never fewer than "
          f"{report['streams_at_once_least']}), {report['bytes']} bytes; {report['actions']}")
    if "flood" in report:
        c = report["counters"]
        print(f"  flood: {report['flood']['sent']} SYNs; entries added {c['flow_added']}, "
              f"refused for want of room {c['overflow_half_open']}, "
              f"over the rate {c['overflow_rate']}; streams "
              f"learned {c['flow_learned']}, not learned {c['overflow_learn']}")
    print(f"  broken: {report['broken']}; by intent: {report['broken_by_intent']}; "
          f"by the balancer: {report['broken_by_balancer']} {report['causes']}")
    if report["frames_lost"]:
        print(f"  frames lost for want of capacity: {report['frames_lost']}; streams that stalled "
              f"meanwhile until their clients gave up: {report['broken_by_loss']}")


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    if os.geteuid() != 0:
        print("churn makes network namespaces and loads XDP programs: run it as root")
        return 2
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"  {time.monotonic() - began:6.1f} s  {text}", flush=True)

    s = settings_of(args)
    print(f"churn: {s.streams} streams over {s.nodes} nodes for {s.seconds:.0f} s, seed {s.seed}, "
          f"{s.dataplane}")
    report = run(s, say)
    show(report)
    missing = sorted(set(ENDS) - set(report["actions"])) if s.seconds >= WHOLE_S else []
    ok = (report["broken_by_balancer"] == 0 and report["streams_at_once"] >= s.streams
          and not missing)
    if missing:
        print(f"  never done: {', '.join(missing)}")
    if not args.no_control:
        print("churn: control run, exceptions turned off")
        control = run(control_of(s), say)
        show(control)
        report["control"] = control
        report["control_broken"] = control["broken_by_balancer"]
        ok = ok and report["control_broken"] > 0
    with open(args.json, "w", encoding="utf-8") as f:
        json.dump(report, f, indent=1)
        f.write("\n")
    print(f"churn: {report['broken_by_balancer']} of {report['streams']} streams broken by the "
          f"balancer" + ("" if args.no_control else f"; {report['control_broken']} in the control "
                         f"run") + (": ok" if ok else ": FAILED"))
    return 0 if ok else 1
