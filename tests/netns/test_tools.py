# SPDX-License-Identifier: BSD-2-Clause
"""The tools that the other tests rely on: inference server, load generator, decapsulation."""
import json
import socket
import struct
import time

from sluice_testbed import TestbedError

from tests.lib import loadgen, mock
from tests.lib.capture import Capture
from tests.lib.case import between, case, equal
from tests.lib.frames import IP6IN, IPIP, UDP, ones_sum
from tests.lib.wait import free_port, holds_for, port_open, wait_until


@case("connections to one node are all answered correctly, by name")
def spread(t):
    t.need("mockbackend", "loadgen")
    tb = t.testbed(nodes=2)
    mock.start_all(tb)
    for node in tb.nodes:
        for address in (node.ip4, node.ip6):
            report = loadgen.run(tb.client, "spread", loadgen.url(address), count=200)
            equal(report["completed"], 200, "correct answers")
            equal(loadgen.shares(report), {node.name: 1.0}, "who answered")


@case("streams that run are counted as active, and killing the server breaks exactly those")
def streams(t):
    t.need("mockbackend", "loadgen")
    tb = t.testbed(nodes=1)
    server = mock.Mock(tb["node1"], tokens_per_second=100).start()
    run = loadgen.Loadgen(tb.client, "stream", loadgen.url(tb["node1"].ip4), concurrency=20,
                          tokens=100000, duration=20, count=20).start()
    run.wait_active(20)
    equal(server.control()["running"], 20, "requests that run on the server")
    server.kill()
    report = run.wait(20)
    equal(report["broken"], 20, "broken streams")
    equal(len(run.events()), 20, "events")
    server.start()
    again = loadgen.run(tb.client, "stream", loadgen.url(tb["node1"].ip4), concurrency=5,
                        tokens=10, count=5)
    equal((again["completed"], again["broken"]), (5, 0), "streams after the restart")


@case("a server that is told to be slow, loading or refusing is so at once")
def mock_control(t):
    t.need("mockbackend")
    tb = t.testbed(nodes=1)
    node = tb["node1"]
    server = mock.Mock(node, slots=3).start()
    health = f"http://{node.ip4}:{mock.PORT}/health"
    equal(tb.client.curl_json(health)["running"], 0, "running")
    server.control(gpu_memory=97)
    equal(tb.client.curl_json(health)["gpu_memory_usage"], 97, "GPU memory")
    server.control(loading_s=True)
    try:
        tb.client.curl_json(health)
        raise AssertionError("a loading server answered well")
    except TestbedError as e:
        assert "503" in str(e), e
    began = time.monotonic()
    server.control(loading_s=False, refuse_s=5)
    wait_until(lambda: not port_open(tb.client, node.ip4, mock.PORT), 1, "the port is closed")
    wait_until(lambda: port_open(tb.client, node.ip4, mock.PORT), 10, "the port is open again")
    between(time.monotonic() - began, 5, 60, "seconds until it was")
    server.control(reset=True)
    tb.client.curl_json(health)


@case("one server may not take the port of another, and says so")
def port_taken(t):
    t.need("mockbackend")
    tb = t.testbed(nodes=1)
    port = free_port(tb["node1"])
    mock.Mock(tb["node1"], port=port).start()
    try:
        mock.Mock(tb["node1"], port=port, name="second").start()
    except TestbedError as e:
        assert "ended with status" in str(e), e
    else:
        raise AssertionError("both started")


@case("a filtered port is silent instead of refusing, until the filter is taken away")
def filtered_port(t):
    t.need("mockbackend", "nft")
    tb = t.testbed(nodes=1)
    node = tb["node1"]
    mock.Mock(node).start()
    node.filter_port(mock.PORT)
    for address in (node.ip4, node.ip6):
        with Capture(tb.client, f"src {address} and tcp") as capture:
            assert not port_open(tb.client, address, mock.PORT, 0.5), f"{address} answers"
            equal(capture.frames(), [], "answers")
    node.filter_port(mock.PORT, False)
    assert port_open(tb.client, node.ip4, mock.PORT), "the port is closed without the filter"


# --------------------------------------------------------------------------------------------------
# Decapsulation on nodes, in native mode


def udp(src: str, dst: str, sport: int, dport: int, payload: bytes) -> bytes:
    """A UDP packet with its IP header, checksums right."""
    family = socket.AF_INET6 if ":" in dst else socket.AF_INET
    a, b = socket.inet_pton(family, src), socket.inet_pton(family, dst)
    length = 8 + len(payload)
    pseudo = a + b + struct.pack("!IHH", length, 0, UDP)
    head = struct.pack("!HHH", sport, dport, length)
    check = 0xFFFF - ones_sum(pseudo + head + b"\0\0" + payload)
    datagram = head + struct.pack("!H", check or 0xFFFF) + payload
    if family == socket.AF_INET6:
        return struct.pack("!IHBB", 6 << 28, length, UDP, 64) + a + b + datagram
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, UDP, 0) + a + b
    check = 0xFFFF - ones_sum(ip)
    return ip[:10] + struct.pack("!H", check) + ip[12:] + datagram


def send_raw(source: str, target: str, proto: int, packet: bytes) -> None:
    """Send `packet` inside an IP header of the kernel's making: the outer header of a tunnel."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, proto) as s:
        s.bind((source, 0))
        s.sendto(packet, (target, 0))


def receiver(address: str, port: int) -> socket.socket:
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, port))
    s.settimeout(15)
    return s


@case("decap takes the outer header off: 4in4, 6in4, 4in6, 6in6, small and full-sized")
def decap(t):
    t.need("decap.bpf.o", "xdpattach")
    tb = t.testbed(nodes=1)
    node, ingress, client = tb["node1"], tb.ingress, tb.client
    node.attach_decap()
    for outer in (4, 6):
        for vip, source, proto in ((tb.vip4, client.ip4, IPIP), (tb.vip6, client.ip6, IP6IN)):
            with node.call(receiver, vip, 7000) as s:
                for size in (1, 64, 1400):
                    payload = bytes(i & 255 for i in range(size))
                    packet = udp(source, vip, 40000, 7000, payload)
                    ends = (ingress.ip4, node.ip4) if outer == 4 else (ingress.ip6, node.ip6)
                    ingress.call(send_raw, *ends, proto, packet)
                    data, sender = s.recvfrom(2000)
                    equal(data, payload, f"{vip} in IPv{outer}, {size} bytes")
                    equal(sender[:2], (source, 40000), "the client's address")
    argv = ["bpftool", "-j", "map", "dump", "pinned", f"{node.pin_dir}/decap_stats"]
    counts = [sum(cpu["value"] for cpu in entry["formatted"]["values"])
              for entry in json.loads(node.run(argv).stdout)]
    equal(counts[:2], [6, 6], "packets taken out, IPv4 and IPv6")


@case("without decap a tunnelled packet does not reach the service")
def no_decap(t):
    tb = t.testbed(nodes=1)
    node, ingress = tb["node1"], tb.ingress
    packet = udp(tb.client.ip4, tb.vip4, 40000, 7000, b"x")
    with node.call(receiver, tb.vip4, 7000) as s, Capture(node, "ip proto 4") as capture:
        s.setblocking(False)
        ingress.call(send_raw, ingress.ip4, node.ip4, IPIP, packet)
        frame = capture.wait_for(1)[0]
        equal(frame.ip.bad_sums, [], "wrong checksums")
        equal((frame.ip.inner.dst, frame.ip.inner.dport), (tb.vip4, 7000), "inner destination")

        def silent() -> bool:
            try:
                return not s.recv(10)
            except BlockingIOError:
                return True

        holds_for(silent, 0.2, "nothing arrives")


@case("a connection to a node whose XDP program is attached is as good as without")
def traffic_past_decap(t):
    t.need("decap.bpf.o", "xdpattach", "mockbackend", "loadgen")
    tb = t.testbed(nodes=1)
    mock.start_all(tb)
    for mode in ("native", "generic"):
        tb["node1"].attach_decap(mode=mode)
        report = loadgen.run(tb.client, "spread", loadgen.url(tb["node1"].ip4), count=300)
        equal(report["completed"], 300, f"correct answers past {mode} XDP")
        between(report["seconds"], 0, 40, "seconds")
        tb["node1"].detach_xdp(mode)
