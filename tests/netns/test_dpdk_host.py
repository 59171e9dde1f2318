# SPDX-License-Identifier: BSD-2-Clause
"""What is not for a VIP reaches the host's kernel by the same NIC, beside balanced connections."""
from tests.lib import config, loadgen, mock
from tests.lib.agent import Agent
from tests.lib.case import case, equal
from tests.lib.dpdk import Dpdk
from tests.lib.transfer import transfer


def serve(t, driver=None, **topology):
    t.need("sluiced", "sluice-dpdk", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o")
    tb = t.testbed(nodes=2, **topology)
    mock.start_all(tb)
    for node in tb.nodes:
        node.attach_decap()
    dpdk = Dpdk(tb.ingress, driver=driver)
    agent = Agent(tb.ingress, config.one_pool(tb, **dpdk.config())).start()
    dpdk.start(agent.config_path)
    agent.wait_all()
    return tb, agent, dpdk


def ping(host, address: str, *options: str) -> None:
    done = host.run(["ping", "-c5", "-i0.1", "-W20", *options, address], check=False)
    assert " 0% packet loss" in done.stdout, f"ping {address} {options}: {done.stdout}"


@case("DPDK: neighbours are found, and ping goes both ways, in both families and in fragments")
def neighbours(t):
    # Not net_af_packet, for which the kernel puts fragments together. One MTU for all, so that
    # those of the host fit everywhere.
    tb, _, _ = serve(t, "net_af_xdp", backend_mtu=1500)
    client, host = tb.client, tb.ingress
    for here, there in ((client, host), (host, client)):
        for address in (there.ip4, there.ip6):
            here.ip("neigh", "flush", "to", address)
            ping(here, address)
            ping(here, address, "-s", "8000")
    macs = {n["dst"]: n.get("lladdr") for n in client.ip_json("neigh", "show")}
    equal((macs[host.ip4], macs[host.ip6]), (host.leg().mac,) * 2, "MAC of the host, as found")


@case("DPDK: a mirror whose MTU is raised meanwhile loses what does not fit, and no more")
def raised_mtu(t):
    tb, agent, dpdk = serve(t)
    host, node = tb.ingress, tb.nodes[0]
    host.ip("link", "set", "sluice0", "mtu", "9000")
    for _ in range(3):
        lost = host.run(["ping", "-c1", "-W0.2", "-s", "5000", node.ip4], check=False)
        assert "100% packet loss" in lost.stdout, lost.stdout
        ping(host, node.ip4)
    equal(dpdk.stop(), 0, "exit status of sluice-dpdk")
    dpdk.start(agent.config_path)  # the frames' room follows it
    ping(host, node.ip4)


@case("DPDK: bulk to and from the host itself flows, and breaks no balanced connection",
      timeout_s=60, alone=True)
def bulk(t):
    tb, agent, dpdk = serve(t)
    load = loadgen.Loadgen(tb.client, "steady", [loadgen.url(v) for v in (tb.vip4, tb.vip6)],
                           rate=100, tokens=20, duration=7).start()
    rates = {}
    for family, ours, theirs in ((4, tb.client.ip4, tb.ingress.ip4),
                                 (6, tb.client.ip6, tb.ingress.ip6)):
        rates[f"in, IPv{family}"] = transfer(tb.client, tb.ingress, theirs, 60).gbits
        rates[f"out, IPv{family}"] = transfer(tb.ingress, tb.client, ours, 60).gbits
    report = load.wait(60)
    print("Gbit/s:", ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items()))
    equal((report["failed"], report["broken"], report["causes"]), (0, 0, {}),
          "balanced connections: failed, broken, causes")
    assert report["completed"] == report["started"] > 300, report
    assert min(rates.values()) > 0.02, rates  # with the kernel's own segments: hundreds of Mbit/s
    down = [x for x in agent.process.output().splitlines() if "-> unhealthy" in x]
    equal(down, [], "nodes that went down")
    equal(dpdk.stop(), 0, "exit status of sluice-dpdk")
