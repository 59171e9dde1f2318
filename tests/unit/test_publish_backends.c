/* SPDX-License-Identifier: BSD-2-Clause */
/* Publishing: nodes, their ids, next hops and loads. */
#include <arpa/inet.h>
#include <pthread.h>

#include "tests/unit/publish_bed.h"

static void test_backend_ids_belong_to_pool_name_and_address(void **state)
{
	struct fixture *f = *state;
	struct endpoint e = endpoint("10.0.0.1:80");
	uint16_t a = node(f, "a", "10.0.0.1:80"), id;
	bool adopted;

	assert_int_equal(publish_backend_get(f->p, "chat", "a", &e, &id, &adopted), 0);
	assert_int_equal(id, a);
	assert_true(adopted);
	assert_int_not_equal(node(f, "a", "10.0.0.2:80"), a);
	assert_int_not_equal(node(f, "a", "10.0.0.1:81"), a);
	assert_int_not_equal(node(f, "b", "10.0.0.1:80"), a);
	assert_int_equal(publish_backend_get(f->p, "embed", "a", &e, &id, &adopted), 0);
	assert_int_not_equal(id, a);
	assert_false(adopted);
	assert_int_equal(f->t.backends[a].addr[2], htonl(0xffff));
	assert_int_equal(f->t.backends[a].addr[3], htonl(0x0a000001));
	assert_int_equal(f->t.backends[a].port, htons(80));
	assert_int_equal(f->t.backends[a].family, 4);
	assert_string_equal(f->t.backend_info[a].address, "10.0.0.1:80");
	id = node(f, "six", "[2001:db8::7]:80");
	assert_int_equal(f->t.backends[id].family, 6);
	assert_int_equal(f->t.backends[id].addr[3], htonl(7));
}

static void test_death_and_reuse_raise_the_generation(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80");
	uint8_t g = f->t.backends[a].generation;

	publish_backend_set_alive(f->p, a);
	assert_int_equal(f->t.backends[a].generation, g);
	publish_backend_set_dead(f->p, a);
	publish_backend_set_dead(f->p, a);
	assert_int_equal(f->t.backends[a].generation, (uint8_t)(g + 1));
	assert_false(publish_backend_is_alive(f->p, a));
	publish_backend_set_alive(f->p, a);
	assert_int_equal(f->t.backends[a].generation, (uint8_t)(g + 1));
	g = f->t.backends[a].generation;
	assert_int_equal(publish_backend_release(f->p, a), 0);
	assert_false(publish_backend_used(f->p, a));
	assert_int_not_equal(f->t.backends[a].generation, g);
	/* not handed out again at once */
	assert_int_not_equal(node(f, "b", "10.0.0.2:80"), a);
}

static void test_backend_in_use_is_not_released(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80"), b = live_node(f, "b", "10.0.0.2:80");

	publish_all(f, a, b, NOW);
	assert_int_equal(publish_backend_release(f->p, a), -EBUSY);
	assert_int_equal(publish_backend_release(f->p, b), -EBUSY); /* alt */
	publish_all(f, b, 0, NOW);
	assert_int_equal(publish_backend_release(f->p, a), -EBUSY); /* prev */
	publish_backend_set_dead(f->p, a);
	publish_all(f, b, 0, NOW);
	publish_members(f->p, f->pool, &a, 1);
	assert_int_equal(publish_backend_release(f->p, a), -EBUSY);
	publish_members(f->p, f->pool, NULL, 0);
	publish_turns(f->p, f->pool, &a, 1);
	assert_int_equal(publish_backend_release(f->p, a), -EBUSY);
	publish_turns(f->p, f->pool, NULL, 0);
	restart(f, NOW); /* the count of references is found again */
	assert_int_equal(publish_backend_release(f->p, b), -EBUSY);
	assert_int_equal(publish_backend_release(f->p, a), 0);
}

static void test_all_ids_can_be_used_and_then_no_more(void **state)
{
	struct fixture *f = *state;
	struct endpoint e = endpoint("10.0.0.1:80");
	char name[16];
	bool adopted;
	uint16_t id;

	for (int i = 1; i < LB_BACKENDS_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(publish_backend_get(f->p, "chat", name, &e, &id, &adopted), 0);
		assert_true(id >= 1 && id < LB_BACKENDS_MAX && !adopted);
	}
	assert_int_equal(publish_backend_get(f->p, "chat", "more", &e, &id, &adopted), -ENOSPC);
	restart(f, NOW);
	for (int i = 1; i < LB_BACKENDS_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(publish_backend_get(f->p, "chat", name, &e, &id, &adopted), 0);
		assert_true(adopted);
	}
	assert_int_equal(publish_backend_release(f->p, 4000), 0);
	assert_int_equal(publish_backend_get(f->p, "chat", "more", &e, &id, &adopted), 0);
	assert_int_equal(id, 4000);
}

static void test_long_names_are_refused(void **state)
{
	struct fixture *f = *state;
	struct endpoint e = endpoint("10.0.0.1:80");
	char name[LB_NAME_MAX + 1];
	bool adopted;
	uint16_t id;
	uint32_t n;

	memset(name, 'x', sizeof(name));
	name[LB_NAME_MAX] = '\0';
	assert_int_equal(publish_backend_get(f->p, "chat", name, &e, &id, &adopted), -ENAMETOOLONG);
	assert_int_equal(publish_pool_get(f->p, name, 251, &n), -ENAMETOOLONG);
	assert_int_equal(publish_vip_get(f->p, name, &n), -ENAMETOOLONG);
	name[LB_NAME_MAX - 1] = '\0';
	assert_int_equal(publish_vip_get(f->p, name, &n), 0);
	assert_string_equal(f->t.vip_info[n].name, name);
}

static void test_next_hop_comes_changes_and_goes(void **state)
{
	struct fixture *f = *state;
	struct nexthop_result res = {
		.state = NEXTHOP_NO_MAC,
		.ifindex = 5,
		.dmac = {2, 0, 0, 0, 0, 1},
		.smac = {2, 0, 0, 0, 0, 2},
		.mtu = 1500,
	};
	struct address none = {0}, own;
	uint16_t a = live_node(f, "a", "10.0.0.1:80");
	struct lb_backend *b = &f->t.backends[a];

	assert_int_equal(address_parse("10.0.0.254", &res.src), 0);
	assert_int_equal(address_parse("10.9.9.9", &own), 0);
	publish_backend_nexthop(f->p, a, &res, &none, htonl(0xff), 6080);
	assert_false(b->flags & LB_BACKEND_F_NEXTHOP);
	res.state = NEXTHOP_READY;
	publish_backend_nexthop(f->p, a, &res, &none, htonl(0xff), 6080);
	assert_int_equal(b->flags, LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP);
	assert_int_equal(b->ifindex, 5);
	assert_memory_equal(b->dmac, res.dmac, 6);
	assert_memory_equal(b->smac, res.smac, 6);
	assert_int_equal(b->mtu, 1500);
	assert_int_equal(b->port, htons(80));
	assert_int_equal(b->src[3], htonl(0x0a0000fe));
	assert_int_equal(b->src_vary, htonl(0xff));
	assert_int_equal(b->gue_port, htons(6080));
	assert_int_equal(b->addr[3], htonl(0x0a000001));
	res.dmac[5] = 9;
	res.mtu = 70000; /* a loopback's: more than the field holds */
	publish_backend_nexthop(f->p, a, &res, &own, 0, 7777);
	assert_int_equal(b->dmac[5], 9);
	assert_int_equal(b->mtu, 65535);
	assert_int_equal(b->src[3], htonl(0x0a090909));
	assert_int_equal(b->gue_port, htons(7777));
	assert_int_equal(b->vlan, 0);
	res.vlan = 100;
	publish_backend_nexthop(f->p, a, &res, &own, 0, 7777);
	assert_int_equal(b->vlan, htons(100));
	assert_int_equal(b->flags, LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP | LB_BACKEND_F_TAGGED);
	res.vlan = 0;
	publish_backend_nexthop(f->p, a, &res, &own, 0, 7777);
	assert_int_equal(b->vlan, 0);
	assert_int_equal(b->flags, LB_BACKEND_F_ALIVE | LB_BACKEND_F_NEXTHOP);
	res.state = NEXTHOP_NO_MAC; /* the neighbour failed: the last known one serves on */
	publish_backend_nexthop(f->p, a, &res, &none, 0, 6080);
	assert_true(b->flags & LB_BACKEND_F_NEXTHOP);
	res.state = NEXTHOP_NO_ROUTE;
	publish_backend_nexthop(f->p, a, &res, &none, 0, 6080);
	assert_false(b->flags & LB_BACKEND_F_NEXTHOP);
	assert_true(publish_backend_is_alive(f->p, a));
}

struct mac_race {
	struct lb_backend *b;
	bool stop;
	uint64_t torn;
};

static void *read_mac(void *arg)
{
	struct mac_race *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		uint64_t w = __atomic_load_n((uint64_t *)(void *)r->b->dmac, __ATOMIC_RELAXED);
		uint8_t mac[8];

		memcpy(mac, &w, sizeof(w));
		for (int i = 1; i < 6; i++)
			r->torn += mac[i] != mac[0];
	}
	return NULL;
}

static void test_a_reader_never_sees_a_half_new_mac(void **state)
{
	struct fixture *f = *state;
	uint16_t a = live_node(f, "a", "10.0.0.1:80");
	struct mac_race race = {.b = &f->t.backends[a]};
	struct nexthop_result res = {.state = NEXTHOP_READY, .ifindex = 5, .mtu = 1500};
	struct address none = {0};
	pthread_t thread;

	pthread_create(&thread, NULL, read_mac, &race);
	for (int i = 0; i < 200000; i++) {
		memset(res.dmac, i & 0xff, 6);
		publish_backend_nexthop(f->p, a, &res, &none, 0, 6080);
	}
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(race.torn, 0);
}

static void test_info_is_what_people_read(void **state)
{
	struct fixture *f = *state;
	uint16_t a = node(f, "a", "10.0.0.1:80");
	struct publish_node_info info = {
		.state = LB_STATE_DRAINING,
		.weight = 3,
		.effective_weight = 3000,
		.tier = 1,
		.operator_state = LB_STATE_DRAINING,
		.weight_set = true,
		.drain_deadline_ms = 12345,
	};

	assert_int_equal(f->t.backend_info[a].state, LB_STATE_UNKNOWN);
	publish_backend_info(f->p, a, &info);
	assert_int_equal(f->t.backend_info[a].state, LB_STATE_DRAINING);
	assert_int_equal(f->t.backend_info[a].operator_state, LB_STATE_DRAINING);
	assert_int_equal(f->t.backend_info[a].drain_deadline_ms, 12345);
	assert_int_equal(f->t.backend_info[a].weight_set, 1);
	assert_string_equal(f->t.backend_info[a].name, "a");
	assert_string_equal(f->t.backend_info[a].pool, "chat");
}

/* --- loads ------------------------------------------------------------------------------------ */

static void test_a_scrape_subtracts_what_it_saw_at_its_start(void **state)
{
	struct fixture *f = *state;
	uint16_t a = node(f, "a", "10.0.0.1:80");
	struct lb_load *l = &f->t.loads[a];
	uint32_t inc;

	l->inc = 5;
	inc = publish_load_inc(f->p, a);
	l->inc += 3; /* new flows during the scrape */
	publish_load_scraped(f->p, a, 40, inc);
	assert_int_equal(l->base, 40);
	assert_int_equal(l->inc, 3);
	publish_load_scraped(f->p, a, 40, 10); /* never below 0 */
	assert_int_equal(l->inc, 0);
	publish_load_weight(f->p, a, 2500, LB_LOAD_F_HOT);
	assert_int_equal(l->weight, 2500);
	assert_int_equal(l->flags, LB_LOAD_F_HOT);
	publish_load_base(f->p, a, 9);
	assert_int_equal(l->base, 9);
	l->flows = 7;
	publish_load_flows_sub(&f->t, a, 3);
	assert_int_equal(l->flows, 4);
	publish_load_flows_sub(&f->t, a, 5);
	assert_int_equal(l->flows, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_backend_ids_belong_to_pool_name_and_address),
		T(test_death_and_reuse_raise_the_generation),
		T(test_backend_in_use_is_not_released),
		T(test_all_ids_can_be_used_and_then_no_more),
		T(test_long_names_are_refused),
		T(test_next_hop_comes_changes_and_goes),
		T(test_a_reader_never_sees_a_half_new_mac),
		T(test_info_is_what_people_read),
		T(test_a_scrape_subtracts_what_it_saw_at_its_start),
	};

	return cmocka_run_group_tests_name("publish, backends", tests, NULL, NULL);
}
