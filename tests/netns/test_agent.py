# SPDX-License-Identifier: BSD-2-Clause
"""The agent's life: starts that fail, reloads, crashes, adoption, privileges, the end."""
import json
import os
import signal
import subprocess
import time

from tests.lib import BUILD, PROGRAMS, mock
from tests.lib.agent import Agent
from tests.lib.case import between, case, equal
from tests.lib.service import Service, xdp_of
from tests.lib.wait import wait_until

NATIVE, GENERIC = 1, 2
KEPT = {12, 10, 38, 39}  # CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_PERFMON, CAP_BPF


def ended(agent: Agent, status: int, timeout_s: float = 30) -> str:
    """The agent ended with that status; what it said."""
    got = agent.process.wait(timeout_s)
    said = agent.process.output()
    equal(got, status, f"exit status of the agent, which said: {said}\n")
    return said


def fails_to_start(agent: Agent, **kwargs) -> str:
    """It ends with status 1 and one line; the line."""
    agent.start(wait=False, **kwargs)
    said = ended(agent, 1)
    errors = [line for line in said.splitlines() if " error " in line]
    equal(len(errors), 1, f"lines of errors in {said!r}")
    return errors[0]


def forwards(service: Service) -> None:
    service.spread(60)


def add_plain(service: Service) -> None:
    """A device of the ingress host whose driver has no XDP of its own."""
    service.tb.ingress.ip("link", "add", "plain0", "type", "bridge")
    service.tb.ingress.ip("link", "set", "plain0", "up")


# --- configuration --------------------------------------------------------------------------------


@case("a bad configuration ends the start with all mistakes by line and key, and changes nothing")
def bad_start(t):
    service = Service(t, nodes=1, start=False)
    service.config["interfaces"] = [{"name": "eth0", "mode": "turbo"}]
    service.pool["colour"] = "blue"
    service.pool["nodes"][0]["weight"] = "many"
    service.agent.write_config(service.config)
    service.agent.start(wait=False)
    said = ended(service.agent, 1)
    path = service.agent.config_path
    lines = said.splitlines()
    equal(len(lines), 3, f"lines of {said!r}")
    for line, words in zip(lines, (("interfaces[0].mode", "native", "generic"),
                                   ("weight", "many", "0 to 1000"), ("colour", "unknown"))):
        assert line.startswith(f"{path}:"), line
        for word in words:
            assert word in line, f"{word} is missing in {line!r}"
    assert not os.path.exists(service.agent.pin_dir), "something was pinned"
    equal(xdp_of(service.tb.ingress), None, "XDP program")


@case("a file that is missing, empty or no YAML is one clear line")
def no_configuration(t):
    service = Service(t, nodes=1, start=False)
    agent = service.agent
    for text in ("", "interfaces: [", "\0\0", "- 1\n- 2", "pools: *nobody"):
        agent.write_config(text)
        agent.start(wait=False)
        said = ended(agent, 1)
        assert said.startswith(agent.config_path) and said.count("\n") == 1, said
    os.unlink(agent.config_path)
    agent.start(wait=False)
    assert "No such file" in ended(agent, 1)


@case("a bad file is refused at a reload, the old configuration stays, and a good one is taken "
      "then")
def bad_reload(t):
    service = Service(t, sanitized=True)
    agent, good = service.agent, json.dumps(service.config)
    streams = service.streams(20, 4)
    service.pool["policy"] = "luck"
    service.pool["nodes"].append({"name": "node1", "address": "10.77.1.250"})
    done = service.reload()
    equal(done.returncode, 1, "exit status of the refused reload")
    assert "luck" in done.stderr and "p2c" in done.stderr and "node1" in done.stderr, done.stderr
    agent.process.send(signal.SIGHUP)
    wait_until(lambda: agent.ctl("status")["reloads_refused"] == 2, 5, "both were refused")
    assert "node1" in agent.ctl("status")["reload_error"]
    assert "LAST RELOAD REFUSED" in agent.ctl_run("status").stdout
    equal(set(agent.states()), {"node1", "node2"}, "nodes")
    service.config = json.loads(good)
    equal(service.reload().returncode, 0, "exit status of the good reload")
    equal(agent.ctl("status")["reload_error"], "", "the error of the last reload")
    equal(streams.wait(30)["completed"], 20, "streams that went on")
    service.end()


@case("what cannot change under traffic is refused by name at a reload")
def reload_refused(t):
    service = Service(t, nodes=1)
    for key, value in (("hash_key", "00112233445566778899aabbccddeeff"),
                       ("pin_dir", "/sys/fs/bpf/elsewhere"),
                       ("socket", "/run/elsewhere.sock"),
                       ("limits", {"flows": 4096})):
        changed = {"socket": service.agent.socket, "pin_dir": service.agent.pin_dir,
                   **service.config, key: value}
        service.agent.write_config(changed)
        done = service.agent.ctl_run("reload")
        equal(done.returncode, 1, f"exit status with another {key}")
        assert key in done.stderr, f"{key} is missing in {done.stderr!r}"
        equal(f"'sluicectl detach --pin-dir {service.agent.pin_dir}'" in done.stderr,
              key != "socket", f"the way out with its directory in {done.stderr!r}")
        done = service.agent.ctl_run("diff", service.agent.config_path)
        equal(f"'sluicectl detach --pin-dir {service.agent.pin_dir}'" in done.stdout,
              key != "socket", f"the way out with its directory in {done.stdout!r}")
    service.pool["table_slots"] = 1009
    assert "table_slots" in service.reload().stderr
    forwards(service)


@case("a reload adds and removes nodes and VIPs, and streams on what stays run on")
def reload_nodes(t):
    service = Service(t, nodes=3, topology={"vips": 2})
    everything = json.dumps(service.config)
    service.config["vips"] = [v for v in service.config["vips"] if v["name"].endswith("-1")]
    service.pool["nodes"] = service.pool["nodes"][:2]
    equal(service.reload().returncode, 0, "the first reload")
    streams = service.streams(20, 4)
    service.config = json.loads(everything)
    equal(service.reload().returncode, 0, "the second reload")
    service.agent.wait_all()
    equal(len(service.agent.nodes()), 3, "nodes")
    report = service.spread(300)
    equal(len(report["by_backend"]), 3, "nodes that answer")
    equal(streams.wait(30)["completed"], 20, "streams that went on")
    equal(len(service.agent.ctl("vips")["vips"]), 4, "VIPs")


# --- crash and adoption ---------------------------------------------------------------------------


@case("a killed agent's table, orders and weights are taken over, and no slot moves")
def adopted(t):
    service = Service(t, nodes=3, weights={"node1": 2})
    agent = service.agent
    agent.ctl("drain", "node3")
    agent.ctl("weight", "node2", "5")
    wait_until(lambda: agent.nodes()["node3"]["effective_weight"] == 0, 5, "the drain")
    before = service.slots()
    streams = service.streams(20, 6)
    agent.kill()
    forwards(service)
    agent.start()
    agent.wait_states(node1="healthy", node2="healthy", node3="draining")
    equal(service.slots_written(), 0, "slots that the new agent wrote")
    equal(service.slots(), before, "slots")
    nodes = agent.nodes()
    equal((nodes["node2"]["weight"], nodes["node2"]["weight_set"]), (5, True), "weight of node2")
    equal(streams.wait(30)["completed"], 20, "streams that went on")
    agent.ctl("weight", "node2", "file")
    agent.ctl("undrain", "node3")
    agent.wait_all()


@case("after a crash and a change of the file, only the slots of what changed move")
def adopted_with_changes(t):
    service = Service(t, nodes=4)
    agent = service.agent
    before = service.slots()
    gone = agent.nodes()["node4"]["id"]
    streams = service.streams(20, 6)
    on_gone = service.mocks["node4"].control()["running"]
    agent.kill()
    service.pool["nodes"] = service.pool["nodes"][:3]
    agent.write_config(service.config)
    agent.start()
    agent.wait_all()
    after = service.slots()
    moved = sum(b[0] != a[0] for b, a in zip(before, after))
    own = sum(b[0] == gone for b in before)
    between(moved, own, own + 0.03 * len(before), "slots with another node")
    assert all(a[0] != gone for a in after), "slots still name the removed node for new flows"
    equal(service.spread(100)["by_backend"].keys() - {"node1", "node2", "node3"}, set(),
          "nodes that answer")
    equal(streams.wait(30)["completed"], 20, f"streams that went on ({on_gone} on node4)")


@case("an agent that was stopped with SIGTERM or SIGINT ends with status 0, and packets flow on")
def signals(t):
    service = Service(t, nodes=1, sanitized=True)
    for signum in (signal.SIGTERM, signal.SIGINT):
        service.agent.process.send(signum)
        said = ended(service.agent, 0)
        assert "forwarding goes on" in said and "Sanitizer" not in said, said
        assert not os.path.exists(service.agent.socket), "the socket is still there"
        forwards(service)
        service.agent.start(timeout_s=20)
        service.agent.wait_all()
    service.end()


@case("a second agent is refused, by the pin directory as by the socket, and harms nothing")
def second_agent(t):
    service = Service(t, nodes=1)
    agent = service.agent
    second = Agent(service.tb.ingress, service.config, name="second")
    line = fails_to_start(second)
    assert str(agent.pid) in line and agent.pin_dir in line, line
    add_plain(service)
    elsewhere = {**service.config, "pin_dir": f"{agent.pin_dir}2", "socket": agent.socket,
                 "interfaces": [{"name": "plain0", "mode": "generic"}]}
    third = Agent(service.tb.ingress, elsewhere, name="third")
    line = fails_to_start(third)
    assert "another agent answers" in line and agent.socket in line, line
    equal(xdp_of(service.tb.ingress, "plain0"), None, "program that the third left on plain0")
    equal(agent.states(), {"node1": "healthy"}, "states, asked of the first")
    forwards(service)


# --- attaching ------------------------------------------------------------------------------------


@case("native and generic mode are what they are called, and one never becomes the other")
def xdp_modes(t):
    service = Service(t, nodes=1, start=False)
    agent, host = service.agent, service.tb.ingress
    add_plain(service)
    service.config["interfaces"] = [{"name": "eth0"}, {"name": "plain0"}]
    agent.write_config(service.config)
    line = fails_to_start(agent)
    assert "plain0" in line and "mode: generic" in line, line
    equal((xdp_of(host), xdp_of(host, "plain0")), (None, None), "programs after the refusal")
    service.config["interfaces"][1]["mode"] = "generic"
    agent.write_config(service.config)
    agent.start()
    agent.wait_all()
    equal((xdp_of(host)["mode"], xdp_of(host, "plain0")["mode"]), (NATIVE, GENERIC), "modes")
    service.config["interfaces"][0]["mode"] = "generic"
    done = service.reload()
    equal(done.returncode, 1, "exit status of a reload with another mode")
    assert "eth0" in done.stderr, done.stderr
    equal(xdp_of(host)["mode"], NATIVE, "mode of eth0")
    forwards(service)


@case("another program on the interface, and an interface that is missing, are named")
def interfaces(t):
    service = Service(t, nodes=1, start=False)
    agent, host = service.agent, service.tb.ingress
    host.attach_xdp("tests/pass.bpf.o" if os.path.exists(
        os.path.join(os.path.dirname(agent.program), "tests/pass.bpf.o")) else "decap.bpf.o")
    foreign = xdp_of(host)["prog"]["id"]
    line = fails_to_start(agent)
    assert "eth0" in line and "another XDP program" in line, line
    equal(xdp_of(host)["prog"]["id"], foreign, "the program")
    host.detach_xdp()
    service.config["interfaces"] = [{"name": "eth7"}]
    agent.write_config(service.config)
    line = fails_to_start(agent)
    assert "eth7" in line and "no such interface" in line, line


@case("a first start that fails leaves no maps; one beside tables that forward leaves those")
def failed_start(t):
    service = Service(t, nodes=1, start=False)
    agent, host = service.agent, service.tb.ingress
    good = dict(service.config)
    for bad, word in (({"interfaces": [{"name": "eth7"}]}, "eth7"),
                      ({"socket_group": "nobody-here"}, "nobody-here")):
        agent.write_config({**good, **bad})
        line = fails_to_start(agent)
        assert word in line, line
        equal((xdp_of(host), os.path.exists(agent.pin_dir)), (None, False), "program and pins")
    agent.write_config(good)
    agent.start()
    agent.wait_all()
    agent.kill()
    for bad in ({"interfaces": [{"name": "eth7"}]}, {"socket_group": "nobody-here"}):
        agent.write_config({**good, **bad})
        fails_to_start(agent)
        assert xdp_of(host), "the program that forwarded is off"
        forwards(service)


@case("a program that somebody took off is put back; one of somebody else, and a device that is "
      "gone, are reported")
def stays_attached(t):
    service = Service(t, nodes=1, start=False, topology={"layout": "split"})
    agent, host = service.agent, service.tb.ingress
    agent.start(timeout_s=20)
    agent.wait_all()
    if agent.ctl("status")["interfaces"][0]["chain"] != "alone":
        t.skip("in libxdp's dispatcher only root can put it back")

    def interface(number: int = 0) -> dict:
        return agent.ctl("status")["interfaces"][number]

    def series(name: str) -> str:
        return next(x for x in agent.api("/metrics").splitlines()
                    if x.startswith(f'sluice_interface_{name}{{interface="eth0"}}'))[-1]

    host.detach_xdp()
    wait_until(lambda: xdp_of(host), 5, "it is back")
    agent.wait_log("warning interface eth0: the packet program was taken off", 5)
    forwards(service)
    equal((interface()["repairs"], series("losses_total"), series("attached")), (1, "1", "1"),
          "repairs, losses, attached")
    host.detach_xdp()
    host.attach_xdp("decap.bpf.o")
    agent.wait_log("error +interface eth0: another XDP program", 5)
    equal(series("attached"), "0", "attached")
    assert "INTERFACE LOST: eth0: another XDP program" in agent.ctl_run("status").stdout
    host.detach_xdp()
    wait_until(lambda: not interface()["error"], 5, "it is back")
    forwards(service)
    equal(agent.ctl_run("detach").returncode, 0, "detach")
    ended(agent, 0)
    equal(xdp_of(host), None, "program after detach")


@case("a check that this host cannot make is told once for each node, and not each time")
def not_asked(t):
    service = Service(t, nodes=2)
    service.pool["check"].update(scheme="https", ca_file="/nonexistent/ca.pem")
    equal(service.reload().returncode, 0, "reload")
    agent = service.agent
    begin = agent.ctl("status")["checks"]["started"]
    wait_until(lambda: agent.ctl("status")["checks"]["started"] - begin > 20, 10, "20 checks")
    said = agent.process.output()
    for name in ("node1", "node2"):
        equal(said.count(f"node pool/{name}: check not made: on this host: "), 1,
              f"lines of {name}")


@case("an interface that is renamed goes on, and its new name is told; a reload with it changes "
      "nothing")
def renamed(t):
    service = Service(t, nodes=1)
    agent, host = service.agent, service.tb.ingress
    dev, before = host.dev, xdp_of(service.tb.ingress)
    host.ip("link", "set", "dev", dev, "name", "renamed0")
    agent.wait_log(f"warning interface {dev} is called renamed0 now, and goes on", 5)
    forwards(service)
    interface = agent.ctl("status")["interfaces"][0]
    equal((interface["attached"], interface["losses"]), (True, 0), "attached, losses")
    service.config["interfaces"] = [{"name": "renamed0"}]
    equal(service.reload().returncode, 0, "reload")
    forwards(service)
    equal(xdp_of(host, "renamed0"), before, "the program")
    equal(agent.process.output().count("is called renamed0"), 1, "lines about it")


@case("detach takes off everything, with an agent and without, and says so when nothing is there")
def detach(t):
    service = Service(t, nodes=1)
    agent, host = service.agent, service.tb.ingress
    done = agent.ctl_run("detach")
    equal((done.returncode, done.stderr), (0, ""), "detach with an agent")
    ended(agent, 0)
    equal((xdp_of(host), os.path.exists(agent.pin_dir)), (None, False), "program and pins")
    agent.start()
    agent.wait_all()
    agent.kill()
    done = agent.ctl_run("--json", "detach", "--pin-dir", agent.pin_dir)
    equal((done.returncode, done.stderr), (0, ""), "detach without an agent")
    equal(json.loads(done.stdout), {"result": "detached"}, "its answer")
    equal((xdp_of(host), os.path.exists(agent.pin_dir)), (None, False), "program and pins")
    done = agent.ctl_run("detach", "--pin-dir", agent.pin_dir)
    equal((done.returncode, done.stderr.count("\n")), (1, 1), f"the second time: {done.stderr!r}")
    agent.start()
    agent.wait_all()
    forwards(service)


@case("detach from another network namespace says what still runs")
def detach_elsewhere(t):
    service = Service(t, nodes=1)
    agent = service.agent
    agent.kill()
    argv = [os.path.join(BUILD, "sluicectl"), "--socket", agent.socket, "detach", "--pin-dir",
            agent.pin_dir]
    program = xdp_of(service.tb.ingress)["prog"]["id"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    equal((done.returncode, done.stdout, done.stderr.count("\n")), (1, "", 1), done.stderr)
    assert f"program {program} still runs" in done.stderr, done.stderr
    equal(xdp_of(service.tb.ingress)["prog"]["id"], program, "the program")


@case("detach --pin-dir never stops the agent of another directory")
def detach_other(t):
    service = Service(t, nodes=1, start=False)
    agent, host = service.agent, service.tb.ingress
    own = agent.pin_dir
    agent.pin_dir = f"{own}-other"
    agent.write_config(service.config)
    agent.start(timeout_s=20)
    agent.kill()  # maps that nobody wants any more
    host.detach_xdp()
    agent.pin_dir = own
    agent.write_config(service.config)
    agent.start(timeout_s=20)
    agent.wait_all()
    done = agent.ctl_run("detach", "--pin-dir", f"{own}-nothing")
    equal((done.returncode, done.stderr.count("\n")), (1, 1), f"nothing there: {done.stderr!r}")
    done = agent.ctl_run("detach", "--pin-dir", f"{own}-other")
    equal((done.returncode, done.stderr), (0, ""), "detach of the other directory")
    assert "goes on" in done.stdout, done.stdout
    equal((os.path.exists(f"{own}-other"), os.path.exists(own)), (False, True), "directories")
    assert xdp_of(host), "the program is off"
    equal(agent.ctl("status")["pin_dir"], own, "the agent's directory")
    forwards(service)
    done = agent.ctl_run("detach", "--pin-dir", f"{own}/")
    equal((done.returncode, done.stderr), (0, ""), "detach of its own directory")
    ended(agent, 0)
    equal((xdp_of(host), os.path.exists(own)), (None, False), "program and pins")


# --- the service manager, privileges, the machine -------------------------------------------------


def stands_still(pid: int) -> bool:
    """Whether all threads of the process are stopped."""
    states = []
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/stat", encoding="ascii") as f:
            states.append(f.read().rpartition(")")[2].split()[0])
    return set(states) == {"T"}


@case("the service manager is told when the agent is ready, that it lives, and that it ends")
def notify(t):
    service = Service(t, nodes=1, start=False)
    agent = service.agent
    agent.start(env={"WATCHDOG_USEC": "1000000"})
    seen = agent.notify.poll()
    assert any(line.startswith("STATUS=1 pool, 2 VIPs") for line in seen), seen
    wait_until(lambda: agent.notify.poll().count("WATCHDOG=1") >= 4, 5, "signs of life")
    os.kill(agent.pid, signal.SIGSTOP)
    wait_until(lambda: stands_still(agent.pid), 5, "it is stopped")
    before = agent.notify.poll().count("WATCHDOG=1")
    time.sleep(1.5)
    equal(agent.notify.poll().count("WATCHDOG=1"), before, "signs of life of a stopped agent")
    os.kill(agent.pid, signal.SIGCONT)
    agent.stop()
    assert "STOPPING=1" in agent.notify.poll()


def capabilities(status: str, name: str) -> set[int]:
    line = next(line for line in status.splitlines() if line.startswith(name))
    mask = int(line.split()[1], 16)
    return {i for i in range(64) if mask >> i & 1}


@case("once it runs, every thread of the agent has four capabilities and a filter, and that is "
      "enough")
def privileges(t):
    service = Service(t, nodes=2, topology={"layout": "split"})
    agent = service.agent
    for server in service.mocks.values():
        server.kill()  # the fallback responder starts threads
    wait_until(lambda: agent.ctl("status")["pools"][0]["empty"], 10, "the pool is empty")
    tasks = os.listdir(f"/proc/{agent.pid}/task")
    for task in tasks:
        with open(f"/proc/{agent.pid}/task/{task}/status", encoding="ascii") as f:
            status = f.read()
        for name in ("CapPrm", "CapEff", "CapBnd"):
            equal(capabilities(status, name), KEPT, f"{name} of thread {task}")
        assert "NoNewPrivs:\t1" in status, status
        assert "Seccomp:\t2" in status or PROGRAMS == "san", status  # no filter with ASan
    between(len(tasks), 2, 100, "threads")
    for server in service.mocks.values():
        server.start()
    agent.wait_all()
    for names in (["eth0"], ["eth0", "eth1"]):
        service.config["interfaces"] = [{"name": name} for name in names]
        done = service.reload()
        equal((done.returncode, done.stderr), (0, ""), f"reload with {names}")
        equal(xdp_of(service.tb.ingress, "eth1") is not None, "eth1" in names, "eth1 has XDP")
    forwards(service)
    equal(agent.ctl_run("detach").returncode, 0, "detach")
    ended(agent, 0)


@case("without privileges the agent says what it lacks")
def no_privileges(t):
    t.need("setpriv")
    service = Service(t, nodes=1, start=False)
    line = fails_to_start(service.agent, before=("setpriv", "--bounding-set=-all",
                                                 "--inh-caps=-all"))
    assert "root" in line or "CAP_" in line, line


@case("logs on a full disk stop nothing")
def full_disk(t):
    service = Service(t, nodes=1, start=False)
    with open("/dev/full", "wb") as full:
        service.agent.start(stdout=full, stderr=full)
    service.agent.wait_all()
    service.mocks["node1"].kill()
    service.agent.wait_all("unhealthy")
    service.mocks["node1"].start()
    service.agent.wait_all()
    forwards(service)
    equal(service.agent.stop(), 0, "exit status")


@case("each change of a node's state is one log line with its cause")
def log_lines(t):
    service = Service(t, nodes=2)
    agent, server = service.agent, service.mocks["node1"]
    for change, state, words in (
        (lambda: server.control(gpu_memory=97), "degraded", "healthy -> degraded: .*memory.*0.97"),
        (lambda: server.control(gpu_memory=40), "healthy", "degraded -> healthy: .+"),
        (lambda: agent.ctl("drain", "node1"), "draining", "healthy -> draining: .*operator"),
        (lambda: agent.ctl("undrain", "node1"), "healthy", "draining -> healthy: .*operator"),
        (server.kill, "unhealthy", "healthy -> unhealthy: .*(refused|closed)"),
        (server.start, "healthy", "unhealthy -> warming: .+"),
        (lambda: agent.ctl("drain", "node1", "--now"), "maintenance",
         "healthy -> maintenance: .*operator"),
    ):
        since = len(agent.process.output())
        change()
        agent.wait_states(node1=state)
        agent.wait_log(rf"node pool/node1: {words}", 3, since)
        count = agent.process.output()[since:].count("node pool/node1: ")
        between(count, 1, 4, f"lines about node1 on its way to {state}")


@case("a VIP that moves to another pool, and a pool that moves away, cut nothing that lives on")
def pools_change(t):
    # By hash: exceptions belong to the pool's slots, and do not move with a VIP.
    service = Service(t, nodes=2, pool={"policy": "hash"})
    streams = service.streams(20, 4)
    first = {**service.pool, "port": mock.PORT}
    second = {**first, "name": "second", "nodes": first["nodes"]}
    service.config["pools"] = [first, second]
    for vip in service.config["vips"]:
        vip["pool"] = "second"
    equal(service.reload().returncode, 0, "reload with a second pool")
    wait_until(lambda: all(n["state"] == "healthy"
                           for n in service.agent.ctl("backends")["backends"]), 10, "healthy")
    forwards(service)
    report = streams.wait(30)
    equal(report["completed"], 20, "streams that went on, in the same slots of another table")
    service.config["pools"] = [second]
    equal(service.reload().returncode, 0, "reload without the first pool")
    equal([p["name"] for p in service.agent.ctl("status")["pools"]], ["second"], "pools")
    forwards(service)
