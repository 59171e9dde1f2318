# SPDX-License-Identifier: BSD-2-Clause
"""Standby tiers: they join, they leave, and streams notice neither."""
from tests.lib import loadgen
from tests.lib.case import case, equal
from tests.lib.service import Service
from tests.lib.wait import wait_until

FIRST, STANDBY = {"node1", "node2"}, {"node3", "node4"}
STREAMS = 20


def serve(t) -> Service:
    """Two nodes in use, two standing by."""
    service = Service(t, nodes=4, start=False)
    for node in service.pool["nodes"]:
        node["tier"] = 0 if node["name"] in FIRST else 1
    service.pool["thresholds"]["weight_change_per_minute"] = "off"  # else one now, one in a minute
    service.agent.write_config(service.config)
    service.agent.start(timeout_s=20)
    service.agent.wait_all()
    return service


def tiers(service: Service) -> bool:
    return service.agent.ctl("status")["pools"][0]["standby"]


def answered_by(service: Service) -> set[str]:
    return {name for name, b in service.spread(60)["by_backend"].items() if b["started"]}


def whole(streams: loadgen.Loadgen, nodes: set[str]) -> None:
    """All of them went to these nodes, and to their ends."""
    report = streams.wait(60)
    equal((report["completed"], report["causes"]), (STREAMS, {}), "streams that went on")
    assert set(report["by_backend"]) <= nodes, report["by_backend"]


@case("a first tier that is degraded hands new connections to standby and takes them back; no "
      "stream breaks either way", 90)
def degraded(t):
    service = serve(t)
    equal(answered_by(service), FIRST, "nodes that answer")
    before = service.streams(STREAMS, 14)
    for name in FIRST:
        service.mocks[name].control(gpu_memory=99)
    wait_until(lambda: tiers(service), 10, "standby has joined")
    service.agent.wait_states(node1="degraded", node2="degraded")
    equal(answered_by(service), STANDBY, "nodes that answer")
    meanwhile = service.streams(STREAMS, 10)
    for name in FIRST:
        service.mocks[name].control(gpu_memory=40)
    wait_until(lambda: not tiers(service), 10, "standby has left")
    equal(answered_by(service), FIRST, "nodes that answer")
    whole(before, FIRST)
    whole(meanwhile, STANDBY)


@case("a first tier that dies is replaced by standby at once, and takes over again without a "
      "broken stream", 90)
def dead(t):
    service = serve(t)
    for name in FIRST:
        service.mocks[name].kill()
    wait_until(lambda: tiers(service), 3, "standby has joined", interval_s=0.02)
    equal(answered_by(service), STANDBY, "nodes that answer")
    streams = service.streams(STREAMS, 8)
    for name in FIRST:
        service.mocks[name].restart()
    wait_until(lambda: not tiers(service), 10, "standby has left")
    equal(answered_by(service), FIRST, "nodes that answer")
    whole(streams, STANDBY)


@case("a first tier that is drained for work on it leaves its streams their time; standby serves",
      90)
def drained(t):
    service = serve(t)
    streams = service.streams(STREAMS, 8)
    for name in sorted(FIRST):
        service.agent.ctl("drain", name)
    equal(answered_by(service), STANDBY, "nodes that answer")
    for name in sorted(FIRST):
        service.agent.ctl("undrain", name)
    equal(answered_by(service), FIRST, "nodes that answer")
    whole(streams, FIRST)
