# SPDX-License-Identifier: BSD-2-Clause
"""What the README and its two guides tell their reader to type, typed."""
import json
import os
import re
import shlex
import shutil
import signal
import subprocess

from sluice_testbed.cli import DEFAULT_PREFIX
from sluice_testbed.state import state_path

from tests.lib import BUILD, ROOT, config, loadgen, mock, program
from tests.lib.agent import Agent
from tests.lib.case import case, equal

TESTBED = os.path.join(ROOT, "tools", "testbed", "testbed")
SLUICECTL = program("sluicectl")
SOCKET = "/run/sluice-quickstart.sock"
MARK = "@@ "
POLL_MODE = "userspace/dpdk/README.md"


def page(path: str) -> str:
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def section(title: str, path: str = "README.md") -> str:
    """The text below a heading, to the next one of its rank."""
    return re.search(rf"^## {title}$(.*?)^## ", page(path), re.M | re.S)[1]


def blocks(text: str, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def marked(script: str) -> str:
    """Each command that is no part of a loop is announced in the output, and stops at a failure."""
    out = ["set -e"]
    depth = 0
    for line in script.splitlines():
        words = line.split()
        if words and depth == 0 and words[0] not in ("make", "done"):
            out.append(f"echo {shlex.quote(MARK + json.dumps(line))}")
        depth += bool(words) and words[0] == "for"
        depth -= bool(words) and words[0] == "done"
        if words and words[0] != "make":
            out.append(line)
    return "\n".join(out) + "\n"


def typed(script: str, log: str) -> tuple[int, dict[str, str]]:
    """Run it; returns the exit status, and the output of each command by its line."""
    with open(log, "wb+") as out:
        shell = subprocess.Popen(["bash", "-c", marked(script)], cwd=ROOT, stdout=out,
                                 stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                 start_new_session=True)
        try:
            status = shell.wait(400)
        finally:
            for words in ([SLUICECTL, "--socket", SOCKET, "detach"], [TESTBED, "down"]):
                subprocess.run(words, capture_output=True, timeout=60, check=False)
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
        out.seek(0)
        text = out.read().decode()
    parts = [part.split("\n", 1) for part in text.split(MARK)[1:]]
    return status, {json.loads(head): body for head, body in parts}


def only(outputs: dict[str, str], start: str) -> str:
    found = [body for line, body in outputs.items() if line.startswith(start)]
    equal(len(found), 1, f"commands that begin with {start!r}")
    return found[0]


@case("the README's quick start does what it says, line by line, and leaves nothing", timeout_s=150,
      alone=True)
def quick_start(t):
    t.need("sluiced", "sluicectl", "mockbackend", "loadgen", "xdpattach", "curl")
    if os.path.exists(state_path(DEFAULT_PREFIX)):
        t.skip("somebody's testbed is up: tools/testbed/testbed down")
    log = os.path.join(t.log_dir, "quick_start")
    status, outputs = typed(blocks(section("Quick start"))[0], log)
    if status != 0:
        raise AssertionError(f"the quick start ended with {status} at {list(outputs.items())[-1]}")
    equal(json.loads(only(outputs, "at client curl").strip())["object"], "list", "list of models")
    backends = only(outputs, "build/sluicectl backends").splitlines()
    equal([row.split()[0] for row in backends if " healthy " in row],
          [f"mock/node{n}" for n in range(1, 5)], "healthy nodes")
    node2 = json.loads(only(outputs, "curl -s --unix-socket"))
    equal((node2["name"], node2["state"]), ("node2", "healthy"), "what the API says of node2")
    equal(os.path.exists(state_path(DEFAULT_PREFIX)), False, "testbed left behind")
    equal(os.path.exists("/sys/fs/bpf/sluice-quickstart"), False, "pins left behind")


@case("the page on poll mode: what it says of packet sockets and TAP devices, typed", timeout_s=60)
def poll_mode_typed(t):
    t.need("sluiced", "sluice-dpdk", "sluicectl", "mockbackend", "loadgen", "decap.bpf.o", "nft")
    tb = t.testbed(nodes=2)
    mock.start_all(tb)
    for node in tb.nodes:
        node.attach_decap()
    host, leg = tb.ingress, tb.ingress.leg()
    setup, mute = blocks(re.sub(r"^```yaml\n.*?^```\n", "", page(POLL_MODE), flags=re.M | re.S))
    lines = [x for x in mute.splitlines() + setup.splitlines() if x.startswith(("ip ", "nft "))]
    equal(len(lines), 6, "commands that this test can type")
    for line in lines:
        host.run(["sh", "-c", line.replace("10.0.0.2/24", f"{leg.ip4}/24")])
    for route in host.plan.routes:
        if ":" not in route:
            host.ip("route", "replace", *route.split())
    form = re.search(r'`"(net_af_packet0,[^"]*)"`', page(POLL_MODE))[1]
    form = form.replace("qpairs=2", "qpairs=1")
    assert "iface=eth0" in form and leg.dev == "eth0", form
    settings = {
        **config.one_pool(tb), "dataplane": "dpdk",
        "interfaces": [{"name": "sluice0", "device": form}],
        "dpdk": {"huge_pages": False}, "vips": config.vips(tb, "pool", families=(4,))}
    agent = Agent(host, settings).start()
    dpdk = host.popen([os.path.join(BUILD, "sluice-dpdk"), "--config", agent.config_path,
                       "--idle-us", "20"], name="sluice-dpdk")
    agent.wait_all(timeout_s=20)
    report = loadgen.run(tb.client, "spread", loadgen.url(tb.vip4), count=200, duration=15)
    equal((report["completed"], report["causes"]), (200, {}), "connections")
    equal(dpdk.stop(), 0, "exit status of sluice-dpdk")


def make_key(t) -> None:
    """As the README makes it."""
    [command] = re.findall(r"^\(umask.*hash\.key\)", section("On a real machine"), re.MULTILINE)
    subprocess.run(["sh", "-c", command.replace("/etc/sluice", t.log_dir)], timeout=10, check=True)


@case("the page on poll mode: its configuration and each device are accepted")
def poll_mode_configuration(t):
    t.need("sluicectl")
    text = blocks(section("On a real machine"), "yaml")
    forms = re.findall(r'`("[^"`]*")`', page(POLL_MODE))
    assert len(forms) >= 8, forms
    make_key(t)
    for form in ['"0000:01:00.0"', *forms]:
        path = os.path.join(t.log_dir, "poll.yaml")
        whole = re.sub(r"interfaces:\n(?:  .*\n)+", "", text[0]) + \
            blocks(page(POLL_MODE), "yaml")[0]
        with open(path, "w", encoding="utf-8") as f:
            f.write(whole.replace('"0000:01:00.0"', form))
        done = subprocess.run([SLUICECTL, "check-config", path], capture_output=True, text=True,
                              timeout=10, check=False)
        equal((done.returncode, done.stderr), (0, ""), f"check-config with {form}")


@case("the configurations of README and guides are accepted", timeout_s=30)
def configuration(t):
    t.need("sluicectl")
    [first] = blocks(section("On a real machine"), "yaml")
    [more] = blocks(section("Pools as they are in real life", "userspace/operating.md"), "yaml")
    head, vips = first.split("vips:\n")
    make_key(t)
    for name, text in (("first", first), ("more", head + more + vips)):
        path = os.path.join(t.log_dir, f"{name}.yaml")
        for named in re.findall(r"/etc/sluice/([a-z.]+)", text):
            with open(os.path.join(t.log_dir, named), "w", encoding="utf-8"):
                pass
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace("/etc/sluice/", t.log_dir + "/"))
        done = subprocess.run([SLUICECTL, "check-config", path],
                              capture_output=True, text=True, timeout=10, check=False)
        equal((done.returncode, done.stderr), (0, ""), f"check-config of {name}")


@case("the configuration of Prometheus in the guide is accepted, with the rules", timeout_s=30)
def prometheus(t):
    t.need("promtool")
    [text] = blocks(section("Monitoring", "userspace/operating.md"), "yaml")
    path = os.path.join(t.log_dir, "prometheus.yml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    shutil.copy(os.path.join(ROOT, "tools", "prometheus", "sluice.rules.yml"), t.log_dir)
    done = subprocess.run(["promtool", "check", "config", path],
                          capture_output=True, text=True, timeout=20, check=False)
    equal((done.returncode, "SUCCESS" in done.stdout), (0, True), done.stdout + done.stderr)
