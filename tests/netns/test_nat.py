# SPDX-License-Identifier: BSD-2-Clause
"""Mode nat over real connections: both families, VIP port and node port differ."""
import collections
import socket
import threading

from tests.lib import loadgen
from tests.lib.case import between, case, equal
from tests.lib.nat_site import BULK_PORT, NODE_BULK_PORT, NatSite, flow_of, wait_gone
from tests.lib.stream import Stream
from tests.lib.transfer import download, transfer
from tests.lib.wait import wait_until

CLOSING = 2  # LB_NAT_F_CLOSING
PATIENCE_S = 20


def vips(site: NatSite) -> list[str]:
    return [loadgen.url(site.tb.vip4), loadgen.url(site.tb.vip6)]


def all_answered(site: NatSite, count: int, **options) -> None:
    report = loadgen.run(site.tb.client, "spread", vips(site), count=count, connect_timeout=3,
                         duration=20, **options)
    outcome = {k: report[k] for k in ("completed", "failed", "broken", "causes")}
    equal(outcome, {"completed": count, "failed": 0, "broken": 0, "causes": {}}, "connections")
    equal(sorted(report["by_backend"]), sorted(n.name for n in site.tb.nodes), "nodes")


@case("nat carries both families on one segment, to another port than the VIP's")
def flat(t):
    all_answered(NatSite(t, nodes=4), 600)


@case("nat carries both families between two interfaces, and the answers back")
def split(t):
    site = NatSite(t, layout="split", nodes=3)
    all_answered(site, 600)
    for vip, node in ((site.tb.vip4, site.tb["node1"].ip4), (site.tb.vip6, site.tb["node1"].ip6)):
        site.agent.ctl("drain", "node2-4bulk"), site.agent.ctl("drain", "node3-4bulk")
        site.agent.ctl("drain", "node2-6bulk"), site.agent.ctl("drain", "node3-6bulk")
        at = (node, NODE_BULK_PORT)
        transfer(site.tb.client, site.tb["node1"], vip, 20, BULK_PORT, at).flowed(f"nat, {vip}")
        equal(download(site.tb["node1"], site.tb.client, vip, 4 << 20, BULK_PORT, at), 4 << 20,
              f"bytes from {vip}")


@case("nat reaches nodes behind a router")
def routed(t):
    all_answered(NatSite(t, layout="routed", nodes=3), 600)


@case("nat by generic XDP carries both families")
def generic(t):
    site = NatSite(t, top={"interfaces": [{"name": "eth0", "mode": "generic"}]})
    all_answered(site, 400)


@case("thousands of connections from many clients at once: no two share a source port",
      timeout_s=90, alone=True)
def many_clients(t):
    site = NatSite(t, nodes=3, clients=2,
                   mocks={"slots": 4000, "tokens_per_second": 1})
    sources = [f"10.77.1.{i}" for i in range(30, 60)]
    for source in sources:
        site.tb.client.ip("addr", "add", f"{source}/32", "dev", site.tb.client.dev)
    runs = [
        loadgen.Loadgen(site.tb.clients[0], "stream", loadgen.url(site.tb.vip4), concurrency=1200,
                        count=1200, rate=1500, tokens=100000, duration=60,
                        source=",".join(sources)),
        loadgen.Loadgen(site.tb.clients[1], "stream", vips(site), concurrency=1200, count=1200,
                        rate=1500, tokens=100000, duration=60),
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.wait_active(1200, timeout_s=40)
    flows, answers = site.entries("nat_flows"), site.entries("nat_replies")
    equal((len(flows), len(answers)), (2400, 2400), "entries of clients, of nodes")
    taken = collections.Counter((v["backend"], v["nat_port"]) for _, v in flows)
    equal([k for k, n in taken.items() if n > 1], [], "source ports that two flows of a node share")
    mine = {(v["backend"], v["nat_port"]): (k["saddr"], k["sport"], k["vip"]) for k, v in flows}
    ids = {(tuple(b["addr"]), b["port"]): number for number, b in site.entries("backends")}
    theirs = {(ids[tuple(k["node"]), k["node_port"]], k["nat_port"]):
              (v["client"], v["client_port"], v["vip"]) for k, v in answers}
    assert mine == theirs, "entries of the two directions differ"
    # Which CPU has how many is the kernel's affair: tests/kernel/test_nat_cpus.c has all of them.
    print("packets by CPU:", site.packets_by_cpu())
    for run in runs:
        report = run.stop()
        equal((report["started"], report["failed"]), (1200, 0), "streams started, failed")


@case("many short connections through nat, each answered by the node it was sent to", timeout_s=60,
      alone=True)
def many_short(t):
    site = NatSite(t, nodes=3)
    all_answered(site, 6000, concurrency=300)
    equal(site.packets()["nat_full"], 0, "new flows refused")


# --- the end of connections -----------------------------------------------------------------------


class Pair:
    """One connection through the bulk VIP: both ends in the hands of the test."""

    def __init__(self, site: NatSite, family: int = 4):
        node = site.tb["node1"]
        own = node.ip4 if family == 4 else node.ip6
        vip = site.tb.vip4 if family == 4 else site.tb.vip6
        sockets = socket.AF_INET if family == 4 else socket.AF_INET6
        with node.call(socket.create_server, (own, NODE_BULK_PORT), family=sockets) as listener:
            listener.settimeout(PATIENCE_S)
            self.client = site.tb.client.call(socket.create_connection, (vip, BULK_PORT),
                                              PATIENCE_S)
            self.node, self.peer = listener.accept()
        self.client.settimeout(PATIENCE_S)
        self.node.settimeout(PATIENCE_S)
        self.local_port = self.client.getsockname()[1]


def one_node(t, **kwargs) -> NatSite:
    return NatSite(t, nodes=1, **kwargs)


def abort(s: socket.socket) -> None:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()


def is_reset(s: socket.socket) -> bool:
    """The next thing that comes is a reset."""
    try:
        return s.recv(1000) == b"never"
    except ConnectionResetError:
        return True


@case("a half-closed connection through nat carries on in the other direction, in both families")
def half_close(t):
    site = one_node(t)
    for family in (4, 6):
        pair = Pair(site, family)
        equal(pair.peer[0], site.tb.ingress.ip4 if family == 4 else site.tb.ingress.ip6,
              "client as the node sees it")
        pair.client.sendall(b"ask")
        pair.client.shutdown(socket.SHUT_WR)
        equal((pair.node.recv(9), pair.node.recv(9)), (b"ask", b""), "at the node")
        wait_until(lambda: flow_of(site, pair)[0]["flags"] == CLOSING, 2,
                   "the client's end is closing")
        equal(flow_of(site, pair)[1]["flags"], 0, "flags of the node's end")
        for _ in range(50):
            pair.node.sendall(bytes(1000))
        pair.node.close()
        got = 0
        while data := pair.client.recv(65536):
            got += len(data)
        equal(got, 50000, "bytes after the client had closed")
        wait_until(lambda: flow_of(site, pair)[1]["flags"] == CLOSING, 2,
                   "the node's end is closing")
        pair.client.close()


@case("a reset by either end through nat reaches the other at once, and its entries go",
      timeout_s=60)
def reset_either(t):
    site = one_node(t)
    pairs = [(Pair(site, family), ends) for family in (4, 6) for ends in (0, 1)]
    for pair, ends in pairs:
        first, other = (pair.client, pair.node) if ends == 0 else (pair.node, pair.client)
        abort(first)
        assert is_reset(other), "the other end was not reset"
    for pair, _ in pairs:
        wait_gone(site, pair.local_port, 20)


def talk(pair: Pair, stop: threading.Event, ret_broken: list) -> None:
    """A byte there and back, a few times a second."""
    try:
        while not stop.wait(0.3):
            pair.client.sendall(b"x")
            pair.node.sendall(pair.node.recv(9))
            equal(pair.client.recv(9), b"x", "byte that came back")
    except (OSError, AssertionError) as e:
        ret_broken.append(e)


@case("an idle connection's entries go after flow_idle; both ends are then reset when they speak",
      timeout_s=90)
def idle(t):
    site = one_node(t, top={"flow_idle": "5s"})
    for family in (4, 6):
        quiet, talks = Pair(site, family), Pair(site, family)
        stop, broken = threading.Event(), []
        talker = threading.Thread(target=talk, args=(talks, stop, broken))
        talker.start()
        wait_gone(site, quiet.local_port, 30)
        stop.set()
        talker.join(10)
        equal(broken, [], "what ended the connection that talks")
        before = site.packets()["nat_unknown"]
        quiet.client.sendall(b"late")
        assert is_reset(quiet.client), "the client was not reset"
        # More than one only where the answer came later than TCP sends again.
        between(site.packets()["nat_unknown"] - before, 1, 5, "segments of unknown flows answered")
        quiet.node.sendall(b"late")
        assert is_reset(quiet.node), "the node was not reset"


@case("no source port is left: new connections wait and are counted; one that ends makes room",
      timeout_s=90)
def exhausted(t):
    site = one_node(t, nat={"ports": "20000-20127"}, mocks={"slots": 200, "tokens_per_second": 5})
    streams = []
    try:
        while len(streams) <= 128:
            streams.append(Stream(site.tb.client, site.tb.vip4, timeout_s=10))
    except TimeoutError:
        pass
    between(len(streams), 110, 128, "streams that found one of 128 ports")
    packets = site.packets()
    between(packets["nat_full"], 1, 40, "SYNs refused")
    equal(packets["nat_ports"], packets["nat_full"], "SYNs without a source port")
    text = site.agent.ctl_run("status").stdout
    assert "nat_ports" in text, text
    equal([s.backend for s in streams if not s.goes_on()], [], "streams that ended")
    Stream(site.tb.client, site.tb.vip6).abort()  # to another address of the node they are others
    for s in streams[:40]:
        s.abort()
    later = [Stream(site.tb.client, site.tb.vip4, timeout_s=30) for _ in range(10)]
    equal([s.backend for s in streams[40:] + later if not s.goes_on()], [], "streams that ended")


# --- the agent, the nodes -------------------------------------------------------------------------


@case("streams through nat outlive the agent's killing, and its new start")
def restart(t):
    site = NatSite(t, nodes=3)
    streams = site.streams(24)
    site.agent.kill()
    equal([s.backend for s in streams if not s.goes_on()], [],
          "streams that ended without an agent")
    all_answered(site, 200)
    site.agent.start(timeout_s=20)
    site.agent.wait_all()
    equal([s.backend for s in streams if not s.goes_on()], [], "streams that ended")
    equal(site.packets()["nat_unknown"], 0, "segments of unknown flows")


@case("streams through nat stay on a node that drains, and the drain ends with them", timeout_s=60)
def drains(t):
    site = NatSite(t, nodes=2)
    streams = site.streams(32)
    site.agent.ctl("drain", "node1-4")
    site.agent.ctl("drain", "node1-6")
    equal({s.backend for s in site.streams(8)}, {"node2"}, "nodes of new streams")
    equal([s.backend for s in streams if not s.goes_on()], [], "streams that ended")
    mine = [s for s in streams if s.backend == "node1"]
    between(len(mine), 1, 31, "streams of node1")
    waits = threading.Thread(target=site.agent.ctl, args=("drain", "node1-4", "--wait"))
    waits.start()
    waits.join(3)
    assert waits.is_alive(), "drain --wait returned while streams lived"
    for s in mine:
        s.abort()
    waits.join(80)
    assert not waits.is_alive(), "drain --wait did not return"


def nodes_of(site: NatSite, node: str) -> list[str]:
    return [state for name, state in site.agent.states().items() if name.startswith(f"{node}-")]


@case("streams of a dead node through nat are reset when they speak, those of others go on")
def dead(t):
    site = NatSite(t, nodes=3)
    streams = site.streams(48)  # by chance one node of three has less than two once in 10^7 times
    mine = [s for s in streams if s.backend == "node2"]
    between(len(mine), 2, 46, "streams of node2")
    site.tb["node2"].plug(False)
    wait_until(lambda: set(nodes_of(site, "node2")) == {"unhealthy"}, 15, "node2 is down")
    for s in mine:
        s.socket.send(b"\r\n")
        assert s.wait_reset(PATIENCE_S), "a stream of the dead node is not reset"
    equal([s.backend for s in streams if s not in mine and not s.goes_on()], [],
          "others that ended")
    between(site.packets()["reset_sent"], len(mine), 3 * len(mine), "resets sent")
    equal({s.backend for s in site.streams(30)}, {"node1", "node3"}, "nodes of new streams")


@case("a node taken out at once through nat: the clients and the node itself are reset")
def taken_out(t):
    site = one_node(t)
    for family in (4, 6):
        pair = Pair(site, family)
        site.agent.ctl("drain", f"node1-{family}bulk", "--now")
        pair.node.sendall(b"token")  # its client acknowledges it, and is reset for that
        equal(pair.client.recv(9), b"token", "at the client")
        wait_until(lambda: is_reset(pair.client), 3, "the client is reset")

        def node_is_reset() -> bool:
            try:
                pair.node.send(b"token")
            except (ConnectionResetError, BrokenPipeError):
                return True
            return False

        wait_until(node_is_reset, 3, "the node is reset", interval_s=0.1)


@case("on_down: keep through nat leaves the streams of a dead node, which go on when it is back")
def keep(t):
    site = NatSite(t, nodes=3, pool={"on_down": "keep"})
    streams = site.streams(18)
    site.tb["node2"].plug(False)
    wait_until(lambda: set(nodes_of(site, "node2")) == {"unhealthy"}, 15, "node2 is down")
    for s in streams:
        if s.backend == "node2":
            s.socket.send(b"\r\n")
            assert not s.wait_reset(0.1), "a stream is reset"
    site.tb["node2"].plug(True)
    equal([s.backend for s in streams if not s.goes_on()], [], "streams that ended")


# --- ICMP -----------------------------------------------------------------------------------------


@case("path MTU discovery through nat: a router before the nodes takes less than the client sends")
def path_mtu_to_node(t):
    site = one_node(t, layout="routed", mtu=1500, backend_mtu=1400)
    node, client = site.tb["node1"], site.tb.client
    node.ip("route", "change", "default", "via", "10.77.2.254", "advmss", "1460")
    node.ip("route", "change", "::/0", "via", "fd77:0:0:2::254", "advmss", "1440")
    for vip, own in ((site.tb.vip4, node.ip4), (site.tb.vip6, node.ip6)):
        before = site.packets()["icmp_flow"]
        transfer(client, node, vip, 1, BULK_PORT, (own, NODE_BULK_PORT))
        between(site.packets()["icmp_flow"] - before, 1, 50, "ICMP errors sent to the client")
        route = client.ip("route", "get", vip)
        assert "mtu 1400" in route, route


@case("path MTU discovery through nat: a router before the client takes less than the node sends")
def path_mtu_to_client(t):
    site = one_node(t, edge=True, access_mtu=1400)
    node, client = site.tb["node1"], site.tb.client
    client.ip("route", "change", "default", "via", "10.77.3.253", "advmss", "1460")
    client.ip("route", "change", "::/0", "via", "fd77:0:0:3::253", "advmss", "1440")
    for vip, own, seen in ((site.tb.vip4, node.ip4, site.tb.ingress.ip4),
                           (site.tb.vip6, node.ip6, site.tb.ingress.ip6)):
        before = site.packets()["icmp_flow"]
        size = 400000
        equal(download(node, client, vip, size, BULK_PORT, (own, NODE_BULK_PORT)), size,
              f"bytes from {vip}")
        between(site.packets()["icmp_flow"] - before, 1, 50, "ICMP errors sent to the node")
        route = node.ip("route", "get", seen)
        assert "mtu 1400" in route, route


@case("path MTU discovery through nat: the host's own device towards the client takes less")
def client_side_mtu(t):
    site = one_node(t, layout="split", backend_mtu=1500)
    node, ingress = site.tb["node1"], site.tb.ingress
    ingress.ip("link", "set", "eth0", "mtu", "1400")  # the client announces what fits its own 1500
    back = ingress.leg("back")
    for vip, own, seen in ((site.tb.vip4, node.ip4, back.ip4), (site.tb.vip6, node.ip6, back.ip6)):
        before = site.packets()["too_big_sent"]
        size = 4 << 20
        equal(download(node, site.tb.client, vip, size, BULK_PORT, (own, NODE_BULK_PORT)), size,
              f"bytes from {vip}")
        between(site.packets()["too_big_sent"] - before, 1, 200, f"answers to the node of {vip}")
        route = node.ip("route", "get", seen)
        assert "mtu 1400" in route, route
    equal(site.packets()["too_big"], 0, "segments dropped without a word")


@case("a router that knows no way to the node: the client is told, and does not wait for a timeout")
def unreachable(t):
    site = one_node(t, layout="routed")
    router, node = site.tb["router"], site.tb["node1"]
    for vip, own in ((site.tb.vip4, node.ip4), (site.tb.vip6, node.ip6)):
        router.ip("route", "add", "unreachable", f"{own}/{128 if ':' in own else 32}")
        try:
            site.tb.client.call(socket.create_connection, (vip, BULK_PORT), PATIENCE_S)
            raise AssertionError(f"a connection to {vip}")
        except OSError as e:
            assert not isinstance(e, TimeoutError), f"{vip}: {e!r}"
