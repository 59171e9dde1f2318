# SPDX-License-Identifier: BSD-2-Clause
"""What the README tells its reader to type, typed."""
import json
import os
import re
import shlex
import signal
import subprocess
import tempfile

from sluice_testbed.cli import DEFAULT_PREFIX
from sluice_testbed.state import state_path

from tests.lib import BUILD, ROOT
from tests.lib.case import case, equal

TESTBED = os.path.join(ROOT, "tools", "testbed", "testbed")
SLUICECTL = os.path.join(BUILD, "sluicectl")
SOCKET = "/run/sluice-quickstart.sock"
MARK = "@@ "


def section(title: str) -> str:
    """The text below a heading of the README, to the next one of its rank."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        text = f.read()
    return re.search(rf"^## {title}$(.*?)^## ", text, re.M | re.S)[1]


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
            status = shell.wait(100)
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


@case("the README's quick start does what it says, line by line, and leaves nothing", timeout_s=150)
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


@case("the README's configuration is accepted", timeout_s=30)
def configuration(t):
    t.need("sluicectl")
    [text] = blocks(section("On a real machine"), "yaml")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=t.log_dir, delete=False) as f:
        f.write(text)
    done = subprocess.run([SLUICECTL, "check-config", f.name],
                          capture_output=True, text=True, timeout=10, check=False)
    equal((done.returncode, done.stderr), (0, ""), "check-config")
