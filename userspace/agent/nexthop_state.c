/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/nexthop_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINKS_MAX 4096

/* --- links ------------------------------------------------------------------------------------ */

static struct nexthop_link *find_link(const struct nexthop_table *t, uint32_t ifindex)
{
	for (uint32_t i = 0; i < t->n_links; i++) {
		if (t->links[i].ifindex == ifindex)
			return &t->links[i];
	}
	return NULL;
}

bool nexthop_set_link(struct nexthop_table *t, const struct nexthop_link *news)
{
	struct nexthop_link *l = find_link(t, news->ifindex), *more;

	if (news->gone) {
		if (l)
			*l = t->links[--t->n_links];
		return l != NULL;
	}
	if (l) {
		bool same = l->usable == news->usable && l->mtu == news->mtu &&
			    l->vlan == news->vlan && l->parent == news->parent &&
			    !memcmp(l->mac, news->mac, sizeof(l->mac));

		*l = *news;
		return !same;
	}
	if (t->n_links == LINKS_MAX)
		return false;
	more = reallocarray(t->links, t->n_links + 1, sizeof(*more));
	if (!more) {
		t->resync = true;
		return false;
	}
	t->links = more;
	t->links[t->n_links++] = *news;
	return true;
}

/* --- neighbours ------------------------------------------------------------------------------- */

static uint32_t neigh_hash(uint32_t ifindex, const struct address *addr)
{
	uint32_t h = 2166136261u ^ ifindex; /* FNV-1a */

	for (unsigned int i = 0; i < sizeof(addr->bytes); i++)
		h = (h ^ addr->bytes[i]) * 16777619u;
	return (h ^ h >> 16) % NEXTHOP_BUCKETS;
}

struct neigh *nexthop_find_neigh(const struct nexthop_table *t, uint32_t ifindex,
				 const struct address *addr)
{
	struct neigh *n = t->neighs[neigh_hash(ifindex, addr)];

	while (n && (n->ifindex != ifindex || !address_equal(&n->addr, addr)))
		n = n->next;
	return n;
}

static struct neigh *add_neigh(struct nexthop_table *t, uint32_t ifindex,
			       const struct address *addr)
{
	struct neigh **head = &t->neighs[neigh_hash(ifindex, addr)];
	struct neigh *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->ifindex = ifindex;
	n->addr = *addr;
	n->next = *head;
	*head = n;
	return n;
}

static void drop_neigh(struct nexthop_table *t, struct neigh *n)
{
	struct neigh **at = &t->neighs[neigh_hash(n->ifindex, &n->addr)];

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	free(n);
}

void nexthop_leave_neigh(struct nexthop_table *t, struct target *target)
{
	struct neigh *n = target->neigh;

	if (!n)
		return;
	if (target->user_prev)
		target->user_prev->user_next = target->user_next;
	else
		n->users = target->user_next;
	if (target->user_next)
		target->user_next->user_prev = target->user_prev;
	target->user_prev = target->user_next = NULL;
	target->neigh = NULL;
	if (!n->users)
		drop_neigh(t, n);
}

int nexthop_join_neigh(struct nexthop_table *t, struct target *target, uint32_t ifindex,
		       const struct address *addr)
{
	struct neigh *n = target->neigh;

	if (n && n->ifindex == ifindex && address_equal(&n->addr, addr))
		return 0;
	n = nexthop_find_neigh(t, ifindex, addr);
	if (!n)
		n = add_neigh(t, ifindex, addr);
	if (!n)
		return -ENOMEM;
	nexthop_leave_neigh(t, target);
	target->neigh = n;
	target->user_next = n->users;
	if (n->users)
		n->users->user_prev = target;
	n->users = target;
	return 0;
}

/* --- targets ---------------------------------------------------------------------------------- */

void nexthop_mark_dirty(struct nexthop_table *t, struct target *target)
{
	if (target->dirty)
		return;
	target->dirty = true;
	target->dirty_next = NULL;
	if (t->dirty_tail)
		t->dirty_tail->dirty_next = target;
	else
		t->dirty_head = target;
	t->dirty_tail = target;
}

struct target *nexthop_take_dirty(struct nexthop_table *t)
{
	struct target *target = t->dirty_head;

	if (!target)
		return NULL;
	t->dirty_head = target->dirty_next;
	if (!t->dirty_head)
		t->dirty_tail = NULL;
	target->dirty = false;
	return target;
}

void nexthop_unlink_dirty(struct nexthop_table *t, struct target *target)
{
	struct target *before = NULL, *at = t->dirty_head;

	if (!target->dirty)
		return;
	while (at != target) {
		before = at;
		at = at->dirty_next;
	}
	if (before)
		before->dirty_next = target->dirty_next;
	else
		t->dirty_head = target->dirty_next;
	if (t->dirty_tail == target)
		t->dirty_tail = before;
	target->dirty = false;
}

void nexthop_mark_all(struct nexthop_table *t)
{
	for (uint32_t i = 0; i < t->n_targets; i++)
		nexthop_mark_dirty(t, t->targets[i]);
}

void nexthop_mark_device(struct nexthop_table *t, uint32_t ifindex)
{
	for (uint32_t i = 0; i < t->n_targets; i++) {
		struct target *target = t->targets[i];

		/* one without a way may get it by this device */
		if (target->route.ifindex == ifindex || target->route.state == NEXTHOP_NO_ROUTE)
			nexthop_mark_dirty(t, target);
	}
}

/* Index of the first target that is not before addr. */
uint32_t nexthop_lower_bound(const struct nexthop_table *t, const struct address *addr)
{
	uint32_t low = 0, high = t->n_targets;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (address_compare(&t->targets[middle]->addr, addr) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool in_prefix(const struct address *addr, const struct nexthop_prefix *p)
{
	unsigned int whole = p->len / 8, rest = p->len % 8;

	if (addr->family != p->addr.family || memcmp(addr->bytes, p->addr.bytes, whole))
		return false;
	return !rest || !((addr->bytes[whole] ^ p->addr.bytes[whole]) >> (8 - rest));
}

void nexthop_mark_prefix(struct nexthop_table *t, const struct nexthop_prefix *p)
{
	for (uint32_t i = nexthop_lower_bound(t, &p->addr);
	     i < t->n_targets && in_prefix(&t->targets[i]->addr, p); i++)
		nexthop_mark_dirty(t, t->targets[i]);
}

struct target *nexthop_find_target(const struct nexthop_table *t, const struct address *addr)
{
	uint32_t i = nexthop_lower_bound(t, addr);

	if (i < t->n_targets && address_equal(&t->targets[i]->addr, addr))
		return t->targets[i];
	return NULL;
}

/* --- results ---------------------------------------------------------------------------------- */

static bool same_result(const struct nexthop_result *a, const struct nexthop_result *b)
{
	return a->state == b->state && a->ifindex == b->ifindex && !memcmp(a->dmac, b->dmac, 6) &&
	       !memcmp(a->smac, b->smac, 6) && a->on_link == b->on_link &&
	       address_equal(&a->gateway, &b->gateway) && address_equal(&a->src, &b->src) &&
	       a->mtu == b->mtu && a->vlan == b->vlan;
}

/* Frames for a VLAN device leave by its parent, which must be no VLAN device itself. */
static bool use_parent(const struct nexthop_table *t, const struct nexthop_link *link,
		       struct nexthop_result *res)
{
	const struct nexthop_link *parent = find_link(t, link->parent);

	if (!parent || !parent->usable || parent->vlan)
		return false;
	res->ifindex = parent->ifindex;
	res->vlan = link->vlan;
	return true;
}

static struct nexthop_result result_of(const struct nexthop_table *t, const struct target *target)
{
	const struct nexthop_route *route = &target->route;
	const struct nexthop_link *link;
	struct nexthop_result res = {.state = route->state};

	if (route->state != NEXTHOP_NO_MAC)
		return res;
	res.ifindex = route->ifindex;
	res.gateway = route->gateway;
	res.on_link = !route->gateway.family;
	res.src = route->src;
	link = find_link(t, route->ifindex);
	if (!link || !link->usable || (link->vlan && !use_parent(t, link, &res))) {
		res.state = NEXTHOP_NO_LINK;
		return res;
	}
	memcpy(res.smac, link->mac, sizeof(res.smac));
	res.mtu = route->mtu && route->mtu < link->mtu ? route->mtu : link->mtu;
	if (target->neigh && target->neigh->has_mac) {
		memcpy(res.dmac, target->neigh->mac, sizeof(res.dmac));
		res.state = NEXTHOP_READY;
	}
	return res;
}

void nexthop_update_result(struct nexthop_table *t, struct target *target)
{
	struct nexthop_result res = result_of(t, target);

	if (same_result(&res, &target->result))
		return;
	target->result = res;
	for (uint32_t i = 0; i < target->n_ids; i++)
		t->changed(t->userdata, target->ids[i], &target->result);
}

/* What the kernel knows of a neighbour; keeps the last MAC when it knows nothing (any more). */
void nexthop_set_neigh(struct nexthop_table *t, struct neigh *n, bool valid, const uint8_t mac[6])
{
	bool moved = valid && (!n->has_mac || memcmp(n->mac, mac, sizeof(n->mac)));

	n->asked = true;
	if (n->valid && !valid) {
		n->kick_ms = 0;
		n->kick_wait_ms = 0;
	}
	n->valid = valid;
	if (!moved)
		return;
	memcpy(n->mac, mac, sizeof(n->mac));
	n->has_mac = true;
	for (struct target *user = n->users; user; user = user->user_next)
		nexthop_update_result(t, user);
}
