// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/scan_prog.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "scan.skel.h"

_Static_assert(sizeof(struct lb_flow) == sizeof(struct lb_nat_flow) &&
		       offsetof(struct lb_flow, flags) == offsetof(struct lb_nat_flow, flags) &&
		       offsetof(struct lb_flow, seen) == offsetof(struct lb_nat_flow, seen),
	       "entries differ in what they share");

struct scan_prog {
	struct scan_bpf *skel;
	int fd; /* of the program that is loaded */
};

static int load(struct scan_prog *p, int flows_fd, int replies_fd)
{
	bool nat = replies_fd >= 0;
	struct scan_bpf *skel = p->skel;
	int r = bpf_map__reuse_fd(skel->maps.entries, flows_fd);

	if (r == 0 && nat)
		r = bpf_map__reuse_fd(skel->maps.replies, replies_fd);
	if (r == 0)
		r = bpf_map__set_autocreate(skel->maps.replies, nat);
	if (r == 0)
		r = bpf_program__set_autoload(skel->progs.sluice_scan_remove, nat);
	if (r == 0)
		r = bpf_program__set_autoload(skel->progs.sluice_scan_uncount, !nat);
	if (r == 0)
		r = scan_bpf__load(skel);
	if (r < 0)
		return r;
	p->fd = bpf_program__fd(nat ? skel->progs.sluice_scan_remove
				    : skel->progs.sluice_scan_uncount);
	return 0;
}

int scan_prog_new(int flows_fd, int replies_fd, struct scan_prog **ret)
{
	struct scan_prog *p = calloc(1, sizeof(*p));
	int r;

	assert(flows_fd >= 0 && ret);

	if (!p)
		return -ENOMEM;
	p->skel = scan_bpf__open();
	r = p->skel ? load(p, flows_fd, replies_fd) : -errno;
	if (r < 0) {
		scan_prog_free(&p);
		return r;
	}
	*ret = p;
	return 0;
}

void scan_prog_free(struct scan_prog **p)
{
	if (!*p)
		return;
	scan_bpf__destroy((*p)->skel);
	free(*p);
	*p = NULL;
}

int scan_prog_run(const struct scan_prog *p, const struct lb_scan_ask *ask)
{
	struct lb_scan_ask in = *ask;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &in, .ctx_size_in = sizeof(in));
	int r = bpf_prog_test_run_opts(p->fd, &opts);

	return r < 0 ? r : (int)opts.retval;
}

/* --- poll mode -------------------------------------------------------------------------------- */

typedef uint32_t __attribute__((may_alias)) word_t;

static uint32_t word_or(struct lb_flow *flow, uint8_t flags)
{
	return __atomic_fetch_or((word_t *)flow, LB_WORD_OF(flags), __ATOMIC_ACQ_REL);
}

static int uncount(struct lb_flow *flow, uint8_t counted)
{
	uint32_t mask = LB_WORD_OF(counted);
	uint32_t was = __atomic_fetch_and((word_t *)flow, ~mask, __ATOMIC_ACQ_REL);

	return was & mask ? LB_SCAN_COUNTED : LB_SCAN_UNCOUNTED;
}

static bool seen_since(const struct lb_flow *flow, uint32_t seen)
{
	return __atomic_load_n(&flow->seen, __ATOMIC_RELAXED) != seen;
}

int scan_uncount_dpdk(const struct flow_table *t, const struct lb_scan_ask *ask)
{
	struct lb_flow *flow = flow_table_find(t, &ask->key);

	if (!flow)
		return LB_SCAN_NONE;
	return seen_since(flow, ask->seen) ? LB_SCAN_SEEN : uncount(flow, LB_FLOW_F_COUNTED);
}

void scan_count_dpdk(const struct flow_table *t, const struct lb_flow_key *key)
{
	struct lb_flow *flow = flow_table_find(t, key);

	if (flow)
		(void)word_or(flow, LB_FLOW_F_COUNTED);
}

int scan_remove_dpdk(struct flow_table *flows, struct flow_table *replies,
		     const struct lb_scan_ask *ask, uint32_t now)
{
	struct lb_flow *flow = flow_table_find(flows, &ask->key);
	const struct lb_nat_reply *reply;
	int answer;

	if (!flow)
		return LB_SCAN_NONE;
	if (seen_since(flow, ask->seen))
		return LB_SCAN_SEEN;
	if (word_or(flow, LB_NAT_F_GONE) & LB_WORD_OF(LB_NAT_F_GONE) && !ask->left)
		return LB_SCAN_SEEN;
	answer = uncount(flow, LB_NAT_F_COUNTED);
	reply = flow_table_find(replies, &ask->reply);
	if (reply && reply->client_port == ask->key.sport && reply->vip == ask->key.vip &&
	    !memcmp(reply->client, ask->key.saddr, sizeof(reply->client)))
		(void)flow_table_delete(replies, &ask->reply, now);
	(void)flow_table_delete(flows, &ask->key, now);
	return answer;
}
