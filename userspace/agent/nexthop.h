/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Node address -> egress device, next hop's MAC, source address, MTU; kept up to date.
 *
 * The kernel is asked once for each address (and for each neighbour, which many addresses behind a
 * gateway share); after that its events say what changed, and only the addresses that a change can
 * touch are looked up again. Lost events (ENOBUFS) lead to a new look at everything, and so does,
 * slowly, the passing of time: what the kernel does not announce (path MTU) is seen within
 * NEXTHOP_RECHECK_MS. Neighbours that are missing are asked for (NTF_USE), again and again, slowly.
 * A neighbour that fails keeps its last MAC until a better one is known: whether a node is dead is
 * for its health check to say.
 *
 * Sources: rtnetlink(7), linux/rtnetlink.h, linux/neighbour.h.
 */
#ifndef SLUICE_AGENT_NEXTHOP_H
#define SLUICE_AGENT_NEXTHOP_H

#include <stdbool.h>
#include <stdint.h>

#include "userspace/lib/address.h"

#define NEXTHOP_IDS_MAX    8192
#define NEXTHOP_RECHECK_MS 60000

enum nexthop_state {
	NEXTHOP_PENDING = 1,  /* not looked up yet */
	NEXTHOP_NO_ROUTE = 2, /* the kernel has no route (unreachable, prohibit, blackhole) */
	NEXTHOP_LOCAL = 3,    /* an address of this host: XDP cannot forward to it */
	NEXTHOP_NO_LINK = 4,  /* the device has no Ethernet address, or is gone or down */
	NEXTHOP_NO_MAC = 5,   /* the neighbour has not answered yet */
	NEXTHOP_READY = 6,    /* everything below is valid */
};

struct nexthop_result {
	enum nexthop_state state;
	uint32_t ifindex;       /* from NO_LINK on */
	uint8_t dmac[6];        /* READY */
	uint8_t smac[6];        /* from NO_MAC on */
	bool on_link;           /* no gateway between */
	struct address gateway; /* family 0: none; may be of the other family */
	struct address src;     /* preferred source; from NO_LINK on, family 0: none */
	uint16_t vlan;          /* 802.1Q tag of what leaves; 0: none; from NO_MAC on */
	uint32_t mtu;           /* of the path, bytes of IP packet; from NO_MAC on */
};

struct nexthop_table;

/* id is the caller's; called from nexthop_dispatch() and nexthop_step() when a result changed. */
typedef void (*nexthop_changed_fn)(void *userdata, uint32_t id, const struct nexthop_result *res);

/* Opens the sockets and reads the links. Returns 0; -ENOMEM or what the kernel says. */
int nexthop_new(nexthop_changed_fn changed, void *userdata, struct nexthop_table **ret);

/* Accepts NULL inside; clears. */
void nexthop_free(struct nexthop_table **t);

/*
 * Keep addr resolved for id (< NEXTHOP_IDS_MAX); many ids may have the same address. The caller's
 * nexthop_step() is due at once. Nothing is called back from here. Returns 0; -EEXIST if the id is
 * in use; -ENOMEM.
 */
int nexthop_add(struct nexthop_table *t, uint32_t id, const struct address *addr);

/* An unknown id is ignored. Not to be called from the callback. */
void nexthop_remove(struct nexthop_table *t, uint32_t id);

/* Returns 0; -ENOENT for an unknown id. */
int nexthop_get(const struct nexthop_table *t, uint32_t id, struct nexthop_result *ret_result);

/* Poll this for input and call nexthop_dispatch() then: reads what is there, a bounded amount. */
int nexthop_fd(const struct nexthop_table *t);
int nexthop_dispatch(struct nexthop_table *t, uint64_t now_ms);

/*
 * Do a bounded part (some milliseconds) of the look-ups that are due. Returns the milliseconds
 * until it wants to be called again (0: more is due now), or -errno if a socket failed and could
 * not be opened again.
 */
int nexthop_step(struct nexthop_table *t, uint64_t now_ms);

/* "ready", "no route" …; "?" out of range. */
const char *nexthop_state_name(enum nexthop_state state);

#endif
