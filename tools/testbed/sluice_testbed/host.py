# SPDX-License-Identifier: BSD-2-Clause
"""A namespace that plays a machine, and the programs started in it."""
from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import typing

from .plan import HostPlan, Leg
from .signals import TestbedError, signals
from .system import enter, netns_path, setns_thread, write_sysctls

if typing.TYPE_CHECKING:
    from .testbed import Testbed

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../.."))
BUILD = os.path.join(ROOT, "build")


class Process:
    """A program started inside a host, in a process group of its own. Output goes to `log`."""

    def __init__(self, host: "Host", popen: subprocess.Popen, name: str, log: str):
        self.host = host
        self.popen = popen
        self.name = name
        self.log = log
        self.pidfd = os.pidfd_open(popen.pid)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def returncode(self) -> int | None:
        return self.popen.poll()

    def running(self) -> bool:
        return self.popen.poll() is None

    def send(self, signum: int) -> None:
        """Signal this one process; nothing happens if it has ended."""
        if self.popen.poll() is None:
            signal.pidfd_send_signal(self.pidfd, signum)

    def kill(self) -> int:
        """End it by SIGKILL; its exit status."""
        self.send(signal.SIGKILL)
        return self.wait(5)

    def stop(self, timeout_s: float = 20.0) -> int:
        """
        End it by SIGTERM, after timeout_s by SIGKILL; its exit status. Continued first, if it was
        stopped: SIGCONT takes away the SIGSTOP by which a leak check at the end holds its process.
        """
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def wait(self, timeout_s: float) -> int:
        """Its exit status; TestbedError if it is still running after timeout_s."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TestbedError(
                f"{self.name} on {self.host.name} still runs after {timeout_s} s; log: {self.log}"
            ) from None

    def output(self) -> str:
        """Everything it has written so far."""
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def tail(self, lines: int = 20) -> str:
        return "\n".join(self.output().splitlines()[-lines:])

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Host:
    """A namespace that plays a machine."""

    def __init__(self, testbed: "Testbed", plan: HostPlan):
        self.testbed = testbed
        self.plan = plan
        self.name = plan.name
        self.role = plan.role
        self.ns = testbed.prefix + plan.name
        self.ns_path = netns_path(self.ns)
        self.processes: list[Process] = []

    def __repr__(self) -> str:
        return f"<host {self.ns}>"

    def leg(self, segment: str | None = None) -> Leg:
        """The leg on a segment; without a name, the first."""
        for leg in self.plan.legs:
            if segment is None or leg.segment.name == segment:
                return leg
        raise TestbedError(f"{self.name} has no leg on segment {segment}")

    @property
    def dev(self) -> str:
        return self.leg().dev

    @property
    def ip4(self) -> str:
        return self.leg().ip4

    @property
    def ip6(self) -> str:
        return self.leg().ip6

    @property
    def mac(self) -> str:
        return self.leg().mac

    def enter(self, argv: list[str]) -> list[str]:
        """The command line that runs argv inside this host, in the caller's mount namespace."""
        return enter(self.ns, [str(word) for word in argv])

    def popen(self, argv: list[str], name: str | None = None, **kwargs) -> Process:
        """
        Start a program. It is ended when the testbed goes down. kwargs: as subprocess.Popen.
        It is born inside the namespace, so there is no moment when `down` would not find it.
        """
        name = name or os.path.basename(str(argv[0]))
        log = self.testbed.log_path(f"{self.name}-{name}")
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        with signals.hold(), open(log, "wb") as out:
            kwargs.setdefault("stdout", out)
            kwargs.setdefault("stderr", out)
            popen = self.call(subprocess.Popen, [str(word) for word in argv], process_group=0,
                              **kwargs)
            process = Process(self, popen, name, log)
            self.processes.append(process)
        return process

    def run(self, argv: list[str], check: bool = True, timeout_s: float = 90,
            text_in: str | None = None, **kwargs) -> subprocess.CompletedProcess:
        """Run a program to its end; CompletedProcess with text. check: failure is an error."""
        argv = [str(word) for word in argv]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        pipes["stdin"] = subprocess.DEVNULL if text_in is None else subprocess.PIPE
        with signals.hold():
            popen = self.call(subprocess.Popen, argv, process_group=0, **pipes, **kwargs)
        with popen:
            try:
                out, err = popen.communicate(text_in, timeout_s)
            except BaseException as e:
                os.killpg(popen.pid, signal.SIGKILL)
                if not isinstance(e, subprocess.TimeoutExpired):
                    raise
                raise TestbedError(
                    f"{self.name}: {shlex.join(argv)}: no end in {timeout_s} s"
                ) from None
        done = subprocess.CompletedProcess(argv, popen.returncode, out, err)
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise TestbedError(
                f"{self.name}: {shlex.join(argv)}: exit status {done.returncode}: {said}"
            )
        return done

    def call(self, fn, *args, **kwargs):
        """Call a Python function in a thread inside this host: sockets it opens belong here."""
        return setns_thread(self.ns_path, fn, args, kwargs)

    def ip(self, *words: str, check: bool = True) -> str:
        """`ip WORDS` inside this host; what it printed."""
        return self.run(["ip", *words], check=check).stdout

    def ip_json(self, *words: str):
        return json.loads(self.ip("-j", *words) or "[]")

    def sysctl(self, values: dict[str, object]) -> None:
        """Set sysctls: {"net.ipv4.ip_forward": 1}. Device names in keys must hold no dot."""
        self.call(write_sysctls, values)

    def curl_json(self, url: str, method: str = "GET", data=None, timeout_s: float = 20):
        """Request url from inside this host; the decoded JSON body. Error status is an error."""
        argv = ["curl", "-sS", "--fail-with-body", "--globoff", "--max-time", str(timeout_s)]
        argv += ["-X", method]
        if data is not None:
            argv += ["-H", "Content-Type: application/json", "--data-binary", json.dumps(data)]
        body = self.run([*argv, url], timeout_s=timeout_s + 2).stdout
        try:
            return json.loads(body) if body.strip() else None
        except ValueError:
            raise TestbedError(f"{self.name}: {url}: not JSON: {body[:200]!r}") from None

    def attach_xdp(self, obj: str, program: str | None = None, mode: str = "native",
                   dev: str | None = None, pin: bool = False,
                   options: tuple[str, ...] = ()) -> None:
        """
        Attach an XDP program from an object file under build/, in place of one that is there.
        pin: its maps go to the directory self.pin_dir, where bpftool finds them. options: of
        xdpattach.
        """
        argv = [os.path.join(BUILD, "xdpattach"), "--mode", mode, "--replace"]
        argv += ["--program", program] if program else []
        argv += ["--pin", self.pin_dir] if pin else []
        argv += options
        self.run([*argv, os.path.join(BUILD, obj), dev or self.dev])

    def detach_xdp(self, mode: str = "native", dev: str | None = None) -> None:
        self.run([os.path.join(BUILD, "xdpattach"), "--mode", mode, "--detach", dev or self.dev])

    def attach_decap(self, mode: str = "native", gue_ports: tuple[int, ...] = ()) -> None:
        """
        Have outer headers (ipip, gue) taken off on every leg: bpf/decap.bpf.c. gue_ports: in
        place of 6080. Its counters:
        `bpftool map dump pinned PIN_DIR/decap_stats`.
        """
        for leg in self.plan.legs:
            options = tuple(word for p in gue_ports for word in ("--gue-port", str(p)))
            self.attach_xdp("decap.bpf.o", mode=mode, dev=leg.dev, pin=True, options=options)

    @property
    def pin_dir(self) -> str:
        """A directory under /sys/fs/bpf for this host; it goes with the testbed."""
        return os.path.join(self.testbed.pin_dir, self.name)

    def plug(self, connected: bool, segment: str | None = None) -> None:
        """Pull or plug the cable: the switch side of the leg goes down or up."""
        leg = self.leg(segment)
        self.testbed.fabric_ip("link", "set", leg.port, "up" if connected else "down")

    def filter_port(self, port: int, filtered: bool = True) -> None:
        """Have TCP and UDP packets to a port of this host vanish, as behind a packet filter."""
        table = f"inet filter-{port}"
        if not filtered:
            self.run(["nft", "delete", "table", *table.split()])
            return
        rules = (f"table {table} {{ chain input {{ type filter hook input priority 0; "
                 f"th dport {port} meta l4proto {{ tcp, udp }} drop; }}; }}")
        self.run(["nft", "-f", "-"], text_in=rules)
