# SPDX-License-Identifier: BSD-2-Clause
"""sluice-dpdk on the testbed: real connections, restarts, and how it fails to start."""
import json
import os
import subprocess

from tests.lib import BUILD, ROOT, config, loadgen, mock
from tests.lib.agent import Agent, NotifySocket
from tests.lib.case import case, equal
from tests.lib.dpdk import Dpdk
from tests.lib.pinned import map_pinned
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
                             connect_timeout=10, duration=60)
        outcome = {k: report[k] for k in ("completed", "failed", "broken", "causes")}
        equal(outcome, {"completed": count, "failed": 0, "broken": 0, "causes": {}},
              f"connections to {vip}")


def metric(agent, name: str) -> float:
    """A sample of /metrics, by its name with labels; 0 if there is none."""
    text = agent.host.run(["curl", "-sS", "http://127.0.0.1:9911/metrics"]).stdout
    found = [line.rpartition(" ")[2] for line in text.splitlines()
             if line.rpartition(" ")[0] == name]
    return float(found[0]) if found else 0


def carries(t, mode, layout="flat", **kwargs):
    tb, agent, dpdk = serve(t, layout, {"mode": mode}, **kwargs)
    all_answered(tb, [tb.vip4] if mode == "nat" else [tb.vip4, tb.vip6])
    packets = sum(v["counters"]["packets"] for v in agent.ctl("vips")["vips"])
    assert packets >= 1200, f"{packets} packets counted"
    vip = next(v for v in agent.ctl("vips")["vips"] if v["name"] == "vip4-1")
    equal(metric(agent, 'sluice_vip_packets_total{vip="vip4-1"}'), vip["counters"]["packets"],
          "packets of a VIP, as Prometheus sees them")
    equal(metric(agent, 'sluice_dpdk_workers{state="running"}'), 2 if "cores" in kwargs else 1,
          "workers")
    assert metric(agent, 'sluice_dpdk_frames_total{worker="0",what="sent"}') > 500
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


@case("DPDK: flows of mode nat are scanned and reported", timeout_s=60)
def dpdk_nat_scan(t):
    tb, agent, _ = serve(t, pool={"mode": "nat"})
    streams = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb.vip4), concurrency=25, count=25,
                              rate=1000, tokens=200, duration=3).start()
    streams.wait_active(25)
    wait_until(lambda: metric(agent, "sluice_nat_flows") >= 25, 20, "25 flows are reported")
    report = streams.wait(30)
    equal((report["completed"], report["broken"]), (25, 0), "streams complete, broken")


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
    path = os.path.join(host.testbed.run_dir, "refused.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(settings))
    done = host.run([os.path.join(BUILD, "sluice-dpdk"), "--config", path, *args], check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert done.returncode in (1, 2), f"{name}: status {done.returncode}: {lines}"
    equal(len(lines), 1, f"{name}: lines of output: {lines}")
    for word in words:
        assert word in lines[0], f"{name}: {lines[0]!r} does not say {word!r}"


def configured(tb):
    """An ingress host with a good configuration and no agent yet."""
    host, dpdk = tb.ingress, Dpdk(tb.ingress)
    return host, dpdk, {"pin_dir": host.pin_dir, **config.one_pool(tb, **dpdk.config())}


@case("DPDK: without tables, or with others than it knows, it ends with one clear line")
def dpdk_refuses_tables(t):
    t.need("sluiced", "sluice-dpdk")
    host, dpdk, good = configured(t.testbed(nodes=1))
    refused(t, host, good, ["nothing is pinned", "start sluiced"], "no pins")
    refused(t, host, {**good, "pin_dir": "/nowhere"}, ["nothing is pinned under /nowhere"],
            "no directory")
    refused(t, host, {**good, "dataplane": "xdp", "interfaces": [{"name": "sluice0"}]},
            ["dataplane is xdp"], "xdp")
    agent = Agent(host, good).start()
    abi = host.call(map_pinned, os.path.join(host.pin_dir, "control"), 64, "I")
    version, abi[0] = abi[0], 99
    refused(t, host, good, ["layout version 99", f"this program knows {version}", "of one build"],
            "another layout")
    abi[0] = 0
    refused(t, host, good, ["half made"], "half made")
    abi[0] = version
    dpdk.start(agent.config_path)
    refused(t, host, good, ["another sluice-dpdk"], "twice")
    agent.ctl("detach")
    dpdk.process.wait(60)
    Agent(host, {**good, "dataplane": "xdp", "interfaces": [{"name": host.dev}]}).start()
    refused(t, host, good, ["made for XDP", "sluicectl detach"], "tables for XDP")


def kernel_pci_device() -> str | None:
    """Some PCI device that a driver of the kernel has; no NIC, in case that the check is wrong."""
    base = "/sys/bus/pci/devices"
    for address in sorted(os.listdir(base)) if os.path.isdir(base) else []:
        with open(f"{base}/{address}/class", encoding="ascii") as f:
            if not f.read().startswith("0x02") and os.path.exists(f"{base}/{address}/driver"):
                return address
    return None


@case("DPDK: a device that is missing, not its own, or named in a wrong way is one clear line",
      timeout_s=60)
def dpdk_refuses_devices(t):
    t.need("sluiced", "sluice-dpdk")
    host, _, good = configured(t.testbed(nodes=1))
    mirror = good["interfaces"][0]
    agent = Agent(host, good).start()
    bad = [
        ("0000:ff:1f.7", ["there is no PCI device 0000:ff:1f.7"]),
        ("ff:1f.7", ["there is no PCI device 0000:ff:1f.7"]),
        ("00:1z.0", ["a PCI address looks like"]),
        ("eth0", ["a name of the kernel's", '"net_af_xdp0,iface=eth0"']),
        ("net_nothing0", ["device net_nothing0: cannot be opened"]),
        ("net_af_packet0", ["device net_af_packet0", "are its arguments right"]),
        ("net_af_packet0,iface=nope", ["device net_af_packet0,iface=nope", "No such device"]),
        ("net_af_xdp0,iface=nope", ["device net_af_xdp0,iface=nope", "nope"]),
        ("net_pcap0,rx_pcap=/nope.pcap", ["/nope.pcap: No such file"]),
        ("net_memif0,socket=/nope/x,role=client,socket-abstract=no", ["/nope/x"]),
    ]
    if kernel_pci_device():
        bad.append((kernel_pci_device(), ["is the kernel's (driver ", "-b vfio-pci"]))
    for device, words in bad:
        refused(t, host, {**good, "interfaces": [{**mirror, "device": device}]}, words, device)
    refused(t, host, {**good, "interfaces": [{"name": "sluice0"}]}, ["names no device"], "none")
    refused(t, host, {**good, "interfaces": [mirror, {**mirror, "name": "sluice1"}]},
            ["name the same device"], "the same twice")
    refused(t, host, {**good, "interfaces": [{**mirror, "name": "lo"}]}, ["interface lo exists"],
            "not a TAP")
    equal(agent.process.running(), True, "the agent runs on")


@case("DPDK: arguments and cores that cannot be are one clear line", timeout_s=60)
def dpdk_refuses_arguments(t):
    t.need("sluiced", "sluice-dpdk")
    host, _, good = configured(t.testbed(nodes=1))
    Agent(host, good).start()
    for cores, word in (("900", "900"), ("0-5000", "0-5000"), ("x", "cores: x")):
        refused(t, host, {**good, "dpdk": {"cores": cores, "huge_pages": False}},
                ["DPDK does not start", word], f"cores {cores}")
    if (os.cpu_count() or 1) > 1:
        refused(t, host, {**good, "dpdk": {"cores": "0-1", "huge_pages": False}},
                ["has 1 receive and 1 transmit queues, and 2 cores"], "too few queues")
    for args, words in ((["--nonsense"], ["--nonsense"]), (["-h"], ["argument -h"]),
                        (["--proc-type=secondary"], ["--proc-type=secondary"]),
                        (["-m", "8"], ["no memory", "-m for DPDK is too small"])):
        refused(t, host, good, words, " ".join(args), "--", *args)
        refused(t, host, {**good, "dpdk": {**good["dpdk"], "eal_args": args}}, words,
                "eal_args " + " ".join(args))
    refused(t, host, good, ["unexpected argument 'net_tap0'"], "argument", "net_tap0")
    with open("/proc/meminfo", encoding="ascii") as f:
        if "HugePages_Free:        0\n" in f.read():
            refused(t, host, {**good, "dpdk": {"cores": "0"}}, ["no free huge pages"], "huge pages")


@case("DPDK: it tells systemd when it is ready, alive and stopping")
def dpdk_notifies(t):
    _, agent, dpdk = serve(t)
    dpdk.stop()
    notify = NotifySocket(os.path.join(dpdk.host.testbed.run_dir, "dpdk.notify"))
    dpdk.start(agent.config_path, env={**os.environ, "NOTIFY_SOCKET": notify.path})
    wait_until(lambda: notify.poll().count("WATCHDOG=1") >= 3, 5, "three signs of life")
    dpdk.stop()
    said = [m for m in notify.poll() if m != "WATCHDOG=1"]
    notify.close()
    equal(said, ["READY=1", "STATUS=forwarding on 1 core", "STOPPING=1"], "what it told besides")


@case("DPDK: the agent is killed, is away, and comes back: no connection notices", timeout_s=60)
def dpdk_agent_restart(t):
    tb, agent, dpdk = serve(t)
    load = loadgen.Loadgen(tb.client, "steady", [loadgen.url(v) for v in (tb.vip4, tb.vip6)],
                           rate=100, tokens=25, duration=7).start()
    load.wait_for(lambda p: p.get("started", 0) >= 100, 10, "100 connections begun")
    agent.kill()
    dpdk.restart(agent.config_path)  # which needs the tables and not the agent
    agent.start()
    agent.wait_all()
    report = load.wait(40)
    equal((report["failed"], report["broken"], report["causes"]), (0, 0, {}), "failed, broken")
    assert report["completed"] > 300, report


@case("DPDK: without tables it stops, and says so")
def dpdk_detached(t):
    _, agent, dpdk = serve(t)
    agent.ctl("detach")
    equal(dpdk.process.wait(60), 3, "exit status of sluice-dpdk")
    assert "taken away" in dpdk.process.output(), dpdk.process.output()


@case("DPDK: --wait: without tables it says so once, and forwards when the agent has made them")
def dpdk_waits(t):
    tb, agent, dpdk = serve(t)
    agent.ctl("detach")
    equal(dpdk.process.wait(60), 3, "exit status of sluice-dpdk")
    notify = NotifySocket(os.path.join(tb.run_dir, "dpdk.notify"))
    dpdk.launch(agent.config_path, "--wait", env={**os.environ, "NOTIFY_SOCKET": notify.path})
    wait_until(lambda: notify.poll().count("WATCHDOG=1") >= 3, 5, "three signs of life")
    said = [m for m in notify.poll() if m != "WATCHDOG=1"]
    equal([m.split(" under")[0] for m in said], ["READY=1", "STATUS=waiting: nothing is pinned"],
          "what it told besides")
    agent.start()
    wait_until(lambda: "STATUS=forwarding on 1 core" in notify.poll(), 20, "it forwards")
    notify.close()
    agent.wait_all()
    report = loadgen.run(tb.client, "spread", [loadgen.url(tb.vip4)], count=20, concurrency=5)
    equal(report["completed"], 20, "answers")
    dpdk.stop()
    agent.ctl("detach")
    dpdk.launch(agent.config_path, "--wait")
    wait_until(lambda: "waiting:" in dpdk.process.output(), 10, "it waits")
    equal(dpdk.stop(), 0, "exit status after SIGTERM while it waited")


@case("DPDK: the demo's drain, killed process and restarts", timeout_s=120, alone=True)
def dpdk_demo(t):
    t.need("sluiced", "sluice-dpdk", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o")
    steps = [word for step in ("4", "5", "8") for word in ("--step", step)]
    done = subprocess.run([os.path.join(ROOT, "tools", "demo", "demo"), *steps],
                          env={**os.environ, "DATAPLANE": "dpdk"}, capture_output=True, text=True,
                          timeout=400, check=False)
    print(done.stdout)
    equal((done.returncode, done.stderr), (0, ""), f"demo:\n{done.stdout[-3000:]}")
    assert "checks passed" in done.stdout, done.stdout
