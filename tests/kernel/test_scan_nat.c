// SPDX-License-Identifier: BSD-2-Clause
/*
 * Mode nat: how long the two entries of a connection live, by what either end sent last. The ends
 * are told apart: a flow has the client's flags and age, its reply the node's. Needs root.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "maps/nat.h"
#include "tests/lib/namespaces.h"
#include "userspace/agent/scan_nat.h"
#include "userspace/lib/cleanup.h"

#define PINS	"/sys/fs/bpf/test_scan_nat"
#define VIP_ID	3
#define NODE	1
#define OTHER	2
#define IDLE_MS 600000

#define HALF	LB_NAT_F_HALF
#define FIN	LB_NAT_F_CLOSING
#define RST	LB_NAT_F_CLOSED
#define COUNTED LB_NAT_F_COUNTED

static struct tables t;
static int flows_fd, replies_fd;

/* --- the world -------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ull + now.tv_nsec / 1000000;
}

static uint32_t ticks_ago(uint32_t ms)
{
	return LB_TICKS_FROM_MS(now_ms()) - LB_TICKS_FROM_MS(ms);
}

static int make_map(const char *name, uint32_t key_size, uint32_t value_size)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	char path[64];
	int fd;

	fd = bpf_map_create(BPF_MAP_TYPE_HASH, name, key_size, value_size, 1024, &opts);
	assert_true(fd >= 0);
	snprintf(path, sizeof(path), PINS "/%s", name);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	return fd;
}

static void put_node(uint16_t id, uint8_t last)
{
	struct lb_backend *b = &t.backends[id];

	b->addr[2] = htonl(0xffff);
	b->addr[3] = htonl(0x0a000000 | last);
	b->port = htons(8000);
	b->flags = LB_BACKEND_F_ALIVE;
}

static int setup(void **state)
{
	(void)state;
	assert_int_equal(tables_alloc(1, 1, &t), 0);
	assert_int_equal(mkdir(PINS, 0700), 0);
	flows_fd = make_map("nat_flows", sizeof(struct lb_flow_key), sizeof(struct lb_nat_flow));
	replies_fd = make_map("nat_replies", sizeof(struct lb_nat_key), sizeof(struct lb_nat_reply));
	put_node(NODE, 1);
	put_node(OTHER, 2);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(flows_fd);
	close(replies_fd);
	unlink(PINS "/nat_flows");
	unlink(PINS "/nat_replies");
	rmdir(PINS);
	tables_close(&t);
	return 0;
}

/* Connection number n: client port n, our port 1000 + n. */
static struct lb_flow_key flow_key(uint32_t n)
{
	return (struct lb_flow_key){.saddr = {0, 0, htonl(0xffff), htonl(0xc0000201)},
				    .sport = htons(n), .vip = VIP_ID};
}

static struct lb_nat_key reply_key(uint16_t node, uint32_t n)
{
	struct lb_nat_key key = {.node_port = t.backends[node].port, .nat_port = htons(1000 + n)};

	memcpy(key.node, t.backends[node].addr, sizeof(key.node));
	return key;
}

static void put_flow(uint32_t n, uint8_t flags, uint32_t age_ms)
{
	struct lb_flow_key key = flow_key(n);
	struct lb_nat_flow flow = {
		.backend = NODE, .flags = flags, .seen = ticks_ago(age_ms), .nat_port = htons(1000 + n)};

	if (flags & COUNTED)
		t.loads[NODE].flows++;
	assert_int_equal(bpf_map_update_elem(flows_fd, &key, &flow, BPF_NOEXIST), 0);
}

static void put_reply(uint16_t node, uint32_t n, uint8_t flags, uint32_t age_ms)
{
	struct lb_flow_key client = flow_key(n);
	struct lb_nat_key key = reply_key(node, n);
	struct lb_nat_reply reply = {
		.client_port = client.sport, .vip = VIP_ID, .flags = flags, .seen = ticks_ago(age_ms)};

	memcpy(reply.client, client.saddr, sizeof(reply.client));
	assert_int_equal(bpf_map_update_elem(replies_fd, &key, &reply, BPF_NOEXIST), 0);
}

static bool has_flow(uint32_t n)
{
	struct lb_flow_key key = flow_key(n);
	struct lb_nat_flow flow;

	return !bpf_map_lookup_elem(flows_fd, &key, &flow);
}

static bool has_reply(uint16_t node, uint32_t n)
{
	struct lb_nat_key key = reply_key(node, n);
	struct lb_nat_reply reply;

	return !bpf_map_lookup_elem(replies_fd, &key, &reply);
}

static struct scan_nat *scanned(void)
{
	struct scan_nat *s;

	assert_int_equal(scan_nat_new(&t, PINS, &s), 0);
	scan_nat_set_idle(s, IDLE_MS);
	for (int steps = 0; !scan_nat_stats(s)->passes; steps++) {
		assert_true(steps < 1000);
		scan_nat_step(s, now_ms());
	}
	return s;
}

/* --- tests ------------------------------------------------------------------------------------ */

/* Two seconds on either side of each limit. */
static const struct {
	const char *name;
	uint8_t client; /* flags of the flow, and since when it is silent */
	uint32_t client_ms;
	uint8_t node; /* of the reply */
	uint32_t node_ms;
	bool stays;
} lives[] = {
	{"open, and idle for less than flow_idle", 0, IDLE_MS - 2000, 0, IDLE_MS - 2000, true},
	{"open, and idle for longer", 0, IDLE_MS + 2000, 0, IDLE_MS + 2000, false},
	{"a SYN, answered or not, 16 s ago", HALF, 16000, 0, 16000, true},
	{"a SYN 20 s ago", HALF, 20000, 0, 20000, false},
	{"half-closed by the client, who waits for an answer", FIN, IDLE_MS - 2000, 0,
	 IDLE_MS - 2000, true},
	{"half-closed by the client, longer than flow_idle", FIN, IDLE_MS + 2000, 0, IDLE_MS + 2000,
	 false},
	{"half-closed by the client, who acknowledges what still comes", FIN, 1000, 0, 1000, true},
	{"half-closed by the node long ago, the client goes on", 0, 1000, FIN, 300000, true},
	{"half-closed by the node, the client silent", 0, 300000, FIN, 300000, true},
	{"half-closed by the node, longer than flow_idle", 0, IDLE_MS + 2000, FIN, IDLE_MS + 2000,
	 false},
	{"closed by both at once, 58 s ago", FIN, 58000, FIN, 58000, true},
	{"closed by both at once, 62 s ago", FIN, 62000, FIN, 62000, false},
	{"closed by both, the last ACK sent again", FIN, 1000, FIN, 62000, true},
	{"reset by the client 8 s ago", RST, 8000, 0, 8000, true},
	{"reset by the client 12 s ago", RST, 12000, 0, 12000, false},
	{"reset by the client after its FIN, 12 s ago", FIN | RST, 12000, 0, 12000, false},
	{"reset by the node 8 s ago", 0, 8000, RST, 8000, true},
	{"reset by the node 12 s ago, whatever the client sends", 0, 1000, RST, 12000, false},
	{"reset by the node after both had closed", FIN, 12000, FIN | RST, 12000, false},
};

static void each_connection_lives_by_what_its_ends_sent(void **state)
{
	uint32_t staying = 0;
	struct scan_nat *s;

	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(lives); i++) {
		put_flow(i, lives[i].client, lives[i].client_ms);
		put_reply(NODE, i, lives[i].node, lives[i].node_ms);
		staying += lives[i].stays;
	}
	s = scanned();
	for (uint32_t i = 0; i < ARRAY_SIZE(lives); i++)
		if (has_flow(i) != lives[i].stays || has_reply(NODE, i) != lives[i].stays)
			fail_msg("%s: flow %d, reply %d", lives[i].name, has_flow(i),
				 has_reply(NODE, i));
	assert_int_equal(scan_nat_stats(s)->removed, ARRAY_SIZE(lives) - staying);
	scan_nat_free(&s);
}

static void a_reply_without_its_flow_goes_after_a_minute(void **state)
{
	struct scan_nat *s;

	(void)state;
	put_reply(NODE, 1, 0, 58000);
	put_reply(NODE, 2, 0, 62000);
	/* the client has another connection by that port now, to another node */
	put_flow(3, 0, 1000);
	put_reply(NODE, 3, 0, 1000);
	put_reply(OTHER, 4, 0, 62000);
	s = scanned();
	assert_true(has_reply(NODE, 1));
	assert_false(has_reply(NODE, 2));
	assert_true(has_flow(3) && has_reply(NODE, 3));
	assert_false(has_reply(OTHER, 4));
	scan_nat_free(&s);
}

/* A backend id given to another node: the port found there may be another client's. */
static void a_flow_takes_only_its_own_reply_along(void **state)
{
	struct lb_nat_key key = reply_key(NODE, 7);
	struct lb_nat_reply reply = {.client = {0, 0, 0, 1}, .client_port = 9, .vip = VIP_ID,
				     .seen = ticks_ago(0)};
	struct scan_nat *s;

	(void)state;
	put_flow(7, RST, 12000);
	assert_int_equal(bpf_map_update_elem(replies_fd, &key, &reply, BPF_NOEXIST), 0);
	s = scanned();
	assert_false(has_flow(7));
	assert_true(has_reply(NODE, 7));
	scan_nat_free(&s);
}

static void connections_are_counted_until_they_close(void **state)
{
	struct scan_nat *s;

	(void)state;
	put_flow(1, COUNTED, 1000);
	put_flow(2, COUNTED | HALF, 1000);
	put_flow(3, FIN, 1000);		  /* its FIN took the mark */
	put_flow(4, COUNTED | HALF, 20000); /* never answered */
	s = scanned();
	assert_int_equal(scan_nat_live(s, NODE), 2);
	assert_int_equal(scan_nat_counted(s, NODE), 2);
	assert_int_equal(t.loads[NODE].flows, 2);
	assert_int_equal(scan_nat_stats(s)->flows, 3);
	scan_nat_free(&s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(each_connection_lives_by_what_its_ends_sent),
		T(a_reply_without_its_flow_goes_after_a_minute),
		T(a_flow_takes_only_its_own_reply_along),
		T(connections_are_counted_until_they_close),
	};

	begin_in_namespaces(argc, argv);
	return cmocka_run_group_tests_name("scan (nat)", tests, NULL, NULL);
}
