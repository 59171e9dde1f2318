# SPDX-License-Identifier: BSD-2-Clause
"""Captured frames -> their headers and whether the checksums in them are right."""
from __future__ import annotations

import dataclasses
import ipaddress
import struct

ETH_IP4, ETH_IP6 = 0x0800, 0x86DD
IPIP, TCP, UDP, IP6IN, ICMP, ICMP6 = 4, 6, 17, 41, 1, 58


@dataclasses.dataclass
class Packet:
    """One IP packet. inner: the packet inside an IP-in-IP header. bad: wrong checksums, by name."""

    src: str
    dst: str
    proto: int
    ttl: int
    length: int
    payload: bytes
    sport: int = 0
    dport: int = 0
    tcp_flags: int = 0
    inner: "Packet | None" = None
    bad: list[str] = dataclasses.field(default_factory=list)

    @property
    def bad_sums(self) -> list[str]:
        return self.bad + (self.inner.bad_sums if self.inner else [])


@dataclasses.dataclass
class Frame:
    src: str
    dst: str
    ethertype: int
    length: int
    ip: Packet | None


def ones_sum(data: bytes) -> int:
    """The 16-bit one's-complement sum (RFC 1071); 0xffff over data that holds a right checksum."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _mac(raw: bytes) -> str:
    return ":".join(f"{b:02x}" for b in raw)


def parse_frame(raw: bytes) -> Frame:
    ethertype = int.from_bytes(raw[12:14], "big")
    packet = parse_ip(raw[14:]) if ethertype in (ETH_IP4, ETH_IP6) else None
    return Frame(_mac(raw[6:12]), _mac(raw[:6]), ethertype, len(raw), packet)


def parse_ip(raw: bytes) -> Packet | None:
    """A packet from its first byte; None if it is too short to be one. Padding is cut off."""
    version = raw[0] >> 4 if raw else 0
    if version == 4 and len(raw) >= 20:
        return _finish(*_parse_ip4(raw))
    if version == 6 and len(raw) >= 40:
        return _finish(*_parse_ip6(raw))
    return None


def _parse_ip4(raw: bytes):
    header = (raw[0] & 15) * 4
    length, fragment = struct.unpack("!H2xH", raw[2:8])
    src, dst = raw[12:16], raw[16:20]
    packet = Packet(
        str(ipaddress.IPv4Address(src)), str(ipaddress.IPv4Address(dst)),
        raw[9], raw[8], length, raw[header:length],
    )
    if ones_sum(raw[:header]) != 0xFFFF:
        packet.bad.append("ip4")
    return packet, src + dst, bool(fragment & 0x3FFF)


def _parse_ip6(raw: bytes):
    length = 40 + int.from_bytes(raw[4:6], "big")
    src, dst = raw[8:24], raw[24:40]
    packet = Packet(
        str(ipaddress.IPv6Address(src)), str(ipaddress.IPv6Address(dst)),
        raw[6], raw[7], length, raw[40:length],
    )
    return packet, src + dst, False


def _finish(packet: Packet, addresses: bytes, is_fragment: bool) -> Packet:
    body = packet.payload
    if is_fragment:
        return packet
    if packet.proto in (IPIP, IP6IN):
        packet.inner = parse_ip(body)
        return packet
    pseudo = addresses + struct.pack("!IHH", len(body), 0, packet.proto)
    if packet.proto == TCP and len(body) >= 20:
        packet.sport, packet.dport = struct.unpack("!HH", body[:4])
        packet.tcp_flags = body[13]
        _check(packet, "tcp", pseudo + body)
    elif packet.proto == UDP and len(body) >= 8:
        packet.sport, packet.dport = struct.unpack("!HH", body[:4])
        if body[6:8] != b"\0\0":
            _check(packet, "udp", pseudo + body)
    elif packet.proto == ICMP:
        _check(packet, "icmp", body)
    elif packet.proto == ICMP6:
        _check(packet, "icmp6", pseudo + body)
    return packet


def _check(packet: Packet, name: str, summed: bytes) -> None:
    if ones_sum(summed) != 0xFFFF:
        packet.bad.append(name)


def read_pcap(data: bytes) -> list[bytes]:
    """The frames of a capture file (classic pcap, either byte order, Ethernet)."""
    if len(data) < 24:
        return []
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    frames, pos = [], 24
    while pos + 16 <= len(data):
        (size,) = struct.unpack(f"{order}I", data[pos + 8 : pos + 12])
        if pos + 16 + size > len(data):
            break
        frames.append(data[pos + 16 : pos + 16 + size])
        pos += 16 + size
    return frames
