#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A DNS server for a drill: names.py ADDRESS FILE. Answers every A query, over UDP, with the IPv4
addresses of the file, one a line, as they are at the time; TTL 1 s. None: an empty answer.
"""
import socket
import struct
import sys

TYPE_A, CLASS_IN = 1, 1


def answer(query: bytes, addresses: list[str]) -> bytes:
    (number,) = struct.unpack_from("!H", query)
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    (kind,) = struct.unpack_from("!H", question, len(question) - 4)
    records = b"".join(
        struct.pack("!HHHIH", 0xC00C, TYPE_A, CLASS_IN, 1, 4) + socket.inet_aton(a)
        for a in addresses if kind == TYPE_A
    )
    n = len(records) // 16
    # Response, recursion desired and available; as many answers as there are records.
    return struct.pack("!HHHHHH", number, 0x8180, 1, n, 0, 0) + question + records


def main(address: str, path: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((address, 53))
        print("ready", flush=True)
        while True:
            query, peer = s.recvfrom(4096)
            with open(path, encoding="ascii") as f:
                addresses = f.read().split()
            try:
                s.sendto(answer(query, addresses), peer)
            except (ValueError, struct.error):
                continue


if __name__ == "__main__":
    main(*sys.argv[1:])
