# SPDX-License-Identifier: BSD-2-Clause
"""The churn of tools/churn, small and short, so that every run of the tests has it."""
import json
import os
import sys

from tests.lib import BUILD, ROOT
from tests.lib.capture import Capture
from tests.lib.case import between, case, equal
from tests.lib.dpdk import dataplane

sys.path.insert(0, os.path.join(ROOT, "tools", "churn"))

import churn  # noqa: E402

SMALL = churn.Settings(streams=1200, seconds=20, flood=5000, dataplane=dataplane())


def run(t, settings: churn.Settings) -> dict:
    t.need("sluiced", "sluicectl", "mockbackend", "loadgen", "synflood", "decap.bpf.o", "xdpattach")
    report = churn.run(settings, print, log_dir=t.log_dir)
    between(report["streams_at_once"], settings.streams, settings.streams, "streams at once")
    print({k: v for k, v in report.items() if k != "unexplained"})
    return report


@case("1,200 streams live on while nodes drain, degrade, come and go, and the agent is killed",
      timeout_s=150, alone=True)
def small(t):
    report = run(t, SMALL)
    equal(report["unexplained"], [], "streams broken by the balancer")
    between(report["counters"]["flow_learned"], 1, 100000, "flows learned")
    between(report["counters"]["slots_written"], 1000, 10**9, "slots written")


@case("the same changes break streams when exceptions are turned off", timeout_s=120, alone=True)
def control(t):
    report = run(t, churn.control_of(churn.dataclasses.replace(SMALL, streams=600, seconds=12)))
    between(report["broken_by_balancer"], 1, 10000, "streams broken without exceptions")


@case("synflood sends well-formed SYNs at its rate, to private addresses only")
def synflood(t):
    t.need("synflood")
    tb = t.testbed(nodes=1)
    argv = [os.path.join(BUILD, "synflood"), "--dev", tb.client.dev, "--mac", tb.ingress.mac]
    with Capture(tb.ingress, "tcp and (src net 10.128.0.0/9 or ip6)", snap=256) as capture:
        done = tb.client.run([*argv, "--rate", "1000", "--seconds", "1", f"{tb.vip4}:8000",
                              f"[{tb.vip6}]:8000"])
        sent = json.loads(done.stdout)["sent"]
        between(sent, 100, 1100, "sent in a second")
        frames = [f for f in capture.wait_for(sent) if f.ip.tcp_flags == 2]
    equal(len(frames), sent, "SYNs that arrived")
    equal([f for f in frames if f.ip.bad_sums], [], "wrong checksums")
    equal({f.ip.dst for f in frames}, {tb.vip4, tb.vip6}, "destinations")
    between(len({f.ip.src for f in frames}), sent * 0.99, sent, "sources")
    refused = tb.client.run([*argv, "--seconds", "1", "8.8.8.8:80"], check=False)
    equal(refused.returncode, 2, refused.stderr)
