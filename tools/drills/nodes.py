# SPDX-License-Identifier: BSD-2-Clause
"""
Drills: what nodes do. Checks are made every 0.2 s here (connect 0.5 s, answer 1 s, three failures),
so the times below are what these settings give, with room for a busy machine.
"""
from __future__ import annotations

import time

from tests.lib.case import case
from tests.lib.loadgen import run, url
from tests.lib.wait import wait_until
from tools.drills.drill import Drill, Talkers, fleet

# Two refusals, 0.2 s apart; the first follows the end of the kept connection at once.
REFUSED_S = 0.8
# Three probes that nobody acknowledges, 0.5 s each.
SILENT_S = 3.0
# Three samples, 0.2 s apart.
SAMPLES_S = 1.5
# Two passes.
BACK_S = 2.0


def healthy(*names: str) -> dict[str, str]:
    return {name: "healthy" for name in names}


def given(d: Drill) -> dict[str, int]:
    """Connections given to each node so far."""
    return {name: b["counters"]["new_flows"] for name, b in d.backends().items()}


@case("process killed: no new connection to it, its live ones are reset, no other is touched",
      timeout_s=60)
def process_killed(t):
    with Drill(t) as d:
        d.start_load()
        d.fault(d.mocks["node2"].kill)
        d.noticed({"node2": "unhealthy"}, REFUSED_S)
        time.sleep(1)
        since = time.monotonic()
        d.mocks["node2"].start()
        d.restored(healthy("node2"), BACK_S, since)
        d.end_load()
        d.only_on("node2")


@case("host unplugged: noticed by silence, new connections go elsewhere, old ones are reset",
      timeout_s=60)
def host_unplugged(t):
    with Drill(t) as d:
        node = d.tb["node3"]
        d.start_load(silence_s=8)
        talkers = Talkers(d)
        d.fault(node.plug, False)
        d.noticed({"node3": "unhealthy"}, SILENT_S)
        talkers.check("node3")
        time.sleep(1)
        since = time.monotonic()
        node.plug(True)
        d.restored(healthy("node3"), BACK_S + 1, since)
        d.end_load()
        d.only_on("node3")


@case("port filtered: a host that answers pings and drops the port is out as if unplugged",
      timeout_s=60)
def port_filtered(t):
    with Drill(t) as d:
        node = d.tb["node1"]
        d.start_load(silence_s=8)
        d.fault(node.filter_port, 8000)
        d.noticed({"node1": "unhealthy"}, SILENT_S)
        since = time.monotonic()
        node.filter_port(8000, False)
        d.restored(healthy("node1"), BACK_S, since)
        d.end_load()
        d.only_on("node1")


@case("health hangs: a node that takes checks and does not answer, but works, is not down",
      timeout_s=60)
def health_hangs(t):
    with Drill(t) as d:
        d.start_load()
        d.fault(d.mocks["node1"].control, health="hang")
        d.follows("checks of it time out",
                  lambda: d.backends()["node1"]["check"]["last_result"] == "timeout", 3)
        # Its checks take long: out of line with its pool, it gets no new connections.
        d.stays("node1 is healthy or degraded",
                lambda: d.states()["node1"] in ("healthy", "degraded"), 8)
        since = time.monotonic()
        d.mocks["node1"].control(health="ok")
        d.restored(healthy("node1"), BACK_S + 3, since)
        d.end_load()
        d.none_lost()


@case("frozen engine: a node that answers 200 and makes no progress is out", timeout_s=90)
def frozen_engine(t):
    with Drill(t, thresholds={"warm_up": "0s", "hung": "2s"}) as d:
        d.start_load(silence_s=8)
        d.fault(d.mocks["node4"].control, rate_factor=0)
        d.noticed({"node4": "unhealthy"}, 4)
        cause = d.backends()["node4"]["cause"]
        d.check("cause", "hangs", cause, "hangs" in cause)
        since = time.monotonic()
        d.mocks["node4"].control(rate_factor=1)
        d.restored(healthy("node4"), BACK_S + 2, since)
        d.end_load()
        d.only_on("node4")


@case("slow loading: a node that loads its model gets nothing until it can serve", timeout_s=60)
def slow_loading(t):
    old = ("node1", "node2", "node3")
    with Drill(t, mocks=old, config_of=lambda tb: fleet(tb, old, preset="json")) as d:
        d.start_load()
        d.agent.write_config(fleet(d.tb, preset="json"))
        d.fault(d.agent.ctl, "reload")
        d.noticed({"node4": "loading"}, 1)
        d.stays("its port is closed: loading", lambda: d.are({"node4": "loading"}), 1)
        d.mocks["node4"].options["loading_s"] = 4
        d.mocks["node4"].start()
        loaded = time.monotonic() + 4
        d.stays("it answers 503: loading, and nothing is sent to it",
                lambda: d.are({"node4": "loading"}) and given(d)["node4"] == 0,
                loaded - time.monotonic() - 0.3)
        d.restored(healthy("node4"), BACK_S, loaded)
        wait_until(lambda: given(d)["node4"] > 10, 5, "it gets connections")
        d.end_load()
        d.none_lost()


PAGES = ("garbage", "huge", "slow", "truncated", "empty", "status", "close", "reset", "hang")


def bad_pages(t, modes) -> None:
    with Drill(t, check={"interval": "1s"},
               load={"interval": "200ms", "timeout": "400ms", "stale": "600ms"}) as d:
        d.start_load()
        for mode in modes:
            d.fault(d.mocks["node2"].control, metrics=mode)
            d.follows(f"{mode}: its load is the pool's median",
                      lambda: d.backends()["node2"]["load"]["source"] == "median", 2.5)
            before = given(d)["node2"]
            d.stays(f"{mode}: in service", lambda: d.states()["node2"] == "healthy", 1)
            sent = given(d)["node2"] - before
            d.check(f"{mode}: new connections to it in a second", "2 or more", str(sent), sent >= 2)
            d.fault(d.mocks["node2"].control, metrics="ok")
            d.follows(f"{mode}, over: its own load again",
                      lambda: d.backends()["node2"]["load"]["source"] == "fresh", 2)
        d.end_load()
        d.none_lost()


@case("garbage metrics: whatever the page is, the node stays in and its load is guessed",
      timeout_s=90)
def garbage_metrics(t):
    bad_pages(t, PAGES)


@case("flapping link: a node that comes and goes is kept out longer each time", timeout_s=120)
def flapping_link(t):
    thresholds = {"warm_up": "0s", "flap_changes": 4, "flap_window": "60s", "flap_hold": "6s",
                  "flap_hold_max": "20s"}
    with Drill(t, thresholds=thresholds) as d:
        node = d.tb["node2"]
        d.start_load(streams=20, silence_s=8)
        for _ in range(2):
            d.fault(node.plug, False)
            d.noticed({"node2": "unhealthy"}, SILENT_S)
            since = time.monotonic()
            node.plug(True)
            d.restored(healthy("node2"), BACK_S + 1, since)
        d.fault(node.plug, False)
        d.noticed({"node2": "unhealthy"}, SILENT_S)
        last = d.noticed_at
        node.plug(True)
        d.stays("it answers, and is kept out", lambda: d.states()["node2"] == "unhealthy", 4)
        d.restored(healthy("node2"), 12, last)
        d.end_load()
        d.only_on("node2", until=last)


@case("all nodes degraded: they stay in, for nothing better is left", timeout_s=60)
def all_degraded(t):
    with Drill(t) as d:
        d.start_load()
        d.fault(lambda: [m.control(kv_usage=0.98) for m in d.mocks.values()])
        d.noticed({name: "degraded" for name in d.mocks}, SAMPLES_S)
        wait_until(lambda: d.pool()["panic"], 3, "panic")
        before = given(d)
        time.sleep(2)
        share = {name: n - before[name] for name, n in given(d).items()}
        served = sum(n > 0 for n in share.values())
        d.check("nodes that get connections", "2 or more of 4", f"{served}: {share}", served >= 2)
        since = time.monotonic()
        for m in d.mocks.values():
            m.control(kv_usage=0.3)
        d.restored(healthy(*d.mocks), SAMPLES_S + 1, since)
        d.end_load()
        d.none_lost()


@case("all nodes dead and back: this host answers 503, and nodes serve as soon as they are back",
      timeout_s=90)
def all_dead_and_back(t):
    with Drill(t) as d:
        d.start_load(streams=20)
        d.fault(lambda: [m.kill() for m in d.mocks.values()])
        d.follows("nothing is left", lambda: d.pool()["empty"], REFUSED_S)
        time.sleep(1)
        report = run(d.tb.client, "spread", [url(d.tb.vip4), url(d.tb.vip6)], count=100,
                     concurrency=10, tokens=5, allow=100)
        answered = report["http_status"].get("503", 0)
        d.check("answers of this host meanwhile", "100 of 100 are 503", f"{answered}",
                answered == 100)
        since = time.monotonic()
        for m in d.mocks.values():
            m.start()
        d.restored(healthy(*d.mocks), BACK_S, since)
        back = time.monotonic()
        time.sleep(1)
        d.end_load()
        late = [e for e in d.bad if e["t"] > back + 0.1]
        d.check("lost after they were back", "none", f"{len(late)} of {d.started()}", not late)


@case("one of two pools dead: the other does not notice", timeout_s=60)
def one_pool_dead(t):
    def two_pools(tb):
        a = fleet(tb, ("node1", "node2"), (tb.vip4, tb.vip6))
        b = fleet(tb, ("node3", "node4"), (tb.plan.vips4[1], tb.plan.vips6[1]), name="other")
        for vip in b["vips"]:
            vip["pool"] = "other"
        return {"pools": a["pools"] + b["pools"], "vips": a["vips"] + b["vips"]}

    with Drill(t, config_of=two_pools, topology={"vips": 2}) as d:
        before = d.pool()["slots_written"]
        d.start_load()
        d.fault(lambda: [d.mocks[n].kill() for n in ("node3", "node4")])
        d.noticed({"node3": "unhealthy", "node4": "unhealthy"}, REFUSED_S)
        # States change first; the table follows a few milliseconds later.
        d.follows("the other pool is empty", lambda: d.pool("other")["empty"], REFUSED_S)
        report = run(d.tb.client, "spread", url(d.tb.plan.vips4[1]), count=20, tokens=5, allow=20)
        answered = report["http_status"].get("503", 0)
        d.check("its VIP", "20 of 20 answers are 503", str(answered), answered == 20)
        time.sleep(2)
        written = d.pool()["slots_written"] - before
        d.check("slots of the living pool that changed", "0", str(written), written == 0)
        d.end_load()
        d.none_lost()


@case("half the pool at once: the other half carries everything", timeout_s=60)
def half_the_pool(t):
    with Drill(t) as d:
        d.start_load()
        d.fault(lambda: [d.mocks[n].kill() for n in ("node1", "node2")])
        d.noticed({"node1": "unhealthy", "node2": "unhealthy"}, REFUSED_S)
        time.sleep(2)
        d.end_load()
        d.only_on("node1", "node2")
