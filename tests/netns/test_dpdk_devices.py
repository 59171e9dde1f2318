# SPDX-License-Identifier: BSD-2-Clause
"""sluice-dpdk on each kind of device that needs no hardware."""
import os
import struct
import time

from tests.lib import BUILD, config, frames, loadgen, mock
from tests.lib.agent import Agent
from tests.lib.case import case, equal
from tests.lib.dpdk import Dpdk
from tests.lib.wait import wait_until


def serve(t, make=None, driver=None, then=None, layout="flat", **kwargs):
    """A testbed that forwards by the device that make(testbed) returns, after then(testbed)."""
    t.need("sluiced", "sluice-dpdk", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o")
    tb = t.testbed(nodes=2, layout=layout)
    mock.start_all(tb)
    for node in tb.nodes:
        node.attach_decap()
    device = make(tb) if make else None
    dpdk = Dpdk(tb.ingress, driver=driver, device=device, **kwargs)
    agent = Agent(tb.ingress, config.one_pool(tb, **dpdk.config())).start()
    dpdk.start(agent.config_path)
    if then:
        then(tb)
    agent.wait_all(timeout_s=20)
    return tb, agent, dpdk


def carries(t, *args, **kwargs):
    tb, _, dpdk = serve(t, *args, **kwargs)
    for vip in (tb.vip4, tb.vip6):
        report = loadgen.run(tb.client, "spread", loadgen.url(vip), count=200, connect_timeout=3,
                             duration=15)
        equal((report["completed"], report["causes"]), (200, {}), f"connections to {vip}")
    equal(dpdk.stop(), 0, "exit status of sluice-dpdk")


@case("DPDK: net_af_packet carries connections", timeout_s=60)
def af_packet(t):
    carries(t, driver="net_af_packet")


@case("DPDK: net_af_xdp carries connections", timeout_s=60)
def af_xdp(t):
    carries(t, driver="net_af_xdp")


@case("DPDK: net_af_xdp loses nothing of what the host sends, from the first frame on")
def af_xdp_first_frames(t):
    tb, agent, dpdk = stand_alone(t, "net_af_xdp0,iface=eth0")
    dpdk.start(agent.config_path)
    for library in ("libbpf:", "libxdp:"):
        assert library not in dpdk.process.output(), f"it probes aloud: {dpdk.process.output()}"
    # as many as there are buffers, each used once before any is used again
    done = tb.ingress.run(["ping", "-q", "-c5000", "-f", "-W20", tb.nodes[0].ip4], check=False)
    assert "5000 received" in done.stdout, done.stdout


@case("DPDK: net_af_xdp carries connections in by one device and out by another", timeout_s=60)
def af_xdp_two_devices(t):
    carries(t, driver="net_af_xdp", layout="split")


@case("DPDK: net_tap carries connections, its kernel side in a bridge with the NIC", timeout_s=60)
def tap(t):
    def make(tb):
        host, leg = tb.ingress, tb.ingress.leg()
        host.ip("link", "set", leg.dev, "address", "02:77:ff:00:00:01")
        host.ip("link", "add", "br0", "type", "bridge")
        host.ip("link", "set", leg.dev, "master", "br0")
        host.ip("link", "set", "br0", "up")
        host.ip("tuntap", "add", "name", "wire0", "mode", "tap", "multi_queue")
        host.ip("link", "set", "wire0", "master", "br0", "mtu", str(leg.mtu))
        host.ip("link", "set", "wire0", "up")
        return f"net_tap0,iface=wire0,mac={leg.mac}"

    def then(tb):
        # It has got the MAC of DPDK's side, which a bridge then takes for its own.
        tb.ingress.ip("link", "set", "wire0", "address", "02:77:ff:00:00:02")

    carries(t, make, then=then, unmuted=True)


def reserve_huge_pages(n: int) -> int:
    """Have so many pages of 2 MB at least; how many there were."""
    with open("/proc/sys/vm/nr_hugepages", "r+", encoding="ascii") as f:
        before = int(f.read())
        f.seek(0)
        f.write(str(max(n, before)))
    return before


@case("DPDK: huge pages are used, without a file system for them", timeout_s=60, alone=True)
def huge_pages(t):
    before = reserve_huge_pages(32)
    try:
        with open("/proc/sys/vm/nr_hugepages", encoding="ascii") as f:
            if int(f.read()) < 32:
                t.skip("no 32 huge pages to be had")
        carries(t, huge_pages=True)
    finally:
        with open("/proc/sys/vm/nr_hugepages", "w", encoding="ascii") as f:
            f.write(str(before))


def start_wire(tb, socket):
    """The far end of a memif: a process of its own that leads on to the host's NIC."""
    leg = tb.ingress.leg()
    wire = tb.ingress.popen(
        [os.path.join(BUILD, "tests", "dpdk_wire"), "-l", "1" if (os.cpu_count() or 1) > 1 else "0",
         "--no-huge", "-m", "64", "--no-pci", "--no-shconf", "--no-telemetry",
         f"--vdev=net_memif0,role=server,socket={socket},socket-abstract=no",
         f"--vdev=net_af_packet0,iface={leg.dev},framesz=2048,framecnt=1024"],
        name="dpdk_wire")
    wait_until(lambda: "ready" in wire.output(), 10, "dpdk_wire is ready")


@case("DPDK: net_memif carries connections, another process at its far end", timeout_s=60)
def memif(t):
    t.need("tests/dpdk_wire")

    def make(tb):
        socket = os.path.join(tb.run_dir, "memif.sock")
        start_wire(tb, socket)
        return (f"net_memif0,role=client,socket={socket},socket-abstract=no,"
                f"mac={tb.ingress.leg().mac}")

    carries(t, make)


def ping_frame(leg, vip: str, client: str, number: int) -> bytes:
    """An echo request from a client to a VIP."""
    icmp = struct.pack("!BBHHH", 8, 0, 0, 77, number) + b"sluice ping"
    icmp = icmp[:2] + struct.pack("!H", 0xFFFF ^ frames.ones_sum(icmp)) + icmp[4:]
    src, dst = (bytes(int(n) for n in a.split(".")) for a in (client, vip))
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), number, 0, 64, 1, 0) + src + dst
    ip = ip[:10] + struct.pack("!H", 0xFFFF ^ frames.ones_sum(ip)) + ip[12:]
    macs = bytes.fromhex(leg.mac.replace(":", "")) + bytes.fromhex("0277aabbccdd")
    return (macs + b"\x08\x00" + ip + icmp).ljust(60, b"\0")


def write_pcap(path: str, raw: list[bytes]) -> None:
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for n, frame in enumerate(raw):
            f.write(struct.pack("<IIII", n, 0, len(frame), len(frame)) + frame)


def stand_alone(t, device: str):
    """No far end that answers: the agent's nodes stay unknown."""
    t.need("sluiced", "sluice-dpdk", "sluicectl")
    tb = t.testbed(nodes=1)
    dpdk = Dpdk(tb.ingress, device=device.format(run=tb.run_dir))
    agent = Agent(tb.ingress, config.one_pool(tb, **dpdk.config())).start()
    return tb, agent, dpdk


@case("DPDK: net_pcap takes pings from a file and puts the answers into another")
def pcap(t):
    tb, agent, dpdk = stand_alone(t, "net_pcap0,rx_pcap={run}/in.pcap,tx_pcap={run}/out.pcap")
    leg = tb.ingress.leg()
    write_pcap(f"{tb.run_dir}/in.pcap",
               [ping_frame(leg, tb.vip4, tb.client.ip4, n) for n in range(100)])
    dpdk.start(agent.config_path)
    wait_until(lambda: agent.ctl("status")["packets"]["ping"] == 100, 5, "100 pings are answered")
    equal(dpdk.stop(), 0, "exit status of sluice-dpdk")
    with open(f"{tb.run_dir}/out.pcap", "rb") as f:
        answers = [frames.parse_frame(raw) for raw in frames.read_pcap(f.read())]
    answers = [a for a in answers if a.ip and a.ip.src == tb.vip4]  # not the mirror's own
    equal(len(answers), 100, "answers in the file")
    for a in answers:
        equal((a.dst, a.src, a.ip.dst, a.ip.payload[0], a.ip.bad_sums),
              ("02:77:aa:bb:cc:dd", leg.mac, tb.client.ip4, 0, []), "an answer")


@case("DPDK: net_null and net_ring run and stop, and their frames are counted")
def null_and_ring(t):
    tb, agent, dpdk = stand_alone(t, "net_null0,size=64")
    dpdk.start(agent.config_path)
    wait_until(lambda: agent.ctl("status")["packets"]["not_vip"] > 1000, 5, "frames of net_null")
    equal(dpdk.stop(), 0, "exit status with net_null")
    dpdk.device = "net_ring0"
    agent.write_config(config.one_pool(tb, **dpdk.config()))
    dpdk.start(agent.config_path)
    # what the host sends comes back by the ring, so the worker sees it twice
    before = agent.ctl("status")["packets"]["not_vip"]
    tb.ingress.run(["ping", "-c1", "-W1", tb.client.ip4], check=False)
    wait_until(lambda: agent.ctl("status")["packets"]["not_vip"] > before, 5, "frames of net_ring")
    time.sleep(0.2)
    equal(dpdk.stop(), 0, "exit status with net_ring")
