# SPDX-License-Identifier: BSD-2-Clause
"""The threads of the agent (loop, API, metrics, answers of this host) under ThreadSanitizer."""
import os
import threading
import time

from tests.lib import config, loadgen, mock, program
from tests.lib.agent import Agent
from tests.lib.case import case, equal
from tests.lib.wait import wait_until

TLS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "fixtures", "tls")
RACES_S = float(os.environ.get("RACES_S", "15"))
ANSWERS = [  # what a VIP answers with, one reload after another
    {"cache": [{"path": "/v1/models", "refresh": "100ms"}]},
    {"status": 529, "retry_min": "100ms", "retry_max": "1s"},
    {"enabled": False},
    {"certificate_file": f"{TLS}/node.pem", "key_file": f"{TLS}/node.key",
     "cache": [{"path": "/v1/models", "refresh": "100ms"}]},
]


class Pests:
    """Threads that do the same again and again until the end; what went wrong in one is raised."""

    def __init__(self, *what):
        self.stop, self.errors, self.counts = threading.Event(), [], [0] * len(what)
        self.threads = [threading.Thread(target=self.run, args=each) for each in enumerate(what)]
        for thread in self.threads:
            thread.start()

    def run(self, index: int, what) -> None:
        try:
            while not self.stop.is_set():
                what()
                self.counts[index] += 1
        except Exception as e:  # told by end(), where it fails the test
            self.errors.append(e)

    def end(self) -> list[int]:
        self.stop.set()
        for thread in self.threads:
            thread.join()
        for error in self.errors:
            raise error
        return self.counts


def reloads(agent: Agent, settings: dict):
    """Two VIPs, whose answers take turns; the second also comes and goes, as does a node."""
    vips, nodes = settings["vips"], settings["pools"][0]["nodes"]
    turn = [0]

    def reload() -> None:
        turn[0] += 1
        for i, vip in enumerate(vips):
            vip["fallback"] = ANSWERS[(turn[0] + i) % len(ANSWERS)]
        settings["vips"] = vips if turn[0] % 3 else vips[:1]
        settings["pools"][0]["nodes"] = nodes if turn[0] % 2 else nodes[:1]
        agent.write_config(settings)
        agent.api("/v1/reload", "POST", timeout_s=60)
        time.sleep(0.15)

    return reload


@case("no data race among answers, scrapes, reloads, reports and checks that go on at once",
      timeout_s=60 + 2 * RACES_S)
def races(t):
    t.need("tsan/sluiced", "mockbackend", "loadgen", "decap.bpf.o", "xdpattach", "curl")
    tb = t.testbed(nodes=2)
    for vips, bits in ((tb.plan.vips4, 32), (tb.plan.vips6, 128)):
        for vip in vips:
            tb.ingress.ip("addr", "del", f"{vip}/{bits}", "dev", "lo")
    mocks = mock.start_all(tb)
    for node in tb.nodes:
        node.attach_decap()
    settings = config.one_pool(tb)
    agent = Agent(tb.ingress, settings)
    agent.program = program("sluiced", "tsan")
    agent.start(timeout_s=60, env={"TSAN_OPTIONS": f"log_path={t.log_dir}/report"})
    agent.wait_all()

    def fleet() -> None:
        for server in mocks.values():
            server.kill()
        time.sleep(1.5)
        for server in mocks.values():
            server.start()
        time.sleep(1.5)

    def load() -> None:
        options = {"count": 200, "concurrency": 40, "tokens": 3, "silence": 20, "allow": 200}
        loadgen.run(tb.client, "spread", [loadgen.url(tb.vip4), loadgen.url(tb.vip6)], **options)

    def tls() -> None:
        tb.client.run(["curl", "-sk", "-m5", "-o/dev/null", f"https://{tb.vip4}:{mock.PORT}/x",
                       f"https://[{tb.vip6}]:{mock.PORT}/v1/models"], check=False)

    def scrape() -> None:  # a page that a reload overtakes breaks off
        tb.ingress.run(["curl", "-s", "-m20", "-o/dev/null", "http://127.0.0.1:9911/metrics",
                        "-o/dev/null", "http://127.0.0.1:9911/"], check=False)

    def report() -> None:
        for page in ("/v1/status", "/v1/backends", "/v1/vips"):
            agent.api(page, timeout_s=60)

    pests = Pests(fleet, load, tls, scrape, report, reloads(agent, settings))
    time.sleep(RACES_S)
    wait_until(lambda: min(pests.counts) >= 2 or pests.errors, RACES_S, "each has done it twice")
    counts = pests.end()
    print(f"fleet {counts[0]}, load {counts[1]}, tls {counts[2]}, scrapes {counts[3]}, "
          f"reports {counts[4]}, reloads {counts[5]}")
    assert min(counts) >= 2, counts
    wait_until(lambda: agent.api("/v1/status")["fallback"]["accepted"] > 0, 5,
               "answers were asked for")
    equal(agent.stop(), 0, "exit status of the agent, which is 66 after a report")
