// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/scan_nat.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "maps/nat.h"
#include "userspace/agent/publish.h"
#include "userspace/agent/scan_prog.h"
#include "userspace/lib/rounds.h"

#define BUCKETS_A_BATCH 8192 /* of a worker's table, looked at in one step */

enum stage { STAGE_WAIT = 1, STAGE_FLOWS, STAGE_REPLIES };

struct scan_nat_count {
	uint32_t live;	  /* not ended */
	uint32_t counted; /* in lb_load.flows */
};

struct scan_nat {
	struct tables *t;
	bool dpdk; /* entries are in the tables of poll-mode workers, not in maps */
	bool paused; /* … which did not see all their flows sent lately: none expires */
	struct flow_table dpdk_flows, dpdk_replies;
	int flows_fd;
	int replies_fd;
	uint32_t idle_ticks;
	enum stage stage;
	uint64_t due_ms;
	bool started; /* cursor is valid */
	uint32_t cursor;
	struct scan_nat_stats stats;
	uint32_t n_flows;
	struct scan_prog *prog; /* NULL: no maps */
	struct scan_nat_count last[LB_BACKENDS_MAX]; /* of the last complete pass */
	struct scan_nat_count now[LB_BACKENDS_MAX];  /* of the one under way */
	struct lb_flow_key flow_keys[SCAN_NAT_BATCH];
	struct lb_nat_flow flows[SCAN_NAT_BATCH];
	struct lb_nat_key reply_keys[SCAN_NAT_BATCH];
	struct lb_nat_reply replies[SCAN_NAT_BATCH];
};

static int open_pin(const char *pin_dir, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", pin_dir, name);
	return bpf_obj_get(path);
}

int scan_nat_new(struct tables *t, const char *pin_dir, struct scan_nat **ret)
{
	struct scan_nat *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	s->t = t;
	s->stage = STAGE_WAIT;
	s->idle_ticks = LB_TICKS_FROM_MS(3600000);
	s->dpdk = tables_are_dpdk(t);
	s->flows_fd = open_pin(pin_dir, "nat_flows");
	s->replies_fd = open_pin(pin_dir, "nat_replies");
	if (s->flows_fd >= 0 && s->replies_fd >= 0)
		r = scan_prog_new(s->flows_fd, s->replies_fd, &s->prog);
	if (r < 0) {
		scan_nat_free(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void scan_nat_free(struct scan_nat **s)
{
	if (!*s)
		return;
	if ((*s)->flows_fd >= 0)
		close((*s)->flows_fd);
	if ((*s)->replies_fd >= 0)
		close((*s)->replies_fd);
	scan_prog_free(&(*s)->prog);
	free(*s);
	*s = NULL;
}

void scan_nat_set_idle(struct scan_nat *s, uint64_t flow_idle_ms)
{
	s->idle_ticks = LB_TICKS_FROM_MS(flow_idle_ms);
}

/* Whether an entry last seen so many ticks ago, with these flags, is over if the other end's is. */
static bool is_over(const struct scan_nat *s, uint8_t flags, uint32_t age)
{
	if (flags & LB_NAT_F_CLOSED)
		return age > LB_TICKS_FROM_MS(SCAN_NAT_CLOSED_MS);
	if (flags & LB_NAT_F_CLOSING)
		return age > LB_TICKS_FROM_MS(SCAN_NAT_CLOSING_MS);
	if (s->paused)
		return false;
	if (flags & LB_NAT_F_HALF)
		return age > LB_TICKS_FROM_MS(2 * 9000);
	return age > s->idle_ticks;
}

/* --- the tables, wherever they are ------------------------------------------------------------ */

static int delete_reply(struct scan_nat *s, const struct lb_nat_key *key)
{
	if (s->dpdk)
		return flow_table_delete(&s->dpdk_replies, key, rounds_now());
	return bpf_map_delete_elem(s->replies_fd, key);
}

static int look_up_flow(struct scan_nat *s, const struct lb_flow_key *key,
			struct lb_nat_flow *ret_flow)
{
	const struct lb_nat_flow *flow;

	if (!s->dpdk)
		return bpf_map_lookup_elem(s->flows_fd, key, ret_flow);
	flow = flow_table_find(&s->dpdk_flows, key);
	if (!flow)
		return -ENOENT;
	*ret_flow = *flow;
	return 0;
}

static int look_up_reply(struct scan_nat *s, const struct lb_nat_key *key,
			 struct lb_nat_reply *ret_reply)
{
	const struct lb_nat_reply *reply;

	if (!s->dpdk)
		return bpf_map_lookup_elem(s->replies_fd, key, ret_reply);
	reply = flow_table_find(&s->dpdk_replies, key);
	if (!reply)
		return -ENOENT;
	*ret_reply = *reply;
	return 0;
}

/* The flow goes, and the entry of its answers. Returns enum lb_scan_answer, or -errno. */
static int remove_pair(struct scan_nat *s, const struct lb_scan_ask *ask)
{
	if (s->dpdk)
		return scan_remove_dpdk(&s->dpdk_flows, &s->dpdk_replies, ask, rounds_now());
	return scan_prog_run(s->prog, ask);
}

/* Entries of the next buckets, until a batch is full or BUCKETS_A_BATCH were looked at. */
static uint32_t read_table(struct scan_nat *s, struct flow_table *table, uint8_t *keys,
			   uint8_t *values, bool *ret_more)
{
	uint32_t size = table->cell_size - FLOW_TABLE_KEY, n = 0, left = BUCKETS_A_BATCH;
	struct flow_table_entry entries[LB_BUCKET_CELLS];

	if (!s->started)
		s->cursor = 0;
	s->started = true;
	while (s->cursor < table->n_buckets && n + LB_BUCKET_CELLS <= SCAN_NAT_BATCH && left--) {
		uint32_t got = flow_table_read(table, s->cursor++, rounds_now(), entries);

		for (uint32_t i = 0; i < got; i++, n++) {
			memcpy(keys + n * FLOW_TABLE_KEY, entries[i].key, FLOW_TABLE_KEY);
			memcpy(values + n * size, entries[i].value, size);
		}
	}
	*ret_more = s->cursor < table->n_buckets;
	return n;
}

/* --- judging ---------------------------------------------------------------------------------- */

static void keep(struct scan_nat *s, const struct lb_nat_flow *flow)
{
	struct scan_nat_count *n = &s->now[flow->backend % LB_BACKENDS_MAX];

	s->n_flows++;
	n->live += !(flow->flags & (LB_NAT_F_CLOSING | LB_NAT_F_CLOSED));
	n->counted += !!(flow->flags & LB_NAT_F_COUNTED);
}

static struct lb_nat_key reply_key_of(const struct scan_nat *s, const struct lb_nat_flow *flow)
{
	const struct lb_backend *b = &s->t->backends[flow->backend % LB_BACKENDS_MAX];
	struct lb_nat_key key = {.node_port = b->port, .nat_port = flow->nat_port};

	memcpy(key.node, b->addr, sizeof(key.node));
	return key;
}

/* Both ends have closed. A client that has sent all may wait for its answer as long as any other. */
static bool node_closed(struct scan_nat *s, const struct lb_nat_flow *flow)
{
	struct lb_nat_key key = reply_key_of(s, flow);
	struct lb_nat_reply reply;

	return look_up_reply(s, &key, &reply) < 0 ||
	       (reply.flags & (LB_NAT_F_CLOSING | LB_NAT_F_CLOSED));
}

/*
 * read: the flow as it was judged. By the node's address as it is now: if the id is another node's
 * since, that reply is another client's and stays; the flow's own is found without its flow later.
 * Returns 0; -ESTALE: a packet came since, the flow stays.
 */
static int remove_flow(struct scan_nat *s, const struct lb_flow_key *key,
		       const struct lb_nat_flow *read)
{
	struct lb_scan_ask ask = {
		.key = *key,
		.seen = read->seen,
		.left = read->flags & LB_NAT_F_GONE,
		.reply = reply_key_of(s, read),
	};
	int r;

	r = remove_pair(s, &ask);
	s->stats.revived += r == LB_SCAN_SEEN;
	s->stats.removed += r > LB_SCAN_SEEN;
	if (r == LB_SCAN_COUNTED)
		publish_load_flows_sub(s->t, read->backend % LB_BACKENDS_MAX, 1);
	return r == LB_SCAN_SEEN ? -ESTALE : 0;
}

static void judge_flow(struct scan_nat *s, uint32_t i, uint32_t now)
{
	const struct lb_nat_flow *flow = &s->flows[i];
	uint32_t age = LB_AGE(now, flow->seen);
	bool over = is_over(s, flow->flags, age);

	if (over && age <= s->idle_ticks && !(flow->flags & LB_NAT_F_CLOSED) &&
	    (flow->flags & LB_NAT_F_CLOSING))
		over = node_closed(s, flow);
	if (!over ||
	    remove_flow(s, &s->flow_keys[i], flow) == -ESTALE)
		keep(s, flow);
}

/* The node ended the flow, or the client's side of it is gone (its backend died). */
static void judge_reply(struct scan_nat *s, uint32_t i, uint32_t now)
{
	const struct lb_nat_reply *reply = &s->replies[i];
	struct lb_flow_key key = {.sport = reply->client_port, .vip = reply->vip};
	struct lb_nat_flow flow;

	memcpy(key.saddr, reply->client, sizeof(key.saddr));
	if (look_up_flow(s, &key, &flow) == 0 &&
	    flow.nat_port == s->reply_keys[i].nat_port) {
		if ((reply->flags & LB_NAT_F_CLOSED) &&
		    is_over(s, reply->flags, LB_AGE(now, reply->seen)))
			(void)remove_flow(s, &key, &flow);
		return;
	}
	if (LB_AGE(now, reply->seen) > LB_TICKS_FROM_MS(SCAN_NAT_CLOSING_MS))
		(void)delete_reply(s, &s->reply_keys[i]);
}

static void finish_pass(struct scan_nat *s, uint64_t now_ms)
{
	memcpy(s->last, s->now, sizeof(s->last));
	s->stats.flows = s->n_flows;
	s->stats.passes++;
	s->stage = STAGE_WAIT;
	s->due_ms = now_ms + SCAN_NAT_INTERVAL_MS;
}

/* The next batch; returns the number of entries read, and whether there are more. */
static uint32_t read_batch(struct scan_nat *s, int fd, void *keys, void *values, bool *ret_more)
{
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t n = SCAN_NAT_BATCH, out = 0;
	int r;

	r = bpf_map_lookup_batch(fd, s->started ? &s->cursor : NULL, &out, keys, values, &n,
				 &opts);
	*ret_more = r == 0;
	/* -ENOENT: that was the last one. Anything else: nothing was read, the pass ends here. */
	if (r < 0 && r != -ENOENT)
		n = 0;
	s->cursor = out;
	s->started = true;
	return n;
}

static void begin_stage(struct scan_nat *s, enum stage stage)
{
	s->stage = stage;
	s->started = false;
	/* the key that they go by may have been set since */
	tables_view(s->t, TABLES_NAT_FLOWS, &s->dpdk_flows);
	tables_view(s->t, TABLES_NAT_REPLY, &s->dpdk_replies);
}

void scan_nat_step(struct scan_nat *s, uint64_t now_ms)
{
	uint32_t now = LB_TICKS_FROM_MS(now_ms), n;
	bool more;

	if (s->flows_fd < 0 || s->replies_fd < 0)
		return;
	s->paused = s->dpdk && rounds_paused(s->t->dpdk_workers, rounds_now());
	switch (s->stage) {
	case STAGE_WAIT:
		if (now_ms < s->due_ms)
			return;
		memset(s->now, 0, sizeof(s->now));
		s->n_flows = 0;
		begin_stage(s, STAGE_FLOWS);
		return;
	case STAGE_FLOWS:
		n = s->dpdk ? read_table(s, &s->dpdk_flows, (uint8_t *)s->flow_keys,
					 (uint8_t *)s->flows, &more)
			    : read_batch(s, s->flows_fd, s->flow_keys, s->flows, &more);
		for (uint32_t i = 0; i < n; i++)
			judge_flow(s, i, now);
		if (!more)
			begin_stage(s, STAGE_REPLIES);
		return;
	case STAGE_REPLIES:
		n = s->dpdk ? read_table(s, &s->dpdk_replies, (uint8_t *)s->reply_keys,
					 (uint8_t *)s->replies, &more)
			    : read_batch(s, s->replies_fd, s->reply_keys, s->replies, &more);
		for (uint32_t i = 0; i < n; i++)
			judge_reply(s, i, now);
		if (!more)
			finish_pass(s, now_ms);
		return;
	}
}

uint32_t scan_nat_live(const struct scan_nat *s, uint16_t backend)
{
	return backend < LB_BACKENDS_MAX ? s->last[backend].live : 0;
}

uint32_t scan_nat_counted(const struct scan_nat *s, uint16_t backend)
{
	return backend < LB_BACKENDS_MAX ? s->last[backend].counted : 0;
}

const struct scan_nat_stats *scan_nat_stats(const struct scan_nat *s)
{
	return &s->stats;
}
