# SPDX-License-Identifier: BSD-2-Clause
"""The edges of forwarding over real connections: ICMP, sizes, fragments, dead and removed nodes."""
import collections
import re
import time

from tests.lib.case import between, case, equal
from tests.lib.site import Site
from tests.lib.stream import Stream, who
from tests.lib.transfer import download, transfer
from tests.lib.wait import holds_for, wait_until

BULK_PORT = 5001
STREAMS = 48  # over three nodes by chance: one of them has less than two once in 10^7 times


# --- ICMP -----------------------------------------------------------------------------------------


def ping(host, address: str, *options: str) -> bool:
    argv = ["ping", "-c2", "-i0.1", "-W20", *options, address]
    return host.run(argv, check=False).returncode == 0


def silent(host, address: str, *options: str) -> bool:
    return not ping(host, address, "-W1", *options)


@case("a VIP answers ping in both families, small and large, and is silent where that is turned "
      "off")
def vip_ping(t):
    site = Site(t)
    for address in (site.tb.vip4, site.tb.vip6):
        for size in ("0", "56", "1400"):
            answered = ping(site.tb.client, address, "-s", size)
            assert answered, f"no answer from {address}, {size} bytes"
    equal(site.packets()["ping"], 12, "echoes answered")
    for entry in site.config["vips"]:
        entry["ping"] = False
    site.reload(["node1", "node2"])
    for address in (site.tb.vip4, site.tb.vip6):
        assert silent(site.tb.client, address), f"{address} answers"
    equal(site.packets()["ping"], 12, "echoes answered")


def too_big(t, family: int, outer: int) -> None:
    """Full-sized segments do not fit with their outer header: the client is told, and sends
    less."""
    site = Site(t, family=family, vip_port=BULK_PORT, nodes=1, mtu=1500, backend_mtu=1500)
    node = site.tb["node1"]
    for vip in (site.tb.vip4, site.tb.vip6):
        before = site.packets()["too_big_sent"]
        transfer(site.tb.client, node, vip, 4, BULK_PORT)
        between(site.packets()["too_big_sent"] - before, 1, 1000, f"answers to the sender to {vip}")
        route = site.tb.client.ip("route", "get", vip)
        assert f"mtu {1500 - outer}" in route, route
    equal(site.packets()["too_big"], 0, "segments dropped without a word")


@case("segments too big for an IPv4 outer header are answered, and the connection goes on")
def too_big4(t):
    too_big(t, 4, 20)


@case("segments too big for an IPv6 outer header are answered, and the connection goes on")
def too_big6(t):
    too_big(t, 6, 40)


def path_mtu(t, **kwargs) -> None:
    """The router before the client takes less than the node sends; it says so to the VIP."""
    site = Site(t, vip_port=BULK_PORT, nodes=1, edge=True, access_mtu=1400, **kwargs)
    node, client = site.tb["node1"], site.tb.client
    client.ip("route", "change", "default", "via", "10.77.3.253", "advmss", "1460")
    client.ip("route", "change", "::/0", "via", "fd77:0:0:3::253", "advmss", "1440")
    for vip in (site.tb.vip4, site.tb.vip6):
        before = site.packets()["icmp_flow"]
        equal(download(node, client, vip, 400000, BULK_PORT), 400000, f"bytes from {vip}")
        between(site.packets()["icmp_flow"] - before, 1, 50, "ICMP errors sent to the node")


@case("a router's \"too big\" about what a node sent reaches that node, and the download goes on")
def path_mtu_ipip(t):
    path_mtu(t)


@case("a router's \"too big\" reaches the node by l2dsr, too")
def path_mtu_l2dsr(t):
    path_mtu(t, mode="l2dsr")


@case("fragments for a VIP are dropped and counted, and those for other addresses pass")
def fragments(t):
    site = Site(t, mtu=1500, backend_mtu=1500)
    for address in (site.tb.vip4, site.tb.vip6):
        before = site.packets()["fragment"]
        assert silent(site.tb.client, address, "-s", "3000"), f"{address} answers fragments"
        between(site.packets()["fragment"] - before, 4, 6, f"fragments for {address} dropped")
    dropped = site.packets()["fragment"]
    for address in (site.tb.ingress.ip4, site.tb.ingress.ip6):
        assert ping(site.tb.client, address, "-s", "3000"), f"{address} does not answer"
    equal(site.packets()["fragment"], dropped, "fragments dropped")


# --- nodes that die -------------------------------------------------------------------------------


def die(site: Site, name: str) -> None:
    """The cable is pulled: nothing answers any more, and nothing is said."""
    site.tb[name].plug(False)
    wait_until(lambda: site.agent.nodes()[name]["state"] == "unhealthy", 15, f"{name} is down")


def reset_when_it_speaks(stream: Stream) -> float:
    """
    Seconds from a segment of the client to the reset; fails if there is none. Where tokens still
    come, their acknowledgements have been such segments.
    """
    began = time.monotonic()
    try:
        stream.socket.send(b"\r\n")
    except ConnectionResetError:
        return 0.0
    assert stream.wait_reset(20), f"a stream of {stream.backend} is not reset"
    return time.monotonic() - began


def resets(t, policy: str, layout: str = "flat") -> tuple[Site, int]:
    """Streams of a node that died are reset by the next segment; how many of them were its own."""
    site = Site(t, layout=layout, nodes=3, pool={"policy": policy})
    streams = site.streams(STREAMS)
    die(site, "node2")
    mine = [s for s in streams if s.backend == "node2"]
    others = [s for s in streams if s.backend != "node2"]
    between(len(mine), 2, STREAMS - 2, "streams of node2")
    slowest = max(reset_when_it_speaks(s) for s in mine)
    between(slowest, 0, 10, "seconds until the slowest reset")  # without one: minutes
    equal([s.backend for s in others if not s.goes_on()], [], "streams of other nodes that ended")
    assert "node2" not in {who(site.tb.client, site.tb.vip4) for _ in range(STREAMS)}, "new ones"
    return site, len(mine)


@case("streams of a dead node are reset within a round trip: by the balancer, where they have "
      "entries")
def reset_with_entries(t):
    site, count = resets(t, "least-conn")
    between(site.packets()["reset_sent"], count, 3 * count, "resets sent")


@case("a dead node's streams are reset by the balancer, too, whose clients speak a scan later")
def reset_after_a_scan(t):
    site = Site(t, nodes=2, pool={"policy": "least-conn"})
    streams = site.streams(STREAMS)
    die(site, "node2")
    time.sleep(13)  # passes of the scan are ten seconds apart
    mine = [s for s in streams if s.backend == "node2"]
    for stream in mine:
        reset_when_it_speaks(stream)
    between(site.packets()["reset_sent"], len(mine), 3 * len(mine), "resets sent")


@case("streams of a dead node are reset within a round trip where they have none, too")
def reset_without_entries(t):
    resets(t, "hash")


@case("resets leave by the interface that the segment came from")
def reset_split(t):
    site, count = resets(t, "least-conn", "split")
    between(site.packets()["reset_sent"], count, 3 * count, "resets sent")


@case("on_down: rehash sends the flows of a dead node to others, whose kernels refuse them")
def rehash(t):
    site = Site(t, nodes=3, pool={"policy": "least-conn", "on_down": "rehash"})
    streams = site.streams(9)
    die(site, "node2")
    for s in streams:
        if s.backend == "node2":
            reset_when_it_speaks(s)
    equal(site.packets()["reset_sent"], 0, "resets of the balancer's own")


@case("on_down: keep leaves the flows of a dead node where they are, and they go on when it is "
      "back")
def keep(t):
    site = Site(t, nodes=3, pool={"policy": "hash", "on_down": "keep"})
    streams = site.streams(STREAMS)
    die(site, "node2")
    assert "node2" not in {who(site.tb.client, site.tb.vip4) for _ in range(STREAMS)}, "new ones"
    for s in streams:
        if s.backend == "node2":
            s.socket.send(b"\r\n")
            assert not s.wait_reset(0.2), "a stream is reset"
    site.tb["node2"].plug(True)
    equal([s.backend for s in streams if not s.goes_on()], [], "streams that ended")
    equal(site.packets()["reset_sent"], 0, "resets of the balancer's own")


# --- nodes that leave the configuration -----------------------------------------------------------


def remove_under_streams(t, **kwargs) -> tuple[Site, list[Stream], list[Stream]]:
    """node2 of three leaves while streams run: (site, its streams, the others)."""
    site = Site(t, nodes=3, **kwargs)
    streams = site.streams(STREAMS)
    site.reload(["node1", "node3"])
    mine = [s for s in streams if s.backend == "node2"]
    between(len(mine), 2, STREAMS - 2, "streams of node2")
    assert "node2" not in {who(site.tb.client, site.tb.vip4) for _ in range(STREAMS)}, "new ones"
    return site, mine, [s for s in streams if s.backend != "node2"]


def ended(streams: list[Stream]) -> list[str]:
    return [s.backend for s in streams if not s.goes_on()]


@case("a node removed from the file keeps its streams; when they end, nothing is left of it",
      timeout_s=60)
def removed(t):
    site, mine, others = remove_under_streams(t)
    holds_for(lambda: not ended(mine + others), 2, "all streams go on", interval_s=0.5)
    site.agent.restart()
    equal(ended(mine + others), [], "streams that ended with the agent that removed it")
    for s in mine + others:
        s.close()
    site.config["flow_idle"] = "1s"
    site.agent.write_config(site.config)
    site.agent.ctl("reload")
    site.agent.wait_log(r"node pool/node2, removed: nothing is left of it", 30)
    info = site.agent.ctl("backends")["backends"]
    equal([n["name"] for n in info], ["node1", "node3"], "nodes")


@case("many nodes removed at once are some lines of the log and a sum", timeout_s=90)
def removed_many(t):
    site = Site(t, mode="nat", nodes=2) # other ports than the VIP's: 120 nodes on one host
    pool = site.config["pools"][0]
    few, many = pool["nodes"], [{"name": f"extra{i}", "address": site.tb.nodes[0].ip4,
                                 "port": 20000 + i} for i in range(120)]

    def log_since(begin: int) -> list[str]:
        agent.wait_log("^.*and 100 more removed nodes of which nothing is left", 20, begin)
        agent.wait_log("^.*and 100 more nodes whose remaining flows are reset", 20, begin)
        return agent.process.output()[begin:].splitlines()

    agent = site.agent
    for way in (lambda: agent.ctl("reload"), agent.restart):
        pool["nodes"] = few + many
        agent.write_config(site.config)
        agent.ctl("reload")
        agent.wait_all()
        pool["nodes"] = few
        agent.write_config(site.config)
        begin = len(agent.process.output())
        way()
        lines = log_since(begin if way != agent.restart else 0)
        for what in ("removed$", "removed: nothing is left", "removed: .*flows are reset"):
            equal(sum(bool(re.search(f"node pool/extra.*{what}", line)) for line in lines), 20,
                  f"lines of nodes {what}")
        between(len(lines), 60, 150, "lines")


@case("a removed node whose port closes has its remaining streams reset")
def removed_and_dead(t):
    site, mine, others = remove_under_streams(t, pool={"policy": "least-conn"})
    site.tb["node2"].plug(False)
    site.agent.wait_log(r"node pool/node2, removed: .*its remaining flows are reset", 15)
    for s in mine:
        between(reset_when_it_speaks(s), 0, 10, "seconds until the reset")
    equal(ended(others), [], "streams of other nodes that ended")


@case("a removed node that comes back is the same backend, with its streams")
def removed_and_back(t):
    site, mine, others = remove_under_streams(t)
    site.reload(["node1", "node2", "node3"])
    site.wait_states("healthy", "healthy", "healthy")
    places = collections.Counter(who(site.tb.client, site.tb.vip4) for _ in range(60))
    equal(len(places), 3, "nodes that get new connections")
    equal(ended(mine + others), [], "streams that ended")


@case("the deadline of a drain holds for a node that is removed meanwhile")
def removed_with_deadline(t):
    site = Site(t, nodes=2, pool={"policy": "least-conn"})
    streams = site.streams(8)
    site.agent.ctl("drain", "node2", "--deadline", "6s")
    site.reload(["node1"])
    equal(ended(streams), [], "streams that ended before the deadline")
    site.agent.wait_log(r"node pool/node2, removed: drain deadline passed", 10)
    for s in streams:
        if s.backend == "node2":
            reset_when_it_speaks(s)
        else:
            assert s.goes_on(), "a stream of node1 ended"
