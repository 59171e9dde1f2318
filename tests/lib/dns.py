# SPDX-License-Identifier: BSD-2-Clause
"""
A DNS server for tests, over UDP and TCP, and what a test holds of it.

    dns = Dns(tb.ingress).start()
    dns.set("gpu.test", "A", ["10.77.2.11"], ttl=2)
    dns.behave("silent")

It answers from a file that is read for every question. As a program: dns.py ADDRESS PORT FILE.
"""
from __future__ import annotations

import ipaddress
import json
import os
import socketserver
import struct
import sys
import threading

PORT = 5300
TYPES = {1: "A", 5: "CNAME", 28: "AAAA", 33: "SRV"}
NUMBERS = {name: number for number, name in TYPES.items()}
RCODES = {"nxdomain": 3, "servfail": 2, "refused": 5}
UDP_MAX = 512  # what a question without EDNS may be answered with; the rest goes by TCP
BEHAVIOURS = ("answer", "silent", "garbage", "empty", *RCODES)


def encode_name(name: str) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def decode_name(data: bytes, at: int) -> tuple[str, int]:
    """A name without compression, as questions have it; the place behind it."""
    labels = []
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("ascii", "replace"))
        at += 1 + data[at]
    return ".".join(labels), at + 1


def encode_value(kind: str, value) -> bytes:
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(value).packed
    if kind == "SRV":
        priority, weight, port, target = value
        return struct.pack("!HHH", priority, weight, port) + encode_name(target)
    return encode_name(value)


def encode_record(name: str, kind: str, ttl: int, value) -> bytes:
    data = encode_value(kind, value)
    return encode_name(name) + struct.pack("!HHIH", NUMBERS[kind], 1, ttl, len(data)) + data


def find_records(zone: dict, name: str, kind: str) -> list[bytes]:
    """Records of the name, with the aliases that lead to them."""
    records = []
    for _ in range(8):
        sets = zone["names"].get(name.lower(), {})
        for found in (kind, "CNAME"):
            values = sets.get(found, {"values": [], "ttl": 0})
            records += [encode_record(name, found, values["ttl"], v) for v in values["values"]]
            if values["values"]:
                break
        if kind in sets or "CNAME" not in sets:
            break
        name = sets["CNAME"]["values"][0]
    return records


def answer(zone: dict, question: bytes, limit: int) -> bytes | None:
    """The bytes of an answer; None: silence."""
    ident, flags = struct.unpack("!HH", question[:4])
    name, at = decode_name(question, 12)
    kind = TYPES.get(struct.unpack("!H", question[at : at + 2])[0], "")
    asked = question[12 : at + 4]
    behaviour = zone["behaviour"]
    print(f"{name} {kind} {behaviour} {'udp' if limit == UDP_MAX else 'tcp'}", flush=True)
    if behaviour == "silent":
        return None
    if behaviour == "garbage":
        return question[:12] + b"\xff" * 40
    rcode, records = RCODES.get(behaviour, 0), []
    if behaviour == "answer":
        if name.lower() not in zone["names"]:
            rcode = RCODES["nxdomain"]
        records = find_records(zone, name, kind)
    flags = 0x8180 | (flags & 0x0100) | rcode
    body = asked + b"".join(records)
    if 12 + len(body) > limit:
        flags, body, records = flags | 0x0200, asked, []
    return struct.pack("!HHHHHH", ident, flags, 1, len(records), 0, 0) + body


def read_zone(path: str) -> dict:
    with open(path, encoding="utf-8") as f:
        return json.load(f)


class _Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        reply = answer(read_zone(self.server.zone_path), data, UDP_MAX)
        if reply is not None:
            sock.sendto(reply, self.client_address)


class _Tcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        size = struct.unpack("!H", self.rfile.read(2))[0]
        reply = answer(read_zone(self.server.zone_path), self.rfile.read(size), 65535)
        if reply is not None:
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


class _TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def serve(address: str, port: int, zone_path: str) -> None:
    servers = [
        socketserver.UDPServer((address, port), _Udp),
        _TcpServer((address, port), _Tcp),
    ]
    for server in servers:
        server.zone_path = zone_path
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


class Dns:
    """The server on a host of the testbed, at its loopback."""

    def __init__(self, host, address: str = "127.0.0.1", port: int = PORT):
        self.host = host
        self.address = address
        self.port = port
        self.zone = {"behaviour": "answer", "names": {}}
        self.path = os.path.join(host.testbed.run_dir, f"dns-{host.name}.json")
        self.process = None

    @property
    def server(self) -> str:
        return f"{self.address}:{self.port}"

    def start(self) -> "Dns":
        from tests.lib.wait import wait_until

        self._write()
        argv = [sys.executable, os.path.abspath(__file__), self.address, str(self.port), self.path]
        self.process = self.host.popen(argv, name="dns")
        wait_until(lambda: "ready" in self.process.output(), 10, "the DNS server listens")
        return self

    def _write(self) -> None:
        with open(f"{self.path}.new", "w", encoding="utf-8") as f:
            json.dump(self.zone, f)
        os.rename(f"{self.path}.new", self.path)

    def set(self, name: str, kind: str, values: list, ttl: int = 1) -> None:
        """All records of that name and type: A, AAAA, CNAME; SRV: (priority, weight, port,
        name)."""
        self.zone["names"].setdefault(name, {})[kind] = {"values": values, "ttl": ttl}
        self._write()

    def behave(self, behaviour: str) -> None:
        """answer, silent, garbage, empty (no record), nxdomain, servfail, refused."""
        assert behaviour in BEHAVIOURS, behaviour
        self.zone["behaviour"] = behaviour
        self._write()

    def questions(self) -> list[str]:
        """"NAME TYPE BEHAVIOUR udp|tcp" for each question so far."""
        lines = self.process.output().splitlines()
        return [line for line in lines if line != "ready"]


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
