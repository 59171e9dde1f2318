# SPDX-License-Identifier: BSD-2-Clause
"""build/sluiced on an ingress host: started until ready, asked, killed, started again."""
from __future__ import annotations

import json
import os
import re
import socket
import time

from sluice_testbed import Host, TestbedError

from tests.lib import program, unixhttp
from tests.lib.wait import wait_until


class NotifySocket:
    """The receiving end of sd_notify()."""

    def __init__(self, path: str):
        self.path = path
        self.messages: list[str] = []
        if os.path.exists(path):
            os.unlink(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.setblocking(False)
        self.socket.bind(path)

    def poll(self) -> list[str]:
        """All assignments received so far, in order: ["STATUS=...", "READY=1", ...]."""
        while True:
            try:
                data = self.socket.recv(65536)
            except BlockingIOError:
                return self.messages
            self.messages += data.decode("utf-8", "replace").splitlines()

    def close(self) -> None:
        self.socket.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


class Agent:
    """
    sluiced in a host of the testbed. config: the text of the file, or a dict, which is written as
    JSON (YAML includes it). A dict is completed with this testbed's socket, pin directory and
    interfaces where it names none.
    """

    def __init__(self, host: Host, config: str | dict, name: str = "sluiced", sanitized=False):
        testbed = host.testbed
        self.host = host
        self.name = name
        self.program = program("sluiced", "san" if sanitized else "")
        base = os.path.join(testbed.run_dir, f"{host.name}-{name}")
        self.socket = f"{base}.sock"
        self.config_path = f"{base}.yaml"
        self.notify_path = f"{base}.notify"
        self.pin_dir = host.pin_dir
        self.process = None
        self.notify: NotifySocket | None = None
        self.write_config(config)

    def write_config(self, config: str | dict) -> None:
        """Replace the file in one step, as an editor or a deployment does."""
        if isinstance(config, dict):
            agent = {"socket": self.socket, "pin_dir": self.pin_dir}
            agent["interfaces"] = [{"name": leg.dev} for leg in self.host.plan.legs]
            config = {**agent, **config}
            config = json.dumps(config, indent=2)
        tmp = f"{self.config_path}.new"
        with open(tmp, "w", encoding="utf-8") as f:
            f.write(config + "\n")
        os.rename(tmp, self.config_path)

    def start(self, wait: bool = True, timeout_s: float = 10, args: tuple[str, ...] = (),
              env: dict[str, str] | None = None, before: tuple[str, ...] = (), **kwargs):
        """
        Start it; with wait=True until it says that it is ready. args: more options; env: variables
        beside those of this process; before: a program that runs it (setpriv, strace); kwargs: as
        subprocess.Popen.
        """
        if self.notify:
            self.notify.close()
        self.notify = NotifySocket(self.notify_path)
        env = {**os.environ, "NOTIFY_SOCKET": self.notify_path, **(env or {})}
        argv = [*before, self.program, "--config", self.config_path, *args]
        self.process = self.host.popen(argv, name=self.name, env=env, **kwargs)
        if wait:
            self.wait_ready(timeout_s)
        return self

    def wait_ready(self, timeout_s: float = 10) -> None:
        wait_until(self._ready, timeout_s, f"{self.name} on {self.host.name} is ready")

    def _ready(self) -> bool:
        if "READY=1" in self.notify.poll():
            return True
        if not self.process.running():
            raise TestbedError(
                f"{self.name} on {self.host.name} ended with status {self.process.returncode}:\n"
                f"{self.process.tail()}"
            )
        return False

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> int:
        """SIGKILL, as a crash; what it pinned stays."""
        return self.process.kill()

    def stop(self) -> int:
        """SIGTERM; what it pinned stays. Its exit status."""
        return self.process.stop()

    def restart(self, **kwargs) -> "Agent":
        """End it by SIGKILL, if it runs, and start it again."""
        if self.process and self.process.running():
            self.kill()
        return self.start(**kwargs)

    def ctl_run(self, *words: str, timeout_s: float = 90):
        """sluicectl WORDS; the CompletedProcess, whatever its status."""
        argv = [program("sluicectl"), "--socket", self.socket, *words]
        return self.host.run(argv, check=False, timeout_s=timeout_s)

    def ctl(self, *words: str, timeout_s: float = 90):
        """sluicectl --json WORDS; the decoded answer. A failure is an error."""
        done = self.ctl_run("--json", *words, timeout_s=timeout_s)
        if done.returncode:
            raise TestbedError(
                f"sluicectl {' '.join(words)}: exit status {done.returncode}: "
                f"{(done.stderr or done.stdout).strip()}"
            )
        return json.loads(done.stdout) if done.stdout.strip() else None

    def nodes(self) -> dict[str, dict]:
        """What it reports of each node, by name."""
        return {node["name"]: node for node in self.ctl("backends")["backends"]}

    def states(self) -> dict[str, str]:
        return {name: node["state"] for name, node in self.nodes().items()}

    def wait_states(self, timeout_s: float = 15, **want: str) -> None:
        """Wait until these nodes have these states: wait_states(node1="healthy")."""
        wait_until(lambda: {**(now := self.states()), **want} == now, timeout_s,
                   f"states {want}", interval_s=0.05)

    def wait_all(self, state: str = "healthy", timeout_s: float = 15) -> None:
        wait_until(lambda: set(self.states().values()) == {state}, timeout_s,
                   f"all nodes are {state}", interval_s=0.05)

    def api(self, target: str, method: str = "GET", data=None, timeout_s: float = 20):
        """A request to the API socket; the decoded answer. An error status is HttpError."""
        return unixhttp.request(self.socket, method, target, data, timeout_s)

    def wait_log(self, pattern: str, timeout_s: float, since: int = 0) -> re.Match:
        """Wait for a log line; since: skip so many characters (len(agent.process.output()))."""
        compiled = re.compile(pattern, re.MULTILINE)
        return wait_until(
            lambda: compiled.search(self.process.output()[since:]),
            timeout_s,
            f"{self.name} logs /{pattern}/",
        )

    def memory_kib(self, kind: str = "VmRSS") -> int:
        """Resident memory; RssAnon: without the maps of the kernel and the program's own file."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith(f"{kind}:"):
                    return int(line.split()[1])
        raise TestbedError(f"{self.name}: no {kind}")

    def cpu_s(self) -> float:
        """Processor time it has used so far."""
        with open(f"/proc/{self.pid}/stat", "rb") as f:
            fields = f.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_share(self, duration_s: float) -> float:
        """Share of one core that it uses over so long."""
        began, used = time.monotonic(), self.cpu_s()
        time.sleep(duration_s)
        return (self.cpu_s() - used) / (time.monotonic() - began)
