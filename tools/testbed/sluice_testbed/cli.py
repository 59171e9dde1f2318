# SPDX-License-Identifier: BSD-2-Clause
"""The command `testbed`."""
from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time

from .plan import Plan, Topology
from .removal import guard, remove, remove_stale
from .signals import TestbedError, signals
from .state import check_prefix, list_prefixes, owner_alive, read_state
from .system import enter
from .testbed import Testbed, run_main

DEFAULT_PREFIX = "sluice-"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="testbed", description="Clients, ingress hosts and nodes in network namespaces."
    )
    names = "up, down, exec, status"
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", help=names)
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--prefix", default=DEFAULT_PREFIX, help="which testbed (%(default)s)")

    up = commands.add_parser("up", parents=[named], help="build a testbed that stays")
    for field in dataclasses.fields(Topology):
        flag = "--" + field.name.replace("_", "-")
        if field.name == "layout":
            up.add_argument(flag, choices=("flat", "routed", "split"), default=field.default)
        elif isinstance(field.default, bool):
            up.add_argument(flag, action="store_true", help="a router in front of the clients")
        else:
            up.add_argument(flag, type=int, default=field.default, metavar="N",
                            help="default %(default)s")
    down = commands.add_parser("down", parents=[named], help="remove a testbed")
    down.add_argument("--stale", action="store_true",
                      help="instead: all whose creator ended without removing them")
    run = commands.add_parser("exec", parents=[named], help="run a command inside a host")
    run.add_argument("host")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")
    commands.add_parser("status", help="list testbeds, their hosts and addresses")
    guard_parser = commands.add_parser("guard", parents=[named])
    guard_parser.add_argument("owner_pid", type=int)
    return parser


def _command_up(args) -> int:
    fields = {f.name: getattr(args, f.name) for f in dataclasses.fields(Topology)}
    began = time.monotonic()
    testbed = Testbed(Topology(**fields), prefix=args.prefix).up()
    testbed.release()
    print(f"testbed {testbed.prefix} is up after {time.monotonic() - began:.2f} s: "
          f"{' '.join(testbed.hosts)}")
    return 0


def _command_down(args) -> int:
    if os.geteuid() != 0:
        raise TestbedError("the testbed needs root")
    signals.install()
    with signals.hold():
        if args.stale:
            for prefix in remove_stale():
                print(f"testbed {prefix} removed")
        elif not remove(check_prefix(args.prefix)):
            print(f"no testbed {args.prefix}", file=sys.stderr)
    return 0


def _command_exec(args) -> int:
    state = read_state(check_prefix(args.prefix))
    if not state:
        raise TestbedError(f"no testbed {args.prefix}; `testbed up` builds one")
    ns = args.prefix + args.host
    if ns not in state["namespaces"]:
        known = ", ".join(n.removeprefix(args.prefix) for n in state["namespaces"])
        raise TestbedError(f"no host {args.host!r} in testbed {args.prefix}: {known}")
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    argv = argv or [os.environ.get("SHELL", "/bin/sh")]
    sys.stdout.flush()
    command = enter(ns, argv)
    os.execvp(command[0], command)


def _command_status(_args) -> int:
    for prefix in list_prefixes():
        state = read_state(prefix)
        if not state:
            continue
        owner = state["owner"]
        whose = "stays until `testbed down`"
        if owner:
            whose = f"belongs to process {owner['pid']}"
            whose += "" if owner_alive(owner) else ", which is gone"
        plan = Plan(Topology(**state["topology"]))
        print(f"testbed {prefix}: {state['phase']}, {plan.topology.layout}, {whose}")
        print(f"  {'vip':<10} {' '.join(plan.vips4 + plan.vips6)}")
        for host in plan.hosts:
            legs = "; ".join(f"{leg.dev} {leg.ip4} {leg.ip6} mtu {leg.mtu}" for leg in host.legs)
            print(f"  {host.name:<10} {legs}")
    return 0


def command_line(argv: list[str]) -> int:
    """The command `testbed`: arguments -> exit status."""
    args = _parser().parse_args(argv)
    if args.command == "guard":
        return guard(check_prefix(args.prefix), args.owner_pid)
    commands = {
        "up": _command_up,
        "down": _command_down,
        "exec": _command_exec,
        "status": _command_status,
    }
    return run_main(commands[args.command], args)
