# SPDX-License-Identifier: BSD-2-Clause
"""What happens to the pool and when: a seed -> a list of actions. Pure: touches nothing."""
from __future__ import annotations

import dataclasses
import random

# Each disturbance and what ends it, with the seconds in between. None: it is over at once.
ENDS = {
    "weight": None,
    "drain": ("undrain", 2, 7),
    "deadline": ("undrain", 5, 7),
    "degrade": ("recover", 3, 7),
    "remove": ("add", 2, 7),
    "swap": None,
    "kill_agent": None,
    "reload_while_down": ("add", 2, 7),
    "kill_node": ("start_node", 2, 5),
}
CUTS = ("deadline", "kill_node")  # these end streams by intent: once in so many rounds
CUTS_EVERY = 4
DEADLINE_S = 2.0


@dataclasses.dataclass(frozen=True)
class Action:
    """at: seconds from the start. value: the new weight, or the node that comes in (swap)."""

    at: float
    kind: str
    node: str = ""
    value: object = None


class Schedule:
    """
    members: nodes in the pool at first; spares: nodes that may take a place in it. At least
    `quiet` members are undisturbed at any time, and as many nodes are in the pool as at first but
    for those that are removed just then.
    """

    def __init__(self, members: list[str], spares: list[str], seconds: float, seed: int,
                 step_s: float = 1.3):
        self.random = random.Random(seed)
        self.members = list(members)
        self.spares = list(spares)
        self.quiet = max(2, len(members) // 2)
        self.busy: dict[str, float] = {}  # node -> when its disturbance is over
        self.actions: list[Action] = []
        self._fill(seconds, step_s)
        self.actions.sort(key=lambda a: a.at)

    def _fill(self, seconds: float, step_s: float) -> None:
        kinds: list[str] = []
        rounds = 0
        at = 0.5
        while at < seconds:
            if not kinds:
                kinds = [k for k in ENDS if k not in CUTS or rounds % CUTS_EVERY == 0]
                rounds += 1
                self.random.shuffle(kinds)
            self._begin(kinds.pop(), at, seconds)
            at += step_s * self.random.uniform(0.6, 1.4)

    def _begin(self, kind: str, at: float, seconds: float) -> None:
        if kind == "kill_agent":
            self.actions.append(Action(at, kind))
            return
        free = [n for n in self.members if self.busy.get(n, 0) < at]
        if len(free) <= self.quiet or (kind == "swap" and not self.spares):
            return
        node = self.random.choice(free)
        end = ENDS[kind]
        if kind == "swap":
            spare = self.spares.pop(0)
            self.members[self.members.index(node)] = spare
            self.spares.append(node)
            self.busy[spare] = at + 3
            self.actions.append(Action(at, kind, node, spare))
            return
        value = self.random.randint(1, 4) if kind == "weight" else None
        self.actions.append(Action(at, kind, node, value))
        if not end:
            return
        over = min(at + self.random.uniform(*end[1:]), seconds)
        self.busy[node] = over + 1
        self.actions.append(Action(over, end[0], node))
