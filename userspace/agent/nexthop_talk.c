/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions to the kernel in batches, and its events -> nexthop_state.h. */
#include "userspace/agent/nexthop_state.h"

#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#define BATCH          16 /* requests in one send: their answers fit any receive buffer */
#define STEP_TARGETS   64 /* looked up by one nexthop_step() */
#define DISPATCH_READS 64 /* buffers read by one nexthop_dispatch() */

#define KICK_MIN_MS 500 /* a neighbour that does not answer is asked again after this … */
#define KICK_MAX_MS 8000

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
	nexthop_set_neigh(t, r->neigh, n.valid, n.mac);
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
			nexthop_mark_dirty(t, targets[i]);
		else if (route->state != NEXTHOP_NO_MAC)
			nexthop_leave_neigh(t, targets[i]);
		else if (nexthop_join_neigh(t, targets[i], route->ifindex,
					    route->gateway.family ? &route->gateway
								  : &targets[i]->addr) < 0)
			nexthop_mark_dirty(t, targets[i]);
	}
	if (r >= 0)
		r = ask_neighs(t, targets, n);
	for (uint32_t i = 0; i < n; i++)
		nexthop_update_result(t, targets[i]);
	return r;
}

int nexthop_look_up_dirty(struct nexthop_table *t)
{
	struct target *batch[BATCH];
	uint32_t n;
	int r = 0;

	for (uint32_t done = 0; r >= 0 && done < STEP_TARGETS; done += n) {
		for (n = 0; n < BATCH && t->dirty_head; n++)
			batch[n] = nexthop_take_dirty(t);
		if (!n)
			break;
		r = look_up(t, batch, n);
	}
	return r;
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
			nexthop_mark_dirty(t, neigh->users);
	}
	return ask(t, reqs, n, put_kick, take_kick);
}

int nexthop_kick_due(struct nexthop_table *t, uint64_t now_ms, uint64_t *ret_next_ms)
{
	struct request reqs[BATCH] = {0};
	uint64_t next_ms = now_ms + KICK_MAX_MS;
	uint32_t n = 0;

	for (uint32_t i = 0; i < NEXTHOP_BUCKETS; i++) {
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

/* --- links and events ------------------------------------------------------------------------- */

int nexthop_read_links(struct nexthop_table *t)
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
				(void)nexthop_set_link(t, &link);
		}
	}
	return 0;
}

static void take_link_event(struct nexthop_table *t, const struct nlmsghdr *nlh)
{
	struct nexthop_link link;

	/* a device going down takes IPv4 routes with it that are not announced */
	if (nexthop_parse_link(nlh, &link) == 0 && nexthop_set_link(t, &link))
		nexthop_mark_device(t, link.ifindex);
}

static void take_neigh_event(struct nexthop_table *t, const struct nlmsghdr *nlh)
{
	struct nexthop_neigh news;
	struct neigh *n;

	if (nexthop_parse_neigh(nlh, &news) < 0)
		return;
	n = nexthop_find_neigh(t, news.ifindex, &news.addr);
	if (n)
		nexthop_set_neigh(t, n, news.valid, news.mac);
}

static void take_addr_event(struct nexthop_table *t, const struct nlmsghdr *nlh)
{
	struct address addr;
	struct target *target;
	uint32_t ifindex;

	if (nexthop_parse_addr(nlh, &ifindex, &addr) < 0)
		return;
	nexthop_mark_device(t, ifindex); /* preferred sources */
	target = nexthop_find_target(t, &addr);
	if (target)
		nexthop_mark_dirty(t, target);
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
			nexthop_mark_prefix(t, &prefix);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		take_addr_event(t, nlh);
		break;
	case RTM_NEWRULE:
	case RTM_DELRULE:
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		nexthop_mark_all(t);
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
