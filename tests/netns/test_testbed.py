# SPDX-License-Identifier: BSD-2-Clause
"""The testbed itself: what it builds carries traffic, and it goes away however it ends."""
import glob
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from unittest import mock

from sluice_testbed import system
from sluice_testbed import TestbedError

from tests.lib import ROOT
from tests.lib.capture import Capture
from tests.lib.case import between, case, equal
from tests.lib.transfer import transfer
from tests.lib.wait import wait_until

COMMAND = os.path.join(ROOT, "tools", "testbed", "testbed")

# A program that owns a testbed, says when it begins and when it is up, and waits.
OWNER = f"""
import sys, time
sys.path.insert(0, {os.path.dirname(COMMAND)!r})
import sluice_testbed
def main():
    print("begin", flush=True)
    with sluice_testbed.Testbed(prefix=sys.argv[1], log_dir=sys.argv[2]) as tb:
        tb.client.popen(["sleep", "1000"])
        print("up", flush=True)
        time.sleep(60)
sys.exit(sluice_testbed.run_main(main))
"""


def new_prefix() -> str:
    return f"slt{secrets.token_hex(3)}-"


def command(*words: str, prefix: str | None = None, **kwargs) -> subprocess.CompletedProcess:
    argv = [sys.executable, COMMAND, words[0]]
    argv += ["--prefix", prefix] if prefix else []
    return subprocess.run([*argv, *words[1:]], capture_output=True, text=True, timeout=60, **kwargs)


def spawn_owner_up(prefix: str, log_dir: str) -> subprocess.Popen:
    owner = spawn_owner(prefix, log_dir)
    equal([owner.stdout.readline() for _ in range(2)], [b"begin\n", b"up\n"], "the owner says")
    return owner


def spawn_owner(prefix: str, log_dir: str) -> subprocess.Popen:
    """Signals at their defaults: a shell may have started us with SIGINT ignored."""

    def default_signals() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, "-c", OWNER, prefix, log_dir],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        preexec_fn=default_signals,
    )


def guards_of(prefix: str) -> list[int]:
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if b"guard" in words and prefix.encode() in words:
            found.append(int(path.split("/")[2]))
    return found


def leftovers(prefix: str) -> list[str]:
    """Everything of a testbed that can be seen on this machine."""
    patterns = [
        f"/run/netns/{prefix}*",
        f"/run/sluice-testbed/{prefix}*",
        f"/sys/fs/bpf/sluice-testbed-{prefix}*",
    ]
    found = [path for pattern in patterns for path in glob.glob(pattern)]
    return found + [f"guard {pid}" for pid in guards_of(prefix)]


def ping(host, address: str, *options: str, wait_s: int = 20) -> bool:
    """Whether an answer comes; wait_s: until it is given up."""
    done = host.run(["ping", "-c1", f"-W{wait_s}", *options, address], check=False)
    return done.returncode == 0


def silent(host, address: str, *options: str) -> bool:
    return not ping(host, address, *options, wait_s=1)


def everybody_reaches_everybody(tb) -> None:
    for source in tb.hosts.values():
        for target in tb.hosts.values():
            for leg in target.plan.legs:
                for address in (leg.ip4, leg.ip6):
                    assert ping(source, address), f"{source.name} does not reach {address}"


def clients_reach_vips_at_ingress(tb) -> None:
    """Before there is a balancer, the address answers at the host that will be one."""
    for address in (tb.vip4, tb.vip6):
        with Capture(tb.ingress, f"dst {address}", dev="eth0") as capture:
            assert ping(tb.client, address), f"no answer from {address}"
            capture.wait_for(1)


@case("flat: every host reaches every other and clients reach the VIPs through ingress")
def flat_reachability(t):
    tb = t.testbed(nodes=3, clients=2, ingress=2)
    everybody_reaches_everybody(tb)
    clients_reach_vips_at_ingress(tb)


@case("routed: every host reaches every other through the router")
def routed_reachability(t):
    tb = t.testbed(layout="routed", nodes=2)
    everybody_reaches_everybody(tb)
    clients_reach_vips_at_ingress(tb)


@case("split, with a router before the clients: every host reaches every other")
def split_reachability(t):
    tb = t.testbed(layout="split", nodes=2, edge=True)
    everybody_reaches_everybody(tb)
    clients_reach_vips_at_ingress(tb)


@case("a full-sized packet fits between ingress and nodes with an outer header, and not to clients")
def sizes(t):
    tb = t.testbed(nodes=1, mtu=1500, backend_mtu=1600)
    node = tb["node1"]
    assert ping(tb.ingress, node.ip4, "-Mdo", f"-s{1600 - 28}")
    assert ping(tb.ingress, node.ip6, "-Mdo", f"-s{1600 - 48}")
    assert silent(tb.ingress, node.ip4, "-Mdo", f"-s{1601 - 28}")
    assert ping(node, tb.client.ip4, "-Mdo", f"-s{1500 - 28}")
    assert silent(node, tb.client.ip4, "-Mdo", f"-s{1501 - 28}")


@case("a small MTU behind the clients' router is reported to the sender")
def access_mtu(t):
    tb = t.testbed(nodes=1, edge=True, access_mtu=1400)
    node = tb["node1"]
    assert silent(node, tb.client.ip4, "-Mdo", "-s1450")
    wait_until(lambda: "mtu 1400" in node.ip("route", "get", tb.client.ip4), 5, "the MTU is known")


# --------------------------------------------------------------------------------------------------
# Frames that leave a host by XDP


def relayed_traffic_is_intact(tb) -> None:
    node = tb["node1"]
    for address in (tb.vip4, tb.vip6):
        with Capture(node, f"tcp and dst {address}") as capture:
            transfer(tb.client, node, address, 4)
            capture.wait_for(100)
        frames = capture.stop()
        for frame in frames:
            equal(frame.ip.bad_sums, [], f"wrong checksums in {frame}")
            equal(frame.dst, node.mac, "destination address")
    for address in (tb.vip4, tb.vip6):
        transfer(tb.client, node, address, 60).flowed(address)
    for line in node.run(["nstat", "-az"]).stdout.splitlines():
        if "CsumErrors" in line:
            equal(int(line.split()[1]), 0, line)


@case("frames sent by native XDP_TX arrive, without stalls and with right checksums", alone=True)
def native_tx(t):
    t.need("xdpattach", "tests/xdp_relay.bpf.o")
    tb = t.testbed(nodes=2)
    tb.ingress.attach_xdp("tests/xdp_relay.bpf.o", program="xdp_relay_tx")
    relayed_traffic_is_intact(tb)


@case("frames redirected by native XDP arrive, without stalls and with right checksums", alone=True)
def native_redirect(t):
    t.need("xdpattach", "tests/xdp_relay.bpf.o")
    tb = t.testbed(layout="split", nodes=2)
    tb.ingress.attach_xdp("tests/xdp_relay.bpf.o", program="xdp_relay_redirect")
    relayed_traffic_is_intact(tb)


@case("frames sent by generic XDP arrive with right checksums", alone=True)
def generic_tx(t):
    t.need("xdpattach", "tests/xdp_relay.bpf.o")
    tb = t.testbed(nodes=2)
    tb.ingress.attach_xdp("tests/xdp_relay.bpf.o", program="xdp_relay_tx", mode="generic")
    relayed_traffic_is_intact(tb)


@case("a pulled cable stops traffic and a plugged one lets it pass again")
def cable(t):
    tb = t.testbed(nodes=1)
    node = tb["node1"]
    assert ping(tb.client, node.ip4)
    node.plug(False)
    assert silent(tb.client, node.ip4)
    node.plug(True)
    wait_until(lambda: ping(tb.client, node.ip4, wait_s=1), 5, "traffic passes again")


# --------------------------------------------------------------------------------------------------
# It goes away


@case("up and down from the command line: exec and status between, nothing after")
def command_line(t):
    prefix = new_prefix()
    try:
        done = command("up", "--nodes", "2", prefix=prefix)
        equal(done.returncode, 0, done.stderr)
        equal(guards_of(prefix), [], "guards of a testbed that stays")
        again = command("up", prefix=prefix)
        equal(again.returncode, 1, "a second up with the same prefix")
        assert "exists" in again.stderr, again.stderr
        done = command("exec", "client", "ping", "-c1", "-W20", "10.77.1.102", prefix=prefix)
        equal(done.returncode, 0, done.stdout + done.stderr)
        equal(command("exec", "node1", "--", "sh", "-c", "exit 7", prefix=prefix).returncode, 7,
              "exit status of the command")
        done = command("exec", "nobody", "true", prefix=prefix)
        equal(done.returncode, 1, "exec in an unknown host")
        assert "node2" in done.stderr, done.stderr
        assert prefix in command("status").stdout
    finally:
        equal(command("down", prefix=prefix).returncode, 0, "down")
    equal(leftovers(prefix), [], "left after down")
    equal(command("down", prefix=prefix).returncode, 0, "down when there is nothing")


@case("wrong arguments are refused with the accepted values and build nothing")
def wrong_arguments(t):
    for words, expected in (
        (("--nodes", "17"), "1 to 16"),
        (("--backend-mtu", "9000"), "1280 to 3498"),
        (("--ingress", "0"), "1 to 2"),
    ):
        prefix = new_prefix()
        done = command("up", *words, prefix=prefix)
        equal(done.returncode, 1, " ".join(words))
        assert expected in done.stderr, done.stderr
        equal(leftovers(prefix), [], "built in spite of it")
    equal(command("up", prefix="a/b").returncode, 1, "a prefix with a slash")


@case("the caller's own namespace is not changed", alone=True)
def root_untouched(t):
    def seen() -> list[str]:
        words = (["ip", "-o", "link"], ["ip", "rule"], ["ip", "-6", "route"])
        out = [subprocess.run(w, capture_output=True, text=True).stdout for w in words]
        with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as f:
            return [*out, f.read()]

    before = seen()
    t.testbed(layout="routed")
    equal(seen(), before, "links, rules, routes, forwarding")


def interrupt_at(log_dir: str, signum: int, delay_s: float, group: bool) -> None:
    prefix = new_prefix()
    owner = spawn_owner(prefix, log_dir)
    equal(owner.stdout.readline(), b"begin\n", "what the owner says")
    time.sleep(delay_s)
    if group:
        os.killpg(owner.pid, signum)
    else:
        owner.send_signal(signum)
    _, errors = owner.communicate(timeout=90)
    what = f"{signal.Signals(signum).name} after {delay_s:.3f} s (group: {group})"
    wait_until(lambda: not leftovers(prefix), 20, f"{what}: nothing is left of {prefix}")
    equal(owner.returncode, -signum, f"{what}: how it ended: {errors.decode()}")


def interrupt_often(t, signum: int, rounds: int, group: bool) -> None:
    chance = random.Random(signum)
    for i in range(rounds):
        interrupt_at(t.log_dir, signum, (i + chance.random()) * 0.5 / rounds, group)


@case("Ctrl-C at any moment leaves nothing behind", timeout_s=120)
def ctrl_c(t):
    interrupt_often(t, signal.SIGINT, 25, group=True)


@case("SIGTERM at any moment leaves nothing behind", timeout_s=120)
def sigterm(t):
    interrupt_often(t, signal.SIGTERM, 15, group=False)


@case("SIGKILL of the creator at any moment leaves nothing behind", timeout_s=120)
def sigkill(t):
    interrupt_often(t, signal.SIGKILL, 20, group=False)


# Takes a testbed's lock, and is interrupted while it does so.
LOCKER = f"""
import fcntl, os, signal, sys
sys.path.insert(0, {os.path.dirname(COMMAND)!r})
from sluice_testbed import run_main, state
flock = fcntl.flock
def interrupted_flock(fd, how):
    flock(fd, how)
    os.kill(os.getpid(), signal.SIGINT)
fcntl.flock = interrupted_flock
def main():
    with state.Lock(sys.argv[1]):
        print("entered", flush=True)
sys.exit(run_main(main))
"""


@case("whoever ends while he takes a testbed's lock leaves no file of it")
def interrupted_lock(t):
    prefix = new_prefix()
    done = subprocess.run([sys.executable, "-c", LOCKER, prefix], capture_output=True, text=True,
                          timeout=60)
    equal((done.returncode, done.stdout), (-signal.SIGINT, ""), f"how it ended: {done.stderr}")
    equal(leftovers(prefix), [], "left after SIGINT")
    with open(f"/run/sluice-testbed/{prefix}.lock", "w", encoding="ascii"):
        pass  # as after SIGKILL
    guard = subprocess.run([sys.executable, COMMAND, "guard", "--prefix", prefix, "1"],
                           stdin=subprocess.DEVNULL, timeout=60)
    equal((guard.returncode, leftovers(prefix)), (0, []), "status of the guard, and what it left")


@case("a second Ctrl-C during the clean-up does not stop it", timeout_s=60)
def ctrl_c_twice(t):
    for delay_s in (0.0, 0.005, 0.02, 0.05, 0.1):
        prefix = new_prefix()
        owner = spawn_owner_up(prefix, t.log_dir)
        os.killpg(owner.pid, signal.SIGINT)
        time.sleep(delay_s)
        if owner.poll() is None:
            os.killpg(owner.pid, signal.SIGINT)
        owner.communicate(timeout=90)
        wait_until(lambda: not leftovers(prefix), 20, f"nothing is left of {prefix}")


@case("after SIGKILL of creator and guard, two `down` at once remove everything", timeout_s=60)
def kill_both(t):
    prefix = new_prefix()
    owner = spawn_owner_up(prefix, t.log_dir)
    guards = guards_of(prefix)
    equal(len(guards), 1, "guards")
    os.kill(guards[0], signal.SIGKILL)
    owner.kill()
    owner.communicate()
    assert len(glob.glob(f"/run/netns/{prefix}*")) >= 6, "the testbed outlives both"
    argv = [sys.executable, COMMAND, "down", "--prefix", prefix]
    downs = [subprocess.Popen(argv, stderr=subprocess.PIPE) for _ in range(2)]
    for down in downs:
        errors = down.communicate(timeout=90)[1]
        equal(down.returncode, 0, errors.decode())
    equal(leftovers(prefix), [], "left")


@case("down --stale removes what lost its creator, and nothing else", timeout_s=60)
def stale(t):
    tb = t.testbed(nodes=1)
    kept, lost = new_prefix(), new_prefix()
    command("up", "--nodes", "1", prefix=kept)
    try:
        owner = spawn_owner_up(lost, t.log_dir)
        for pid in guards_of(lost):
            os.kill(pid, signal.SIGKILL)
        owner.kill()
        owner.communicate()
        done = command("down", "--stale")
        equal(done.returncode, 0, done.stderr)
        assert lost in done.stdout, done.stdout
        equal(leftovers(lost), [], "left of the lost one")
        assert ping(tb.client, tb["node1"].ip4), "one whose creator lives is gone"
        equal(command("exec", "node1", "true", prefix=kept).returncode, 0, "one made to stay")
    finally:
        command("down", prefix=kept)


@case("two testbeds side by side do not see each other")
def side_by_side(t):
    one, two = t.testbed(nodes=2), t.testbed(nodes=1)
    assert ping(one.client, one["node2"].ip4)
    assert silent(two.client, one["node2"].ip4)
    two.down()
    assert ping(one.client, one["node2"].ip4)


@case("two `up` of the same prefix at once: one wins, the other says why not", timeout_s=60)
def up_race(t):
    prefix = new_prefix()
    argv = [sys.executable, COMMAND, "up", "--nodes", "2", "--prefix", prefix]
    try:
        ups = [subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
               for _ in range(3)]
        errors = [up.communicate(timeout=90)[1].decode() for up in ups]
        equal(sorted(up.returncode for up in ups), [0, 1, 1], "\n".join(errors))
        equal(sum("exists" in text for text in errors), 2, "\n".join(errors))
        done = command("exec", "client", "ping", "-c1", "-W20", "10.77.1.102", prefix=prefix)
        equal(done.returncode, 0, "the winner's testbed works")
    finally:
        command("down", prefix=prefix)
    equal(leftovers(prefix), [], "left")


@case("ten `up` of different prefixes at once all work, and all go away", timeout_s=60)
def up_many(t):
    prefixes = [new_prefix() for _ in range(10)]
    try:
        argv = [sys.executable, COMMAND, "up", "--nodes", "2", "--prefix"]
        ups = [subprocess.Popen([*argv, p], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
               for p in prefixes]
        errors = [up.communicate(timeout=60)[1].decode() for up in ups]
        equal([up.returncode for up in ups], [0] * 10, "\n".join(errors))
        for prefix in prefixes:
            done = command("exec", "client", "ping", "-c1", "-W20", "10.77.1.102", prefix=prefix)
            equal(done.returncode, 0, f"ping in {prefix}: {done.stdout}")
    finally:
        argv = [sys.executable, COMMAND, "down", "--prefix"]
        for down in [subprocess.Popen([*argv, p]) for p in prefixes]:
            down.wait(timeout=60)
    equal([left for prefix in prefixes for left in leftovers(prefix)], [], "left")


@case("programs that ignore SIGTERM, stop or leave their group end with the testbed")
def stubborn_programs(t):
    tb = t.testbed(nodes=1)
    script = "trap '' TERM; setsid sleep 1000 & echo started; while :; do sleep 1; done"
    shell = tb.client.popen(["sh", "-c", script])
    stopped = tb["node1"].popen(["sleep", "1000"])
    wait_until(lambda: "started" in shell.output(), 5, "the script runs")
    stopped.send(signal.SIGSTOP)
    fds = system.netns_fds([tb.client.ns, tb["node1"].ns])
    inodes = {os.fstat(fd).st_ino for fd in fds.values()}
    wait_until(lambda: len(system.processes_in(inodes)) >= 4, 5, "all of them run")
    tb.down()
    equal(system.processes_in(inodes), [], "processes in namespaces of the testbed")
    for fd in fds.values():
        os.close(fd)


PIDFD_SEND_SIGNAL = signal.pidfd_send_signal

# Says what comes after SIGTERM, in the time that a leak check takes at the end of a program.
TIDY = """
import signal, sys, time
def end(*_):
    signal.signal(signal.SIGCONT, lambda *_: print("continued", flush=True))
    time.sleep(0.5)
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    time.sleep(60)
"""


def signal_and_pause(pidfd: int, signum: int) -> None:
    PIDFD_SEND_SIGNAL(pidfd, signum)
    time.sleep(0.2)


@case("a program that is ended gets no signal after SIGTERM, and a stopped one ends as well")
def stop_signals(t):
    tb = t.testbed()
    for stopped in (False, True):
        process = tb.client.popen([sys.executable, "-c", TIDY], name=f"tidy-{stopped}")
        wait_until(lambda: "ready" in process.output(), 10, "it is ready")
        if stopped:
            process.send(signal.SIGSTOP)
        with mock.patch("signal.pidfd_send_signal", signal_and_pause):
            equal(process.stop(), 3, f"its status (stopped before: {stopped})")
        equal(process.output(), "ready\n", "what it said")


@case("whoever reads only the first line of what is printed gets no traceback")
def reader_gone(t):
    t.testbed(nodes=2)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as out:
        done = subprocess.run([sys.executable, COMMAND, "status"], stdout=out,
                              stderr=subprocess.PIPE, text=True, timeout=60)
    equal((done.returncode, done.stderr), (128 + signal.SIGPIPE, ""), "status and standard error")


@case("a host that was not built, and a failing command, are clear errors")
def clear_errors(t):
    tb = t.testbed(nodes=1)
    for action, expected in (
        (lambda: tb["node9"], "no host 'node9'"),
        (lambda: tb.client.run(["sh", "-c", "echo broken >&2; exit 3"]), "exit status 3: broken"),
        (lambda: tb.client.run(["sleep", "5"], timeout_s=0.1), "no end in 0.1 s"),
        (lambda: tb.client.curl_json(f"http://{tb['node1'].ip4}:1/"), "exit status 7"),
    ):
        try:
            action()
        except TestbedError as e:
            assert expected in str(e), e
        else:
            raise AssertionError(f"no error, expected: {expected}")


@case("four nodes are up in seconds and gone in seconds", alone=True)
def speed(t):
    began = time.monotonic()
    tb = t.testbed(nodes=4)
    between(time.monotonic() - began, 0, 10, "seconds for up")
    began = time.monotonic()
    tb.down()
    between(time.monotonic() - began, 0, 10, "seconds for down")
