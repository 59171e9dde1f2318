# SPDX-License-Identifier: BSD-2-Clause
"""
A network of hosts on one machine: topology description -> namespaces, veth pairs, addresses,
routes; and back to nothing.

Every host is a network namespace named PREFIX + host name. One more namespace, PREFIX + "fabric",
holds the switches: one bridge per segment, one veth port per host leg. Nothing is ever created in
the namespace of the caller, so any number of testbeds with the same addresses can run side by side.

    clients --- [access] --- edge --- [front] --- ingress          (access and edge: optional)
                                         |
                          nodes (flat), or router --- [back] --- nodes (routed, split)

  flat    clients, ingress and nodes share the segment "front" (layer 2 forwarding works)
  routed  nodes are behind a router on the segment "back"; ingress has one leg, on "front"
  split   as routed, and ingress has a second leg, eth1, on "back"

Nodes own the virtual addresses on their loopback device and answer clients directly. Clients reach
the virtual prefixes by a route through the ingress host.

What was created is written down in /run/sluice-testbed/PREFIX.json before it is created, so that
`down` works after the creator was killed. A testbed made from Python belongs to its process: a
guard process takes it down when that process ends for whatever reason, SIGKILL included.
"""
from .host import Host, Process
from .plan import Leg, Plan, Segment, Topology
from .removal import remove, remove_stale
from .signals import Interrupted, TestbedError
from .testbed import Testbed, run_main

__all__ = [
    "Host",
    "Interrupted",
    "Leg",
    "Plan",
    "Process",
    "Segment",
    "Testbed",
    "TestbedError",
    "Topology",
    "remove",
    "remove_stale",
    "run_main",
]
