# SPDX-License-Identifier: BSD-2-Clause
"""A configuration that changes: what a reload would do, what it did, and files that are watched."""
import json
import os
import random

from tests.lib import config, mock, unixhttp
from tests.lib.agent import Agent
from tests.lib.case import case, equal
from tests.lib.service import Service
from tests.lib.wait import holds_for, wait_until

NO_CHANGE, BAD, NO_AGENT, CHANGES, NEEDS_RESTART = 0, 1, 3, 6, 7


def serve(t, **top):
    t.need("sluiced", "sluicectl", "mockbackend")
    tb = t.testbed(nodes=2)
    mock.start_all(tb)
    settings = config.one_pool(tb, **top)
    agent = Agent(tb.ingress, settings).start()
    return tb, agent, settings


def installed(agent: Agent) -> dict:
    with open(agent.config_path, encoding="utf-8") as f:
        return json.load(f)


def reloads(agent: Agent) -> tuple[int, int]:
    status = agent.ctl("status")
    return status["reloads"], status["reloads_refused"]


def write(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


@case("sluicectl diff says what a reload would do, and does nothing")
def diff(t):
    tb, agent, _ = serve(t)
    path = os.path.join(tb.run_dir, "new.yaml")
    now = installed(agent)

    def diff_of(settings, size: int = 0):
        text = settings if isinstance(settings, str) else json.dumps(settings)
        write(path, text + "\n" + ("#" * 99 + "\n") * (size // 100))
        return agent.ctl_run("diff", path)

    done = diff_of(now)
    equal((done.returncode, done.stdout), (NO_CHANGE, "nothing changes\n"), "the same file")
    now["pools"][0]["policy"] = "hash"
    del now["pools"][0]["nodes"][1]
    for size in (0, 5000, 3 << 20):
        done = diff_of(now, size)
        equal(done.returncode, CHANGES, f"status with {size} bytes: {done.stderr}")
        equal("~ pool pool: policy: p2c -> hash\n" in done.stdout, True, done.stdout)
        equal("- node pool/node2" in done.stdout, True, done.stdout)
        equal("a reload does it" in done.stdout, True, done.stdout)
    shown = json.loads(agent.ctl_run("--json", "diff", path).stdout)
    equal((shown["effect"], len(shown["changes"])), ("live", 2), "as JSON")
    now["limits"] = {"flows": 4096}
    done = diff_of(now)
    equal(done.returncode, NEEDS_RESTART, f"a change of maps: {done.stdout}")
    equal("detach" in done.stdout, True, done.stdout)
    done = diff_of("pools: [{")
    equal((done.returncode, f"{path}:" in done.stderr), (BAD, True), f"bad: {done.stderr}")
    done = diff_of(now, 5 << 20)
    equal((done.returncode, "File too large" in done.stderr), (BAD, True), done.stderr)
    equal(agent.ctl_run("diff", path + ".none").returncode, BAD, "a file that is not there")
    equal(reloads(agent), (0, 0), "reloads")
    equal(agent.ctl("status")["vips"][0]["policy"], "p2c", "policy in force")
    agent.stop()
    write(path, json.dumps(installed(agent)))
    equal(agent.ctl_run("diff", path).returncode, NO_AGENT, "without an agent")


@case("bodies over the limit of their page are refused, and the agent goes on")
def body_limits(t):
    _, agent, _ = serve(t)
    for path in ("/v1/reload", "/v1/diff"):
        data = "x" * (5000 if path == "/v1/reload" else 5 << 20)
        try:
            agent.api(path, "POST", data)
            raise AssertionError(f"{path} took {len(data)} bytes")
        except unixhttp.HttpError as e:
            equal(e.status, 413, f"status of {path}")
    equal(reloads(agent), (0, 0), "reloads")


@case("sluicectl reload says what it changed; log_level follows, unless --debug was given", 60)
def reload_says(t):
    _, agent, settings = serve(t)
    done = agent.ctl_run("reload")
    equal((done.returncode, done.stdout), (0, "reloaded: nothing changed\n"), "the same file")
    settings["pools"][0]["policy"] = "hash"
    settings["log_level"] = "debug"
    agent.write_config(settings)
    done = agent.ctl_run("reload")
    equal(done.stdout.splitlines()[-1], "reloaded", "the last line")
    equal("~ pool pool: policy: p2c -> hash\n" in done.stdout, True, done.stdout)
    agent.wait_log("info    reload: ~ pool pool: policy: p2c -> hash$", 5)
    settings["pools"][0]["nodes"][0]["weight"] = 7
    agent.write_config(settings)
    agent.ctl("reload")
    agent.wait_log("debug   pool pool: table built", 5)
    settings["log_level"] = "error"
    agent.write_config(settings)
    agent.ctl("reload")
    settings["pools"][0]["nodes"][0]["weight"] = 9
    since = len(agent.process.output())
    agent.write_config(settings)
    agent.ctl("reload")
    equal(agent.process.output()[since:], "", "log at level error")
    agent.restart(args=("--debug",))
    agent.ctl("reload")
    settings["pools"][0]["nodes"][0]["weight"] = 5
    since = len(agent.process.output())
    agent.write_config(settings)
    agent.ctl("reload")
    agent.wait_log("debug   pool pool: table built", 5, since)


@case("watch: a file that is replaced is taken over; a bad one is refused once", 90)
def watched(t):
    _, agent, settings = serve(t, watch=True)

    def policy() -> str:
        return agent.ctl("status")["vips"][0]["policy"]

    settings["pools"][0]["policy"] = "hash"
    agent.write_config({**settings, "watch": True})
    wait_until(lambda: policy() == "hash", 10, "the replaced file is in force")
    equal(reloads(agent), (1, 0), "reloads")
    agent.write_config("pools: [{")
    wait_until(lambda: reloads(agent) == (1, 1), 10, "the bad file is refused")
    holds_for(lambda: reloads(agent) == (1, 1), 6, "it is refused once")
    lines = [x for x in agent.process.output().splitlines() if "reload refused" in x]
    equal(len(lines), 1, f"log lines {lines}")
    equal(f"{agent.config_path}:2:" in lines[0], True, lines[0])
    equal(policy(), "hash", "policy in force")
    settings["pools"][0]["policy"] = "round-robin"
    with open(agent.config_path, "w", encoding="utf-8") as f:  # in place, as some editors do
        json.dump({**installed_frame(agent, settings), "watch": True}, f)
    wait_until(lambda: policy() == "round-robin", 10, "the rewritten file is in force")
    agent.write_config({**settings, "watch": False})
    wait_until(lambda: reloads(agent)[0] >= 3, 10, "the file that ends the watch is in force")
    count = reloads(agent)
    agent.write_config({**settings, "watch": False, "log_level": "warn"})
    holds_for(lambda: reloads(agent) == count, 6, "a file that is not watched is left alone")


def installed_frame(agent: Agent, settings: dict) -> dict:
    """What Agent.write_config() adds to a dict."""
    frame = {"socket": agent.socket, "pin_dir": agent.pin_dir}
    frame["interfaces"] = [{"name": leg.dev} for leg in agent.host.plan.legs]
    return {**frame, **settings}


@case("watch: a link that leads to another file is followed; a reload by hand besides does no harm",
      60)
def watched_link(t):
    tb, agent, settings = serve(t)
    base = os.path.join(tb.run_dir, "mount")
    for version, policy in (("v1", "p2c"), ("v2", "hash")):
        os.makedirs(os.path.join(base, version))
        settings["pools"][0]["policy"] = policy
        write(os.path.join(base, version, "sluice.yaml"),
              json.dumps({**installed_frame(agent, settings), "watch": True}))
    os.symlink("v1", os.path.join(base, "data"))
    os.symlink("data/sluice.yaml", os.path.join(base, "sluice.yaml"))
    agent.stop()
    agent.config_path = os.path.join(base, "sluice.yaml")
    agent.start()
    os.symlink("v2", os.path.join(base, "data.new"))
    os.rename(os.path.join(base, "data.new"), os.path.join(base, "data"))
    wait_until(lambda: agent.ctl("status")["vips"][0]["policy"] == "hash", 10, "v2 is in force")
    equal(reloads(agent), (1, 0), "reloads by the link")
    os.symlink("v1", os.path.join(base, "data.new"))
    os.rename(os.path.join(base, "data.new"), os.path.join(base, "data"))
    agent.ctl("reload")
    holds_for(lambda: reloads(agent)[0] in (2, 3), 2, "reloads by hand and by the link")
    equal(agent.ctl("status")["vips"][0]["policy"], "p2c", "policy in force")


@case("watch: backup files of editors are no change; a file that is away or half written changes "
      "nothing until it is whole", 90)
def watched_odd(t):
    _, agent, settings = serve(t, watch=True)
    folder, name = os.path.split(agent.config_path)

    def in_force(policy: str, wanted: tuple[int, int]) -> None:
        wait_until(lambda: agent.ctl("status")["vips"][0]["policy"] == policy, 10, policy)
        equal(reloads(agent), wanted, f"reloads, and those refused, up to {policy}")
        equal(len(agent.nodes()), 2, "nodes")

    for other in (f"{name}~", f".{name}.swp", "4913", f"{name}.bak"):
        path = write(os.path.join(folder, other), "pools: [{")
        os.rename(path, path + ".x")
        os.unlink(path + ".x")
    settings["pools"][0]["policy"] = "hash"
    agent.write_config({**settings, "watch": True})
    in_force("hash", (1, 0))
    os.unlink(agent.config_path)
    agent.wait_log("reload refused.*No such file", 10)
    in_force("hash", (1, 1))
    settings["pools"][0]["policy"] = "round-robin"
    agent.write_config({**settings, "watch": True})
    in_force("round-robin", (2, 1))
    settings["pools"][0]["policy"] = "least-conn"
    text = json.dumps({**installed_frame(agent, settings), "watch": True})
    os.rename(write(f"{agent.config_path}.new", text[:len(text) // 2]), agent.config_path)
    wait_until(lambda: reloads(agent) == (2, 2), 10, "half of a file is refused")
    in_force("round-robin", (2, 2))
    with open(agent.config_path, "a", encoding="utf-8") as f:
        f.write(text[len(text) // 2:])
    in_force("least-conn", (3, 2))
    agent.ctl("drain", "node1")
    agent.write_config({**settings, "watch": True, "log_level": "debug"})
    wait_until(lambda: reloads(agent) == (4, 2), 10, "one more reload")
    equal(agent.states()["node1"], "draining", "a drain by hand, after a reload")


def change(rng: random.Random, everything: dict) -> dict:
    """Another valid configuration of the same nodes and addresses."""
    new = json.loads(json.dumps(everything))
    pool, other = new["pools"][0], json.loads(json.dumps(new["pools"][0]))
    pool["policy"] = rng.choice(("hash", "p2c", "least-queue", "least-conn", "round-robin"))
    pool["mode"] = rng.choice(("ipip", "gue"))
    pool["thresholds"]["kv_high"] = rng.choice((0.93, 0.95, 0.97))
    pool["check"]["interval"] = rng.choice(("150ms", "200ms", "300ms"))
    pool["nodes"] = rng.sample(pool["nodes"], rng.randrange(2, 5))
    for node in pool["nodes"]:
        node["weight"] = rng.randrange(1, 4)
    if rng.random() < 0.5:
        new["pools"].append({**other, "name": "other", "nodes": other["nodes"][:2]})
        for vip in new["vips"]:
            if vip["name"].endswith("-2"):
                vip["pool"] = "other"
    elif rng.random() < 0.5:
        new["vips"] = [vip for vip in new["vips"] if vip["name"].endswith("-1")]
    else:
        for vip in new["vips"]:
            vip["name"] = f"new-{vip['name']}"
    return new


@case("reloads of any kind under streams break none; at the end all is as after a fresh start", 90)
def any_reloads(t):
    service = Service(t, nodes=4, topology={"vips": 2})
    agent, first, rng = service.agent, service.config, random.Random(20260731)

    def by_name() -> list[tuple]:
        names = {node["id"]: name for name, node in agent.nodes().items()}
        return [(names.get(cur), names.get(alt)) for cur, alt, _ in service.slots()]

    streams = service.streams(40, 12)
    for step in range(8):
        service.config = change(rng, first) if step < 7 else first
        done = service.reload()
        equal((done.returncode, done.stderr), (0, ""), f"reload {step}")
        wait_until(lambda: all(node["state"] == "healthy"
                               for node in agent.ctl("backends")["backends"]), 10, "all healthy")
    after = by_name()
    report = streams.wait(90)
    equal((report["completed"], report["broken"]), (40, 0), f"streams: {report['causes']}")
    equal(agent.ctl_run("detach").returncode, 0, "detach")
    agent.process.wait(30)
    agent.start(timeout_s=20)
    agent.wait_all()
    fresh = by_name()
    equal(sum(a != b for a, b in zip(after, fresh)), 0, "slots that a fresh start fills otherwise")
