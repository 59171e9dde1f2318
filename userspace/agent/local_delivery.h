/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which packets for a VIP this host's kernel takes as its own, so that the fallback responder's
 * socket gets what the packet program passes up.
 *
 * A VIP is not an address of this host: while nodes serve it, the kernel sees none of its packets,
 * and what is sent to other ports of the address, or by programs on this host, goes where routing
 * says. While a pool is empty (and a little longer, for answers in progress) there is one routing
 * rule for each of its VIPs, of exactly its address, TCP and its port:
 *
 *	ip rule add priority 83 protocol 83 to VIP ipproto tcp dport PORT lookup 8383
 *	ip route add local default dev lo table 8383 protocol 83
 *
 * Nothing else is taken. ARP and neighbour discovery are left alone too: the rule asks for a port,
 * which they have not, so this host does not claim the address on a segment; packets come since
 * the VIP is routed here, as for balancing. The reverse path: sockets are transparent
 * (IP_TRANSPARENT), so the kernel lets them answer from an address it does not own, along its
 * ordinary routes to the client; rp_filter judges the client's address as ever. A packet filter of
 * the operator's sees these packets in its INPUT hook. Where the operator has put the VIP on a
 * device of this host, the local table answers before these rules do, and that works as well.
 *
 * Rules are the kernel's, so they outlive the agent; the next one adopts what it finds by its
 * protocol number. In between nobody listens: IPv6 connections are refused; of IPv4 the kernel
 * sends no reset from an address that is neither its own nor a transparent socket's, so clients
 * send their SYN again: for LB_AGENT_SILENT_MS, after which the packet program resets them, or
 * until an agent is back. Others may flush the rules (systemd-networkd does by default, at its
 * restart): they are put back within LOCAL_DELIVERY_ASSERT_MS.
 */
#ifndef SLUICE_AGENT_LOCAL_DELIVERY_H
#define SLUICE_AGENT_LOCAL_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "userspace/lib/address.h"

#define LOCAL_DELIVERY_PROTOCOL	 83 /* of rules and routes, "who made it" */
#define LOCAL_DELIVERY_PRIORITY	 83
#define LOCAL_DELIVERY_TABLE	 8383
#define LOCAL_DELIVERY_ASSERT_MS 5000

struct local_delivery;

/* Rules of an earlier agent are kept until adopted_until_ms at least. Returns 0; -ENOMEM; -errno
 * of netlink. */
int local_delivery_new(int64_t adopted_until_ms, struct local_delivery **ret);

/* What is in the kernel stays. Accepts NULL inside; clears. */
void local_delivery_free(struct local_delivery **ld);

/*
 * Deliver TCP packets for this address and port to this host until then, at least. Returns 0;
 * -ENOMEM; -errno of the kernel: tried again in local_delivery_tick().
 */
int local_delivery_keep(struct local_delivery *ld, const struct endpoint *ep, int64_t until_ms);

/* Take out what is past its time; every LOCAL_DELIVERY_ASSERT_MS put back what was flushed.
 * Returns 0, or the first -errno. */
int local_delivery_tick(struct local_delivery *ld, int64_t now_ms);

/* All of it out of the kernel, at once. Returns 0, or the first -errno. */
int local_delivery_clear(struct local_delivery *ld);

bool local_delivery_has(const struct local_delivery *ld, const struct endpoint *ep);

#endif
