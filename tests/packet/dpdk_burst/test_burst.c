// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the case table cannot show, because it sends one frame at a time: frames of one burst. The
 * worker chooses for a whole burst before it sends, so a choice may be out of date by then.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/core/vip.h"
#include "tests/packet/dpdk/host.h"
#include "tests/packet/world.h"

#define PKT(port, flags) {ETH(ROUTER, LB), IP4(CLIENT, VIP), TCP(port, PORT, flags)}

#define PKT6(port, flags) {ETH(ROUTER, LB), IP6(CLIENT, VIP), TCP(port, PORT, flags)}

static struct runner *r = &runner_dpdk;

static int open_host(void **state)
{
	(void)state;
	return r->open(r);
}

/* Node 1 is loaded, node 2 is not: new flows of the one slot go to its second choice. */
static void build_world(void)
{
	static const struct packet_case c = {
		.name = "burst", .policy = LB_POLICY_P2C, .slot = {NODE1, NODE2}};

	world_build(r, &c);
	r->t.loads[NODE1].base = 100;
	r->t.loads[NODE2].weight = 1000;
}

/* Sends all at once; the node that each frame went to must be as named. */
static void expect_burst(const struct layer (*frames)[LAYERS_MAX], const enum host *nodes,
			 uint32_t n)
{
	struct frame built[16];
	const uint8_t *bytes[16];
	uint8_t macs[16][6];
	uint32_t lens[16];

	for (uint32_t i = 0; i < n; i++) {
		frame_build(frames[i], 0, &built[i]);
		bytes[i] = built[i].b;
		lens[i] = built[i].len;
	}
	assert_int_equal(host_run_burst(bytes, lens, n, macs), n);
	for (uint32_t i = 0; i < n; i++)
		assert_memory_equal(macs[i], hosts[nodes[i]].mac, 6);
}

static void test_a_syn_and_what_follows_it_in_the_same_burst_go_to_one_node(void **state)
{
	static const struct layer frames[][LAYERS_MAX] = {
		PKT(50000, TCP_ACK), PKT(40000, TCP_SYN), PKT(40000, TCP_ACK),
		PKT(50000, TCP_ACK), PKT(40000, TCP_ACK), PKT(50001, TCP_ACK)};
	static const enum host nodes[] = {NODE1, NODE2, NODE2, NODE1, NODE2, NODE1};

	(void)state;
	build_world();
	expect_burst(frames, nodes, 6);
}

static void test_frames_leave_in_the_order_they_came(void **state)
{
	static const struct layer frames[][LAYERS_MAX] = {
		PKT(40001, TCP_SYN), PKT(50000, TCP_ACK), PKT(40002, TCP_SYN), PKT(40001, TCP_ACK),
		PKT(40002, TCP_ACK), PKT(50000, TCP_ACK), PKT(40001, TCP_ACK | TCP_FIN)};
	static const enum host nodes[] = {NODE2, NODE1, NODE2, NODE2, NODE2, NODE1, NODE2};

	(void)state;
	build_world();
	expect_burst(frames, nodes, 7);
}

static void test_a_burst_of_plain_segments_goes_where_its_slot_says(void **state)
{
	static const struct layer frames[][LAYERS_MAX] = {
		PKT(50000, TCP_ACK), PKT(50001, TCP_ACK), PKT(50002, TCP_ACK), PKT(50003, TCP_ACK),
		PKT(50004, TCP_ACK), PKT(50005, TCP_ACK), PKT(50006, TCP_ACK), PKT(50007, TCP_ACK)};
	static const enum host nodes[] = {NODE1, NODE1, NODE1, NODE1, NODE1, NODE1, NODE1, NODE1};

	(void)state;
	build_world();
	expect_burst(frames, nodes, 8);
	assert_int_equal(r->t.backend_counts[NODE1].packets, 8);
}

/* Some take the way of the many, some do not; all are of one slot, and all are counted once. */
static void test_kinds_of_segments_take_turns_in_a_burst(void **state)
{
	static const struct layer frames[][LAYERS_MAX] = {
		PKT(50000, TCP_ACK), PKT6(50001, TCP_ACK), PKT(50002, TCP_ACK | TCP_FIN),
		{ETH(ROUTER, LB), VLAN(7), IP4(CLIENT, VIP), TCP(50003, PORT, TCP_ACK)},
		PKT6(50004, TCP_SYN), PKT(50005, TCP_RST), PKT6(50006, TCP_ACK), PKT(50007, TCP_ACK)};
	static const enum host nodes[] = {NODE1, NODE1, NODE1, NODE1, NODE1, NODE1, NODE1, NODE1};

	(void)state;
	build_world();
	r->t.loads[NODE1].base = 0;
	expect_burst(frames, nodes, 8);
	assert_int_equal(r->t.backend_counts[NODE1].packets, 8);
	assert_int_equal(r->t.backend_counts[NODE1].flows, 1);
}

/* --- bursts of anything ----------------------------------------------------------------------- */

#define BURSTS	   20000
#define BURST_MAX  32
#define SECOND_VIP 7

static uint32_t state = 1;

/* 0 … n - 1; xorshift (Marsaglia, 2003). */
static uint32_t pick(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return (uint64_t)state * n >> 32;
}

static const int flags_of[] = {TCP_ACK, TCP_ACK, TCP_ACK, TCP_ACK | TCP_PSH, TCP_ACK | TCP_FIN,
			       TCP_RST, TCP_SYN, TCP_SYN | TCP_ACK};
#define PICK(list) (list[pick(sizeof(list) / sizeof(list[0]))])

/* Mostly a segment for the VIP; sometimes for nobody's address or port, tagged, or damaged. */
static void build_any(struct frame *ret)
{
	static const int ttls[] = {64, 64, 64, 64, 2, 1, 0}, ports[] = {PORT, PORT, PORT, PORT, 80};
	static const int doffs[] = {5, 5, 5, 8, 4, 15}, sizes[] = {0, 0, 10, 60, 1430, 1450};
	static const enum host whom[] = {VIP, VIP, VIP, VIP, VIP, VIP_B};
	enum host to = PICK(whom);
	int sport = 40000 + pick(64), dport = PICK(ports), flags = PICK(flags_of);
	struct layer layers[LAYERS_MAX] = {}, *l = layers;

	*l++ = (struct layer)ETH(ROUTER, LB);
	if (!pick(16))
		*l++ = (struct layer)VLAN(7);
	if (pick(4))
		*l++ = (struct layer)IP4(CLIENT, to, .ttl = PICK(ttls), .tos = pick(2) * 0x28);
	else
		*l++ = (struct layer)IP6(CLIENT, to, .ttl = PICK(ttls), .tos = pick(2) * 0x28);
	if (pick(16))
		*l++ = (struct layer)TCP(sport, dport, flags, .doff = PICK(doffs));
	else
		*l++ = (struct layer)UDP(sport, dport);
	*l++ = (struct layer)DATA(PICK(sizes));
	frame_build(layers, 0, ret);
	if (!pick(8))
		ret->b[pick(ret->len < 54 ? ret->len : 54)] ^= 1 << pick(8);
	if (!pick(8))
		ret->len -= pick(ret->len);
	if (ret->len < 14)
		ret->len = 14;
}

/* A segment of a flow of IPv4 that is under way, of any size and with any checksum. */
static void build_segment(struct frame *ret)
{
	static const int ttls[] = {64, 2, 255, 128}, sizes[] = {0, 1, 10, 60, 1430, 1440, 1460};
	static const uint8_t sums[] = {0, 1, 0xfe, 0xff};
	const struct layer layers[LAYERS_MAX] = {
		ETH(ROUTER, LB), IP4(CLIENT, VIP, .ttl = PICK(ttls), .tos = pick(256)),
		TCP(40000 + pick(20000), PORT, pick(2) ? TCP_ACK : TCP_ACK | TCP_FIN),
		DATA(PICK(sizes))};

	frame_build(layers, 0, ret);
	ret->b[18] = pick(256); /* identification; DF */
	ret->b[19] = pick(256);
	ret->b[20] = pick(2) * 0x40;
	ret->b[24] = PICK(sums);
	ret->b[25] = PICK(sums);
}

/* Nearly all of them such segments, or nearly all anything. */
static void build_burst(struct frame *frames, uint32_t n)
{
	const uint32_t segments = pick(2) ? 64 : 1; /* of 65 */

	for (uint32_t i = 0; i < n; i++)
		if (pick(65) < segments)
			build_segment(&frames[i]);
		else if (i && pick(2))
			frames[i] = frames[pick(i)];
		else
			build_any(&frames[i]);
}

/* The slots name nodes that are alike, but for one that may differ in a word. */
static void put_nodes_alike(void)
{
	static const enum host alike[] = {NODE1, NODE2, NODE7};
	const enum host one = PICK(alike);

	for (uint32_t i = 0; i < SPREAD_N; i++)
		r->t.slots[SLOT_BASE + i].cur = PICK(alike);
	for (uint32_t i = 0; i < 3; i++)
		r->t.backends[alike[i]].src_vary = pick(2) ? (uint32_t)-1 << pick(32) : 0;
	switch (pick(8)) {
	case 0:
		r->t.backends[one].mtu = 60 + pick(1400);
		break;
	case 1:
		r->t.backends[one].ifindex = pick(2) ? IF_FAR : 77;
		break;
	case 2:
		r->t.backends[one].flags ^= 1 << pick(3);
		break;
	case 3:
		r->t.slots[SLOT_BASE].cur = pick(2) ? LB_BACKEND_LOCAL : LB_BACKENDS_MAX;
		break;
	case 4:
		r->t.slots[SLOT_BASE].exc = EPOCH;
	}
}

/* VIP_B is a VIP as well, of another mode, whose pool has the first slot alone. */
static void put_second_vip(void)
{
	struct lb_vip_cell cell = {.addr = {0, 0, htonl(0xffff)}, .port = htons(PORT), .proto = 6,
				   .kind = LB_VIP_KIND_SERVICE, .vip = SECOND_VIP};
	struct lb_vip vip = r->t.vips[VIP_ID4];

	memcpy(&cell.addr[3], hosts[VIP_B].ip4, 4);
	vip.mode = vip.mode == LB_MODE_IPIP ? LB_MODE_GUE : LB_MODE_IPIP;
	vip.flags = LB_VIP_F_ACTIVE;
	vip.n_slots = 1;
	r->t.vips[SECOND_VIP] = vip;
	r->t.vip_index[lb_vip_bucket_a(cell.addr, cell.port, cell.proto)] = cell;
}

/* A case that any burst may meet. Deterministic: built twice it is the same. */
static void build_any_world(uint32_t seed)
{
	static const enum lb_mode modes[] = {LB_MODE_IPIP, LB_MODE_GUE, LB_MODE_L2DSR, LB_MODE_NAT};
	static const enum lb_affinity affinities[] = {LB_AFFINITY_FLOW, LB_AFFINITY_SOURCE};
	struct packet_case c = {.name = "any"};

	state = seed * 2246822519u; /* small ones begin with small numbers */
	c.mode = PICK(modes);
	c.affinity = PICK(affinities);
	c.spread = pick(2);
	c.slot = (struct lb_slot){.cur = 1 + pick(9), .exc = pick(4) ? 0 : EPOCH,
				  .prev = pick(4) ? 0 : 1 + pick(9)};
	c.vip_flags = pick(8) ? 0 : LB_VIP_F_TRACK;
	world_build(r, &c);
	put_second_vip();
	host_set_room(pick(8) ? 128 : pick(48));
	host_set_damaged(pick(4) ? UINT32_MAX : pick(BURST_MAX));
	if (c.spread && pick(4))
		put_nodes_alike();
}

/* What is left of the world that a frame may have changed. */
struct after {
	struct lb_count vips[16], nodes[16];
	uint64_t counters[LB_REASONS_MAX];
	struct lb_slot slots[8];
	struct host_frame frames[BURST_MAX];
	int n;
};

static void run_any(uint32_t seed, const struct frame *frames, uint32_t n, int way,
		    struct after *ret)
{
	const uint8_t *bytes[BURST_MAX];
	uint32_t lens[BURST_MAX];

	for (uint32_t i = 0; i < n; i++) {
		bytes[i] = frames[i].b;
		lens[i] = frames[i].len;
	}
	memset(ret, 0, sizeof(*ret));
	build_any_world(seed);
	assert_non_null(host_take_way(way));
	ret->n = host_run_frames(bytes, lens, n, ret->frames);
	memcpy(ret->vips, r->t.vip_counts, sizeof(ret->vips));
	memcpy(ret->nodes, r->t.backend_counts, sizeof(ret->nodes));
	memcpy(ret->counters, r->t.counters, sizeof(ret->counters));
	memcpy(ret->slots, &r->t.slots[SLOT_BASE], sizeof(ret->slots));
}

static void expect_like_one_by_one(int way)
{
	static struct frame frames[BURST_MAX];
	static struct after alone, together;

	for (uint32_t seed = 1; seed <= BURSTS; seed++) {
		uint32_t n;

		state = seed * 2654435761u;
		n = 1 + pick(BURST_MAX);
		build_burst(frames, n);
		run_any(seed, frames, n, HOST_ONE_BY_ONE, &alone);
		run_any(seed, frames, n, way, &together);
		assert_true(alone.n >= 0);
		assert_int_equal(alone.n, together.n);
		for (int i = 0; i < alone.n; i++)
			assert_memory_equal(&alone.frames[i], &together.frames[i],
					    sizeof(alone.frames[i]));
		assert_memory_equal(&alone, &together, sizeof(alone));
	}
	host_take_way(0);
	host_set_room(128);
	host_set_damaged(UINT32_MAX);
}

static void test_what_becomes_of_a_frame_does_not_depend_on_its_burst(void **unused)
{
	(void)unused;
	for (int way = 0; host_take_way(way); way++) {
		print_message("%s\n", host_take_way(way));
		expect_like_one_by_one(way);
	}
}

/* The outer checksum with every sum that its words may have: TOS and source run through them. */
static void test_outer_headers_have_the_right_checksum_whatever_their_sum(void **unused)
{
	static const struct packet_case c = {.name = "sums", .slot = {NODE1}};
	static struct host_frame frames[2][BURST_MAX];
	const uint8_t *bytes[BURST_MAX];
	struct frame built[BURST_MAX];
	uint32_t lens[BURST_MAX];

	(void)unused;
	for (uint32_t i = 0; i < BURST_MAX; i++) {
		const struct layer layers[LAYERS_MAX] = {
			ETH(ROUTER, LB), IP4(CLIENT, VIP, .tos = i * 8), TCP(40000, PORT, TCP_ACK)};

		frame_build(layers, 0, &built[i]);
		bytes[i] = built[i].b;
		lens[i] = built[i].len;
	}
	world_build(r, &c);
	for (uint32_t low = 0; low < 2048; low++) {
		r->t.backends[NODE1].src[3] = htonl(0xffff0000 | htons(low));
		host_take_way(HOST_ONE_BY_ONE);
		assert_int_equal(host_run_frames(bytes, lens, BURST_MAX, frames[0]), BURST_MAX);
		for (int way = 0; host_take_way(way); way++) {
			assert_int_equal(host_run_frames(bytes, lens, BURST_MAX, frames[1]),
					 BURST_MAX);
			assert_memory_equal(frames[0], frames[1], sizeof(frames[0]));
		}
	}
	host_take_way(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_syn_and_what_follows_it_in_the_same_burst_go_to_one_node),
		cmocka_unit_test(test_frames_leave_in_the_order_they_came),
		cmocka_unit_test(test_a_burst_of_plain_segments_goes_where_its_slot_says),
		cmocka_unit_test(test_kinds_of_segments_take_turns_in_a_burst),
		cmocka_unit_test(test_what_becomes_of_a_frame_does_not_depend_on_its_burst),
		cmocka_unit_test(test_outer_headers_have_the_right_checksum_whatever_their_sum),
	};

	return cmocka_run_group_tests(tests, open_host, NULL);
}
