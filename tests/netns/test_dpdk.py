# SPDX-License-Identifier: BSD-2-Clause
"""sluice-dpdk on the testbed: real connections, restarts, and how it fails to start."""
import json
import os

from tests.lib import BUILD, config, loadgen, mock
from tests.lib.agent import Agent
from tests.lib.case import case, equal
from tests.lib.dpdk import Dpdk
from tests.lib.wait import wait_until


def serve(t, layout="flat", pool=None, family=4, **kwargs):
    """A testbed with agent, sluice-dpdk and nodes, all healthy."""
    t.need("sluiced", "sluice-dpdk", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o")
    tb = t.testbed(layout=layout, nodes=3)
    mock.start_all(tb)
    for node in tb.nodes:
        node.attach_decap()
    dpdk = Dpdk(tb.ingress, **kwargs)
    settings = config.one_pool(tb, family=family, pool=pool, **dpdk.config())
    agent = Agent(tb.ingress, settings).start()
    dpdk.start(agent.config_path)
    wait_until(lambda: all(n["state"] == "healthy" for n in agent.ctl("backends")["backends"]),
               10, "all nodes are healthy")
    return tb, agent, dpdk


def all_answered(tb, vips, count=300):
    for vip in vips:
        report = loadgen.run(tb.client, "spread", loadgen.url(vip), count=count,
                             connect_timeout=3, duration=15)
        outcome = {k: report[k] for k in ("completed", "failed", "broken", "causes")}
        equal(outcome, {"completed": count, "failed": 0, "broken": 0, "causes": {}},
              f"connections to {vip}")


def carries(t, mode, layout="flat", **kwargs):
    tb, agent, dpdk = serve(t, layout, {"mode": mode}, **kwargs)
    all_answered(tb, [tb.vip4] if mode == "nat" else [tb.vip4, tb.vip6])
    packets = sum(v["counters"]["packets"] for v in agent.ctl("vips")["vips"])
    assert packets >= 1200, f"{packets} packets counted"
    equal(dpdk.stop(), 0, "exit status of sluice-dpdk")
    assert "worker 0: received" in dpdk.process.output(), dpdk.process.output()


@case("DPDK: ipip carries both families")
def dpdk_ipip(t):
    carries(t, "ipip")


@case("DPDK: gue carries both families, inside IPv6")
def dpdk_gue6(t):
    carries(t, "gue", family=6)


@case("DPDK: l2dsr carries both families")
def dpdk_l2dsr(t):
    carries(t, "l2dsr")


@case("DPDK: nat carries connections both ways")
def dpdk_nat(t):
    carries(t, "nat")


@case("DPDK: frames leave by another device than they came by")
def dpdk_split(t):
    carries(t, "ipip", layout="split")


@case("DPDK: two workers share the queues of a device")
def dpdk_two_workers(t):
    if (os.cpu_count() or 1) < 2:
        t.skip("one CPU")
    carries(t, "ipip", cores="0-1", queues=2)


@case("DPDK: streams with flow entries outlive sluice-dpdk's end and its killing", timeout_s=60)
def dpdk_restart(t):
    tb, agent, dpdk = serve(t, pool={"policy": "round-robin"})
    streams = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), concurrency=60, count=60,
                              rate=1000, tokens=500, duration=3).start()
    streams.wait_active(60)
    for kill in (False, True):
        dpdk.restart(agent.config_path, kill=kill)
    report = streams.wait(40)
    equal((report["completed"], report["broken"]), (60, 0), "streams complete, broken")


@case("DPDK: the agent sees flow entries, and drain --wait ends with the last stream", timeout_s=60)
def dpdk_drain(t):
    tb, agent, _ = serve(t, pool={"policy": "round-robin"})
    streams = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), concurrency=30, count=30,
                              rate=1000, tokens=250, duration=3).start()
    streams.wait_active(30)
    done = agent.ctl_run("drain", "node1", "--wait", "--deadline", "40s", timeout_s=50)
    equal(done.returncode, 0, f"drain: {done.stdout}{done.stderr}")
    report = streams.wait(30)
    equal((report["completed"], report["broken"]), (30, 0), "streams complete, broken")
    flows = agent.ctl("status")["flows"]
    assert flows["scans"] > 0 and flows["flows_max"] > 1000000, flows


def refused(t, host, settings, words, name, *args):
    """It ends at once with one line that has these words, and no signal."""
    path = os.path.join(host.testbed.run_dir, f"refused-{name}.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(settings))
    done = host.run([os.path.join(BUILD, "sluice-dpdk"), "--config", path, *args], check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert done.returncode in (1, 2), f"{name}: status {done.returncode}: {lines}"
    equal(len(lines), 1, f"{name}: lines of output: {lines}")
    for word in words:
        assert word in lines[0], f"{name}: {lines[0]!r} does not say {word!r}"


@case("DPDK: what is missing or wrong at the start is one clear line", timeout_s=60)
def dpdk_refusals(t):
    t.need("sluiced", "sluice-dpdk")
    tb = t.testbed(nodes=1)
    host, dpdk = tb.ingress, Dpdk(tb.ingress)
    good = {"pin_dir": host.pin_dir, **config.one_pool(tb, **dpdk.config())}
    device = good["interfaces"][0]

    refused(t, host, good, ["nothing is pinned", "start sluiced"], "no pins")
    refused(t, host, {**good, "dataplane": "xdp", "interfaces": [{"name": "sluice0"}]},
            ["dataplane is xdp"], "xdp")
    agent = Agent(host, good).start()
    refused(t, host, {**good, "interfaces": [{"name": "sluice0"}]}, ["names no device"],
            "no device")
    refused(t, host, {**good, "interfaces": [{**device, "device": "net_nothing0"}]},
            ["device net_nothing0"], "no driver")
    refused(t, host, {**good, "interfaces": [{**device, "device": "0000:ff:1f.7"}]},
            ["device 0000:ff:1f.7"], "no port")
    refused(t, host, {**good, "interfaces": [{**device, "name": "lo"}]}, ["interface lo exists"],
            "not a TAP")
    refused(t, host, {**good, "dpdk": {"cores": "900", "huge_pages": False}}, ["900"], "no core")
    refused(t, host, good, ["--nonsense"], "EAL argument", "--", "--nonsense")
    refused(t, host, good, ["unexpected argument 'net_tap0'"], "argument", "net_tap0")
    with open("/proc/meminfo", encoding="ascii") as f:
        if "HugePages_Free:        0\n" in f.read():
            refused(t, host, {**good, "dpdk": {"cores": "0"}}, ["no free huge pages"], "huge pages")
    dpdk.start(agent.config_path)
    refused(t, host, good, ["another sluice-dpdk"], "twice")


@case("DPDK: without tables it stops, and says so")
def dpdk_detached(t):
    _, agent, dpdk = serve(t)
    agent.ctl("detach")
    equal(dpdk.process.wait(5), 1, "exit status of sluice-dpdk")
    assert "taken away" in dpdk.process.output(), dpdk.process.output()
