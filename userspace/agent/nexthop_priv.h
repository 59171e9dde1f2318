/* SPDX-License-Identifier: BSD-2-Clause */
/* rtnetlink messages <-> what nexthop.c works with. */
#ifndef SLUICE_AGENT_NEXTHOP_PRIV_H
#define SLUICE_AGENT_NEXTHOP_PRIV_H

#include <libmnl/libmnl.h>

#include "userspace/agent/nexthop.h"

/* Answer to "which way to this address". */
struct nexthop_route {
	enum nexthop_state state; /* NO_ROUTE, LOCAL; else NO_MAC: the rest is valid */
	uint32_t ifindex;
	uint32_t mtu; /* of the route; 0: the device's */
	struct address gateway;
	struct address src;
};

struct nexthop_link {
	uint32_t ifindex;
	bool gone;
	bool usable; /* up, with carrier, Ethernet */
	uint8_t mac[6];
	uint32_t mtu;
	uint16_t vlan;	 /* tag of a VLAN device; 0: it is none */
	uint32_t parent; /* of a VLAN device: what its frames leave by */
};

struct nexthop_neigh {
	uint32_t ifindex;
	struct address addr;
	bool valid; /* mac is known and not refuted */
	uint8_t mac[6];
};

/* Addresses whose route a change may touch. */
struct nexthop_prefix {
	struct address addr;
	uint8_t len;
};

/* Requests, one message each, into buf[MNL_SOCKET_BUFFER_SIZE]; return its length. */
size_t nexthop_put_route(void *buf, uint32_t seq, const struct address *addr);
size_t nexthop_put_neigh(void *buf, uint32_t seq, uint32_t ifindex, const struct address *addr);
size_t nexthop_put_kick(void *buf, uint32_t seq, uint32_t ifindex, const struct address *addr);
size_t nexthop_put_link_dump(void *buf, uint32_t seq);

/* Return 0; -EPROTO if the message is not what is expected. */
int nexthop_parse_route(const struct nlmsghdr *nlh, struct nexthop_route *ret);
int nexthop_parse_link(const struct nlmsghdr *nlh, struct nexthop_link *ret);
int nexthop_parse_neigh(const struct nlmsghdr *nlh, struct nexthop_neigh *ret);
int nexthop_parse_route_change(const struct nlmsghdr *nlh, struct nexthop_prefix *ret);
int nexthop_parse_addr(const struct nlmsghdr *nlh, uint32_t *ret_ifindex, struct address *ret_addr);

enum nexthop_socket { NEXTHOP_SOCKET_REQUESTS = 1, NEXTHOP_SOCKET_EVENTS = 2 };

/* Returns 0 or -errno. */
int nexthop_open_socket(enum nexthop_socket kind, struct mnl_socket **ret);

#endif
