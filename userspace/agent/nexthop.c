/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A target is an address that ids want; a neighbour is what its route leads to first: itself or a
 * gateway. Targets that a change may touch are dirty, and looked up again in bounded batches.
 */
#include "userspace/agent/nexthop.h"

#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "userspace/agent/nexthop_priv.h"
#include "userspace/lib/cleanup.h"

#define BATCH          16 /* requests in one send: their answers fit any receive buffer */
#define STEP_TARGETS   64 /* looked up by one nexthop_step() */
#define DISPATCH_READS 64 /* buffers read by one nexthop_dispatch() */
#define NEIGH_BUCKETS  1024
#define BUF_SIZE       32768 /* the largest part of a dump */
#define LINKS_MAX      4096

#define KICK_MIN_MS      500 /* a neighbour that does not answer is asked again after this … */
#define KICK_MAX_MS      8000
#define RECHECK_EVERY_MS 1000
#define REOPEN_MS        1000

struct neigh {
	struct neigh *next; /* in its bucket */
	uint32_t ifindex;
	struct address addr;
	struct target *users;
	bool asked; /* the kernel's answer or an event was seen */
	bool valid; /* else mac is the last one known, if has_mac */
	bool has_mac;
	uint8_t mac[6];
	uint64_t kick_ms; /* when to ask again while it is not valid */
	uint32_t kick_wait_ms;
};

struct target {
	struct address addr;
	uint32_t *ids;
	uint32_t n_ids;
	struct nexthop_result result;
	struct nexthop_route route;
	struct neigh *neigh;
	struct target *user_prev, *user_next; /* of neigh */
	struct target *dirty_next;
	bool dirty;
};

struct nexthop_table {
	nexthop_changed_fn changed;
	void *userdata;
	struct mnl_socket *requests;
	struct mnl_socket *events;
	int epoll_fd;
	uint32_t seq;
	struct target *by_id[NEXTHOP_IDS_MAX];
	struct target **targets; /* sorted by address */
	uint32_t n_targets;
	struct target *dirty_head, *dirty_tail;
	struct neigh *neighs[NEIGH_BUCKETS];
	struct nexthop_link *links; /* in no order: there are few */
	uint32_t n_links;
	bool resync; /* events were lost */
	bool broken; /* the events' socket failed */
	uint64_t reopen_ms;
	uint64_t recheck_ms;
	uint32_t recheck_at; /* next of targets[] */
	char buf[BUF_SIZE] __attribute__((aligned(8)));
};

/* --- links ------------------------------------------------------------------------------------ */

static struct nexthop_link *find_link(const struct nexthop_table *t, uint32_t ifindex)
{
	for (uint32_t i = 0; i < t->n_links; i++) {
		if (t->links[i].ifindex == ifindex)
			return &t->links[i];
	}
	return NULL;
}

/* Returns whether anything that matters here has changed. */
static bool set_link(struct nexthop_table *t, const struct nexthop_link *news)
{
	struct nexthop_link *l = find_link(t, news->ifindex), *more;

	if (news->gone) {
		if (l)
			*l = t->links[--t->n_links];
		return l != NULL;
	}
	if (l) {
		bool same = l->usable == news->usable && l->mtu == news->mtu &&
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
	return (h ^ h >> 16) % NEIGH_BUCKETS;
}

static struct neigh *find_neigh(const struct nexthop_table *t, uint32_t ifindex,
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

static void leave_neigh(struct nexthop_table *t, struct target *target)
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

static int join_neigh(struct nexthop_table *t, struct target *target, uint32_t ifindex,
		      const struct address *addr)
{
	struct neigh *n = target->neigh;

	if (n && n->ifindex == ifindex && address_equal(&n->addr, addr))
		return 0;
	n = find_neigh(t, ifindex, addr);
	if (!n)
		n = add_neigh(t, ifindex, addr);
	if (!n)
		return -ENOMEM;
	leave_neigh(t, target);
	target->neigh = n;
	target->user_next = n->users;
	if (n->users)
		n->users->user_prev = target;
	n->users = target;
	return 0;
}

/* --- targets ---------------------------------------------------------------------------------- */

static void mark_dirty(struct nexthop_table *t, struct target *target)
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

static struct target *take_dirty(struct nexthop_table *t)
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

static void unlink_dirty(struct nexthop_table *t, struct target *target)
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

static void mark_all(struct nexthop_table *t)
{
	for (uint32_t i = 0; i < t->n_targets; i++)
		mark_dirty(t, t->targets[i]);
}

static void mark_device(struct nexthop_table *t, uint32_t ifindex)
{
	for (uint32_t i = 0; i < t->n_targets; i++) {
		struct target *target = t->targets[i];

		/* one without a way may get it by this device */
		if (target->route.ifindex == ifindex || target->route.state == NEXTHOP_NO_ROUTE)
			mark_dirty(t, target);
	}
}

/* Index of the first target that is not before addr. */
static uint32_t lower_bound(const struct nexthop_table *t, const struct address *addr)
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

static void mark_prefix(struct nexthop_table *t, const struct nexthop_prefix *p)
{
	for (uint32_t i = lower_bound(t, &p->addr);
	     i < t->n_targets && in_prefix(&t->targets[i]->addr, p); i++)
		mark_dirty(t, t->targets[i]);
}

static struct target *find_target(const struct nexthop_table *t, const struct address *addr)
{
	uint32_t i = lower_bound(t, addr);

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
	       a->mtu == b->mtu;
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
	if (!link || !link->usable) {
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

static void update_result(struct nexthop_table *t, struct target *target)
{
	struct nexthop_result res = result_of(t, target);

	if (same_result(&res, &target->result))
		return;
	target->result = res;
	for (uint32_t i = 0; i < target->n_ids; i++)
		t->changed(t->userdata, target->ids[i], &target->result);
}

/* What the kernel knows of a neighbour; keeps the last MAC when it knows nothing (any more). */
static void set_neigh(struct nexthop_table *t, struct neigh *n, bool valid, const uint8_t mac[6])
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
		update_result(t, user);
}

/* --- requests --------------------------------------------------------------------------------- */

/* One request of a batch, and what became of it. */
struct request {
	struct target *target;
	struct neigh *neigh;
	bool answered;
	int error; /* 0: nlh was handled */
};

typedef size_t (*put_fn)(struct nexthop_table *t, struct request *r, void *buf, uint32_t seq);
typedef void (*answer_fn)(struct nexthop_table *t, struct request *r, const struct nlmsghdr *nlh);

static void take_answers(struct nexthop_table *t, const char *buf, int len, struct request *reqs,
			 uint32_t n, uint32_t first_seq, answer_fn answer)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)buf;

	for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
		uint32_t i = nlh->nlmsg_seq - first_seq;
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

		if (i >= n || reqs[i].answered)
			continue; /* late, of a batch that was given up */
		reqs[i].answered = true;
		if (nlh->nlmsg_type == NLMSG_ERROR)
			reqs[i].error = nlh->nlmsg_len >= MNL_NLMSG_HDRLEN + sizeof(*e) ? e->error
											: -EPROTO;
		answer(t, &reqs[i], nlh->nlmsg_type == NLMSG_ERROR ? NULL : nlh);
	}
}

/*
 * Send n <= BATCH requests in one go. The kernel works them off before send() returns, so their
 * answers are there to be read. Returns 0 or -errno; requests without an answer are left so.
 */
static int ask(struct nexthop_table *t, struct request *reqs, uint32_t n, put_fn put,
	       answer_fn answer)
{
	uint32_t first_seq = t->seq, unread = n;
	size_t len = 0;
	ssize_t got;

	assert(n <= BATCH);
	for (uint32_t i = 0; i < n; i++)
		len += put(t, &reqs[i], t->buf + len, t->seq++);
	if (mnl_socket_sendto(t->requests, t->buf, len) < 0)
		return -errno;
	while (unread > 0) {
		got = mnl_socket_recvfrom(t->requests, t->buf, sizeof(t->buf));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EAGAIN ? 0 : -errno;
		take_answers(t, t->buf, got, reqs, n, first_seq, answer);
		unread = 0;
		for (uint32_t i = 0; i < n; i++)
			unread += !reqs[i].answered;
	}
	return 0;
}

static size_t put_route(struct nexthop_table *t, struct request *r, void *buf, uint32_t seq)
{
	(void)t;
	return nexthop_put_route(buf, seq, &r->target->addr);
}

static void take_route(struct nexthop_table *t, struct request *r, const struct nlmsghdr *nlh)
{
	struct nexthop_route route;

	(void)t;
	/* an error is the answer for unreachable, prohibit and blackhole routes, and for none */
	if (!nlh || nexthop_parse_route(nlh, &route) < 0)
		route = (struct nexthop_route){.state = NEXTHOP_NO_ROUTE};
	r->target->route = route;
}

static size_t put_neigh(struct nexthop_table *t, struct request *r, void *buf, uint32_t seq)
{
	(void)t;
	return nexthop_put_neigh(buf, seq, r->neigh->ifindex, &r->neigh->addr);
}

static void take_neigh(struct nexthop_table *t, struct request *r, const struct nlmsghdr *nlh)
{
	struct nexthop_neigh n = {0};

	if (nlh)
		(void)nexthop_parse_neigh(nlh, &n);
	set_neigh(t, r->neigh, n.valid, n.mac);
}

static size_t put_kick(struct nexthop_table *t, struct request *r, void *buf, uint32_t seq)
{
	(void)t;
	return nexthop_put_kick(buf, seq, r->neigh->ifindex, &r->neigh->addr);
}

/* Not permitted, or the device is gone: the health check's own packets will do it, or an event. */
static void take_kick(struct nexthop_table *t, struct request *r, const struct nlmsghdr *nlh)
{
	(void)t;
	(void)r;
	(void)nlh;
}

static int ask_neighs(struct nexthop_table *t, struct target *const *targets, uint32_t n)
{
	struct request reqs[BATCH] = {0};
	uint32_t n_reqs = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct neigh *neigh = targets[i]->neigh;

		if (!neigh || neigh->asked)
			continue;
		neigh->asked = true; /* others of this batch may share it */
		reqs[n_reqs++].neigh = neigh;
	}
	return n_reqs ? ask(t, reqs, n_reqs, put_neigh, take_neigh) : 0;
}

/* Routes of a batch of targets, then the neighbours that are new, then the results. */
static int look_up(struct nexthop_table *t, struct target *const *targets, uint32_t n)
{
	struct request reqs[BATCH] = {0};
	int r;

	for (uint32_t i = 0; i < n; i++)
		reqs[i].target = targets[i];
	r = ask(t, reqs, n, put_route, take_route);
	for (uint32_t i = 0; i < n; i++) {
		const struct nexthop_route *route = &targets[i]->route;

		if (!reqs[i].answered)
			mark_dirty(t, targets[i]);
		else if (route->state != NEXTHOP_NO_MAC)
			leave_neigh(t, targets[i]);
		else if (join_neigh(t, targets[i], route->ifindex,
				    route->gateway.family ? &route->gateway : &targets[i]->addr) <
			 0)
			mark_dirty(t, targets[i]);
	}
	if (r >= 0)
		r = ask_neighs(t, targets, n);
	for (uint32_t i = 0; i < n; i++)
		update_result(t, targets[i]);
	return r;
}

static int look_up_dirty(struct nexthop_table *t)
{
	struct target *batch[BATCH];
	uint32_t n;
	int r = 0;

	for (uint32_t done = 0; r >= 0 && done < STEP_TARGETS; done += n) {
		for (n = 0; n < BATCH && t->dirty_head; n++)
			batch[n] = take_dirty(t);
		if (!n)
			break;
		r = look_up(t, batch, n);
	}
	return r;
}

/* --- links and events ------------------------------------------------------------------------- */

static int read_links(struct nexthop_table *t)
{
	uint32_t seq = t->seq++;
	bool done = false;
	ssize_t got;

	t->n_links = 0;
	if (mnl_socket_sendto(t->requests, t->buf, nexthop_put_link_dump(t->buf, seq)) < 0)
		return -errno;
	while (!done) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)t->buf;
		struct nexthop_link link;
		int len;

		got = mnl_socket_recvfrom(t->requests, t->buf, sizeof(t->buf));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		for (len = got; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
			if (nlh->nlmsg_seq != seq)
				continue;
			done |= nlh->nlmsg_type == NLMSG_DONE || nlh->nlmsg_type == NLMSG_ERROR;
			if (nexthop_parse_link(nlh, &link) == 0)
				(void)set_link(t, &link);
		}
	}
	return 0;
}

static void take_link_event(struct nexthop_table *t, const struct nlmsghdr *nlh)
{
	struct nexthop_link link;

	/* a device going down takes IPv4 routes with it that are not announced */
	if (nexthop_parse_link(nlh, &link) == 0 && set_link(t, &link))
		mark_device(t, link.ifindex);
}

static void take_neigh_event(struct nexthop_table *t, const struct nlmsghdr *nlh)
{
	struct nexthop_neigh news;
	struct neigh *n;

	if (nexthop_parse_neigh(nlh, &news) < 0)
		return;
	n = find_neigh(t, news.ifindex, &news.addr);
	if (n)
		set_neigh(t, n, news.valid, news.mac);
}

static void take_addr_event(struct nexthop_table *t, const struct nlmsghdr *nlh)
{
	struct address addr;
	struct target *target;
	uint32_t ifindex;

	if (nexthop_parse_addr(nlh, &ifindex, &addr) < 0)
		return;
	mark_device(t, ifindex); /* preferred sources */
	target = find_target(t, &addr);
	if (target)
		mark_dirty(t, target);
}

static void take_event(struct nexthop_table *t, const struct nlmsghdr *nlh)
{
	struct nexthop_prefix prefix;

	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		take_link_event(t, nlh);
		break;
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		take_neigh_event(t, nlh);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		if (nexthop_parse_route_change(nlh, &prefix) == 0)
			mark_prefix(t, &prefix);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		take_addr_event(t, nlh);
		break;
	case RTM_NEWRULE:
	case RTM_DELRULE:
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		mark_all(t);
		break;
	default:
		break;
	}
}

int nexthop_dispatch(struct nexthop_table *t, uint64_t now_ms)
{
	(void)now_ms;
	for (unsigned int i = 0; !t->broken && i < DISPATCH_READS; i++) {
		ssize_t got = mnl_socket_recvfrom(t->events, t->buf, sizeof(t->buf));
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)t->buf;
		int len = got;

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (got < 0 && errno == ENOBUFS) {
			t->resync = true;
			continue;
		}
		if (got < 0) {
			t->broken = true;
			return -errno;
		}
		for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len))
			take_event(t, nlh);
	}
	return 0;
}

/* --- time ------------------------------------------------------------------------------------- */

/* Everything may have changed: links at once, the rest as dirty targets. */
static int resync(struct nexthop_table *t)
{
	int r;

	t->resync = false;
	r = read_links(t);
	if (r < 0) {
		t->resync = true;
		return r;
	}
	for (uint32_t i = 0; i < NEIGH_BUCKETS; i++) {
		for (struct neigh *n = t->neighs[i]; n; n = n->next)
			n->asked = false;
	}
	mark_all(t);
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
		mark_dirty(t, target);
	}
}

/* The kernel's answer comes as an event; one that is there already is read by the look-up. */
static int kick(struct nexthop_table *t, struct request *reqs, uint32_t n, uint64_t now_ms)
{
	for (uint32_t i = 0; i < n; i++) {
		struct neigh *neigh = reqs[i].neigh;

		neigh->kick_wait_ms = neigh->kick_wait_ms ? 2 * neigh->kick_wait_ms : KICK_MIN_MS;
		if (neigh->kick_wait_ms > KICK_MAX_MS)
			neigh->kick_wait_ms = KICK_MAX_MS;
		neigh->kick_ms = now_ms + neigh->kick_wait_ms;
		neigh->asked = false;
		if (neigh->users)
			mark_dirty(t, neigh->users);
	}
	return ask(t, reqs, n, put_kick, take_kick);
}

/* Ask for neighbours that are due. *ret_next_ms: when the next one will be. */
static int kick_due(struct nexthop_table *t, uint64_t now_ms, uint64_t *ret_next_ms)
{
	struct request reqs[BATCH] = {0};
	uint64_t next_ms = now_ms + KICK_MAX_MS;
	uint32_t n = 0;

	for (uint32_t i = 0; i < NEIGH_BUCKETS; i++) {
		for (struct neigh *neigh = t->neighs[i]; neigh; neigh = neigh->next) {
			if (neigh->valid || !neigh->asked)
				continue;
			if (neigh->kick_ms <= now_ms && n < BATCH)
				reqs[n++].neigh = neigh;
			else if (neigh->kick_ms < next_ms)
				next_ms = neigh->kick_ms;
		}
	}
	*ret_next_ms = next_ms;
	return n ? kick(t, reqs, n, now_ms) : 0;
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
		r = look_up_dirty(t);
	if (r >= 0)
		r = kick_due(t, now_ms, &next_ms);
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
	leave_neigh(t, target);
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
	uint32_t at = lower_bound(t, addr);
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
	uint32_t at = lower_bound(t, &target->addr);

	assert(t->targets[at] == target);
	t->n_targets--;
	memmove(&t->targets[at], &t->targets[at + 1], (t->n_targets - at) * sizeof(*t->targets));
	unlink_dirty(t, target);
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
	target = find_target(t, addr);
	if (!target) {
		r = add_target(t, addr, &target);
		if (r < 0)
			return r;
		mark_dirty(t, target);
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
