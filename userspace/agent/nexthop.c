/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/nexthop_state.h"

#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "userspace/lib/cleanup.h"

#define RECHECK_EVERY_MS 1000
#define REOPEN_MS        1000

/* --- time ------------------------------------------------------------------------------------- */

/* Everything may have changed: links at once, the rest as dirty targets. */
static int resync(struct nexthop_table *t)
{
	int r;

	t->resync = false;
	r = nexthop_read_links(t);
	if (r < 0) {
		t->resync = true;
		return r;
	}
	for (uint32_t i = 0; i < NEXTHOP_BUCKETS; i++) {
		for (struct neigh *n = t->neighs[i]; n; n = n->next)
			n->asked = false;
	}
	nexthop_mark_all(t);
	return 0;
}

/* All targets once in NEXTHOP_RECHECK_MS, some every second. */
static void recheck(struct nexthop_table *t, uint64_t now_ms)
{
	uint32_t share = t->n_targets * RECHECK_EVERY_MS / NEXTHOP_RECHECK_MS + 1;

	if (now_ms < t->recheck_ms)
		return;
	t->recheck_ms = now_ms + RECHECK_EVERY_MS;
	for (uint32_t i = 0; i < share && i < t->n_targets; i++) {
		struct target *target;

		t->recheck_at = t->recheck_at < t->n_targets ? t->recheck_at : 0;
		target = t->targets[t->recheck_at++];
		if (target->neigh)
			target->neigh->asked = false;
		nexthop_mark_dirty(t, target);
	}
}

static int open_events(struct nexthop_table *t)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct mnl_socket *nl;
	int r;

	r = nexthop_open_socket(NEXTHOP_SOCKET_EVENTS, &nl);
	if (r < 0)
		return r;
	if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, mnl_socket_get_fd(nl), &ev) < 0) {
		r = -errno;
		mnl_socket_close(nl);
		return r;
	}
	if (t->events)
		mnl_socket_close(t->events); /* leaves the epoll set by itself */
	t->events = nl;
	t->broken = false;
	t->resync = true;
	return 0;
}

/* A failed socket is replaced, not more often than every REOPEN_MS. */
static int repair(struct nexthop_table *t, uint64_t now_ms)
{
	struct mnl_socket *nl;
	int r;

	if (now_ms < t->reopen_ms)
		return 0;
	t->reopen_ms = now_ms + REOPEN_MS;
	r = nexthop_open_socket(NEXTHOP_SOCKET_REQUESTS, &nl);
	if (r < 0)
		return r;
	mnl_socket_close(t->requests);
	t->requests = nl;
	return open_events(t);
}

int nexthop_step(struct nexthop_table *t, uint64_t now_ms)
{
	uint64_t next_ms = 0;
	int r = 0;

	if (t->broken)
		r = repair(t, now_ms);
	if (r >= 0 && t->broken)
		return REOPEN_MS;
	if (r >= 0 && t->resync)
		r = resync(t);
	recheck(t, now_ms);
	if (r >= 0)
		r = nexthop_look_up_dirty(t);
	if (r >= 0)
		r = nexthop_kick_due(t, now_ms, &next_ms);
	if (r < 0) {
		t->broken = true;
		return r;
	}
	if (t->dirty_head)
		return 0;
	if (t->recheck_ms < next_ms)
		next_ms = t->recheck_ms;
	return next_ms > now_ms ? next_ms - now_ms : 0;
}

/* --- life ------------------------------------------------------------------------------------- */

int nexthop_new(nexthop_changed_fn changed, void *userdata, struct nexthop_table **ret)
{
	struct nexthop_table *t;
	int r;

	assert(changed && ret);

	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->changed = changed;
	t->userdata = userdata;
	t->seq = 1;
	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r = t->epoll_fd < 0 ? -errno : nexthop_open_socket(NEXTHOP_SOCKET_REQUESTS, &t->requests);
	if (r >= 0)
		r = open_events(t);
	if (r >= 0)
		r = resync(t);
	if (r < 0) {
		nexthop_free(&t);
		return r;
	}
	*ret = t;
	return 0;
}

static void free_target(struct nexthop_table *t, struct target *target)
{
	nexthop_leave_neigh(t, target);
	free(target->ids);
	free(target);
}

void nexthop_free(struct nexthop_table **t)
{
	if (!t || !*t)
		return;
	for (uint32_t i = 0; i < (*t)->n_targets; i++)
		free_target(*t, (*t)->targets[i]);
	if ((*t)->events)
		mnl_socket_close((*t)->events);
	if ((*t)->requests)
		mnl_socket_close((*t)->requests);
	if ((*t)->epoll_fd >= 0)
		close((*t)->epoll_fd);
	free((*t)->targets);
	free((*t)->links);
	free(*t);
	*t = NULL;
}

static int add_target(struct nexthop_table *t, const struct address *addr, struct target **ret)
{
	uint32_t at = nexthop_lower_bound(t, addr);
	struct target *target, **more;

	more = reallocarray(t->targets, t->n_targets + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	t->targets = more;
	target = calloc(1, sizeof(*target));
	if (!target)
		return -ENOMEM;
	target->addr = *addr;
	target->result.state = NEXTHOP_PENDING;
	target->route.state = NEXTHOP_PENDING;
	memmove(&t->targets[at + 1], &t->targets[at], (t->n_targets - at) * sizeof(*more));
	t->targets[at] = target;
	t->n_targets++;
	*ret = target;
	return 0;
}

static void remove_target(struct nexthop_table *t, struct target *target)
{
	uint32_t at = nexthop_lower_bound(t, &target->addr);

	assert(t->targets[at] == target);
	t->n_targets--;
	memmove(&t->targets[at], &t->targets[at + 1], (t->n_targets - at) * sizeof(*t->targets));
	nexthop_unlink_dirty(t, target);
	free_target(t, target);
}

int nexthop_add(struct nexthop_table *t, uint32_t id, const struct address *addr)
{
	struct target *target;
	uint32_t *ids;
	int r;

	assert(id < NEXTHOP_IDS_MAX);
	assert(addr->family == AF_INET || addr->family == AF_INET6);

	if (t->by_id[id])
		return -EEXIST;
	target = nexthop_find_target(t, addr);
	if (!target) {
		r = add_target(t, addr, &target);
		if (r < 0)
			return r;
		nexthop_mark_dirty(t, target);
	}
	ids = reallocarray(target->ids, target->n_ids + 1, sizeof(*ids));
	if (!ids) {
		if (!target->n_ids)
			remove_target(t, target);
		return -ENOMEM;
	}
	target->ids = ids;
	target->ids[target->n_ids++] = id;
	t->by_id[id] = target;
	return 0;
}

void nexthop_remove(struct nexthop_table *t, uint32_t id)
{
	struct target *target = id < NEXTHOP_IDS_MAX ? t->by_id[id] : NULL;

	if (!target)
		return;
	t->by_id[id] = NULL;
	for (uint32_t i = 0; i < target->n_ids; i++) {
		if (target->ids[i] != id)
			continue;
		target->ids[i] = target->ids[--target->n_ids];
		break;
	}
	if (!target->n_ids)
		remove_target(t, target);
}

int nexthop_get(const struct nexthop_table *t, uint32_t id, struct nexthop_result *ret_result)
{
	if (id >= NEXTHOP_IDS_MAX || !t->by_id[id])
		return -ENOENT;
	*ret_result = t->by_id[id]->result;
	return 0;
}

int nexthop_fd(const struct nexthop_table *t)
{
	return t->epoll_fd;
}

static const char *const state_names[] = {
	[NEXTHOP_PENDING] = "pending", [NEXTHOP_NO_ROUTE] = "no route", [NEXTHOP_LOCAL] = "local",
	[NEXTHOP_NO_LINK] = "no link", [NEXTHOP_NO_MAC] = "no MAC",     [NEXTHOP_READY] = "ready",
};

const char *nexthop_state_name(enum nexthop_state state)
{
	if (state < NEXTHOP_PENDING || state > NEXTHOP_READY)
		return "?";
	return state_names[state];
}
