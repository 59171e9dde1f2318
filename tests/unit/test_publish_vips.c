/* SPDX-License-Identifier: BSD-2-Clause */
/* Publishing: VIPs and the index by which a packet finds them; the hash key. */
#include "tests/unit/publish_bed.h"
#include "bpf/core/hash.h"
#include "bpf/core/vip.h"

static struct publish_vip vip_settings(const struct fixture *f, const char *ep)
{
	return (struct publish_vip){
		.endpoint = endpoint(ep),
		.proto = IPPROTO_TCP,
		.pool = f->pool,
		.mode = LB_MODE_IPIP,
		.policy = LB_POLICY_P2C,
		.affinity = LB_AFFINITY_FLOW,
		.on_down = LB_ON_DOWN_RESET,
		.flags = LB_VIP_F_ACTIVE,
	};
}

static const struct lb_vip_cell *find(const struct fixture *f, const char *addr, uint16_t port)
{
	struct address a;
	__be32 words[4] = {0};

	assert_int_equal(address_parse(addr, &a), 0);
	if (a.family == AF_INET6) {
		memcpy(words, a.bytes, 16);
	} else {
		words[2] = htonl(0xffff);
		memcpy(&words[3], a.bytes, 4);
	}
	return publish_index_find(f->p, words, htons(port), port ? IPPROTO_TCP : 0);
}

static void test_vip_is_found_by_service_and_by_address(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "192.0.2.1:443");
	uint32_t one, two;

	assert_int_equal(publish_vip_get(f->p, "one", &one), 0);
	assert_int_equal(publish_vip_set(f->p, one, &s), 0);
	assert_int_equal(find(f, "192.0.2.1", 443)->kind, LB_VIP_KIND_SERVICE);
	assert_int_equal(find(f, "192.0.2.1", 443)->vip, one);
	assert_int_equal(find(f, "192.0.2.1", 0)->kind, LB_VIP_KIND_ADDRESS);
	assert_null(find(f, "192.0.2.1", 80));
	assert_null(find(f, "192.0.2.2", 443));
	assert_int_equal(f->t.vips[one].flags, LB_VIP_F_ACTIVE);
	assert_int_equal(f->t.vips[one].slot_base, f->pool * LB_SLOTS_MAX);
	assert_int_equal(f->t.vips[one].n_slots, N_SLOTS);
	assert_int_equal(f->t.vips[one].family, 4);
	assert_int_equal(f->t.vips[one].port, htons(443));
	assert_string_equal(f->t.vip_info[one].pool, "chat");
	assert_string_equal(f->t.vip_info[one].address, "192.0.2.1:443");
	/* a second one on the address; the endpoint itself is taken */
	assert_int_equal(publish_vip_get(f->p, "two", &two), 0);
	assert_int_equal(publish_vip_set(f->p, two, &s), -EEXIST);
	assert_int_equal(f->t.vips[two].flags, 0);
	s.endpoint.port = 80;
	assert_int_equal(publish_vip_set(f->p, two, &s), 0);
	/* the address stays as long as one VIP has it */
	publish_vip_release(f->p, one);
	assert_null(find(f, "192.0.2.1", 443));
	assert_int_equal(find(f, "192.0.2.1", 0)->vip, two);
	publish_vip_release(f->p, two);
	assert_null(find(f, "192.0.2.1", 0));
	for (int i = 0; i < LB_VIP_BUCKETS; i++)
		assert_int_equal(f->t.vip_index[i].kind, LB_VIP_KIND_EMPTY);
}

static void test_an_endpoint_keeps_its_id_under_another_name(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "192.0.2.1:443"), other = s;
	char long_name[LB_NAME_MAX + 1];
	uint32_t one, two, id;

	other.endpoint.port = 80;
	assert_int_equal(publish_vip_get(f->p, "one", &one), 0);
	assert_int_equal(publish_vip_set(f->p, one, &s), 0);
	assert_int_equal(publish_vip_claim(f->p, "one", &s.endpoint, IPPROTO_TCP), 0);
	assert_int_equal(publish_vip_claim(f->p, "two", &other.endpoint, IPPROTO_TCP), 0);
	assert_int_equal(publish_vip_claim(f->p, "new", &s.endpoint, IPPROTO_TCP), 1);
	assert_int_equal(publish_vip_get(f->p, "new", &id), 0);
	assert_int_equal(id, one);
	/* two that exchange their endpoints */
	assert_int_equal(publish_vip_get(f->p, "two", &two), 0);
	assert_int_equal(publish_vip_set(f->p, two, &other), 0);
	assert_int_equal(publish_vip_claim(f->p, "two", &s.endpoint, IPPROTO_TCP), 1);
	assert_int_equal(publish_vip_claim(f->p, "new", &other.endpoint, IPPROTO_TCP), 0);
	assert_int_equal(publish_vip_get(f->p, "two", &id), 0);
	assert_int_equal(id, one);
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_int_equal(publish_vip_get(f->p, "new", &id), 0);
	assert_int_equal(id, two);
	memset(long_name, 'x', LB_NAME_MAX);
	long_name[LB_NAME_MAX] = '\0';
	assert_int_equal(publish_vip_claim(f->p, long_name, &s.endpoint, IPPROTO_TCP),
			 -ENAMETOOLONG);
}

static void test_vip_changes_in_place(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "[2001:db8::1]:443");
	uint32_t id, again;

	assert_int_equal(publish_vip_get(f->p, "one", &id), 0);
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_int_equal(f->t.vips[id].family, 6);
	s.policy = LB_POLICY_HASH;
	s.flags |= LB_VIP_F_TRACK;
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_int_equal(f->t.vips[id].policy, LB_POLICY_HASH);
	assert_int_equal(f->t.vips[id].flags, LB_VIP_F_ACTIVE | LB_VIP_F_TRACK);
	s.endpoint.port = 8443; /* same address */
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_null(find(f, "2001:db8::1", 443));
	assert_int_equal(find(f, "2001:db8::1", 8443)->vip, id);
	assert_int_equal(find(f, "2001:db8::1", 0)->vip, id);
	s.endpoint = endpoint("198.51.100.7:8443"); /* another one */
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_null(find(f, "2001:db8::1", 8443));
	assert_null(find(f, "2001:db8::1", 0));
	assert_int_equal(find(f, "198.51.100.7", 8443)->vip, id);
	restart(f, NOW);
	assert_int_equal(publish_vip_get(f->p, "one", &again), 0);
	assert_int_equal(again, id);
	assert_int_equal(find(f, "198.51.100.7", 8443)->vip, id);
}

static void test_vip_id_has_a_new_generation_each_time(void **state)
{
	struct fixture *f = *state;
	uint32_t first, id, generation;

	assert_int_equal(publish_vip_get(f->p, "one", &first), 0);
	generation = f->t.vips[first].generation;
	publish_vip_release(f->p, first);
	for (int i = 0; i < LB_VIPS_MAX; i++) { /* ids go round before they come back */
		assert_int_equal(publish_vip_get(f->p, "x", &id), 0);
		if (id == first)
			break;
		publish_vip_release(f->p, id);
	}
	assert_int_equal(id, first);
	assert_int_not_equal(f->t.vips[id].generation, generation);
}

static void test_pool_is_released_when_no_vip_has_it(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "192.0.2.1:443");
	uint16_t a = live_node(f, "a", "10.0.0.1:80");
	uint32_t id, pool;

	publish_all(f, a, 0, NOW);
	assert_int_equal(publish_vip_get(f->p, "one", &id), 0);
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_int_equal(publish_pool_release(f->p, f->pool), -EBUSY);
	publish_vip_release(f->p, id);
	assert_int_equal(publish_backend_release(f->p, a), -EBUSY);
	assert_int_equal(publish_pool_release(f->p, f->pool), 0);
	assert_slot(f, 0, 0, 0);
	assert_int_equal(publish_backend_release(f->p, a), 0);
	/* the same name may come back with another size now */
	assert_int_equal(publish_pool_get(f->p, "chat", 509, &pool), 0);
	for (int i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "p%d", i);
		assert_int_equal(publish_pool_get(f->p, name, 251, &pool), 0);
	}
	assert_int_equal(publish_pool_get(f->p, "more", 251, &pool), -ENOSPC);
}

/* Look a VIP up as the packet path does. */
static bool reader_finds(const struct tables *t, const struct lb_vip_cell *key)
{
	uint32_t buckets[2] = {lb_vip_bucket_a(key->addr, key->port, key->proto),
			       lb_vip_bucket_b(key->addr, key->port, key->proto)};

	for (int i = 0; i < 2; i++) {
		const struct lb_vip_cell *c = &t->vip_index[buckets[i]];

		if (c->kind == key->kind && c->port == key->port && c->proto == key->proto &&
		    !memcmp(c->addr, key->addr, 16))
			return c->vip == key->vip;
	}
	return false;
}

struct index_check {
	struct fixture *f;
	struct lb_vip_cell *keys;
	uint32_t n;
	uint32_t moves;
	uint32_t lost;
};

/* At every step of a move all keys are found: a grace period is where a reader might look. */
static void look_all_up(void *userdata)
{
	struct index_check *c = userdata;

	c->moves++;
	for (uint32_t i = 0; i < c->n; i++)
		c->lost += !reader_finds(&c->f->t, &c->keys[i]);
}

static void random_key(struct lb_vip_cell *key, uint32_t vip)
{
	*key = (struct lb_vip_cell){.port = htons(random() % 65535 + 1),
				    .proto = IPPROTO_TCP,
				    .kind = LB_VIP_KIND_SERVICE,
				    .vip = vip % LB_VIPS_MAX};
	for (int i = 0; i < 4; i++)
		key->addr[i] = random();
}

static void test_index_keeps_every_key_findable_while_keys_move(void **state)
{
	_cleanup_free_ struct lb_vip_cell *keys = calloc(2048, sizeof(*keys));
	struct fixture *f = *state;
	struct index_check check = {.f = f, .keys = keys};
	struct publish *p;
	uint32_t failed = 0;

	srandom(3);
	assert_int_equal(publish_new(&f->t, look_all_up, &check, NOW, &p), 0);
	for (uint32_t i = 0; i < 1024; i++) { /* as many as 512 VIPs may have */
		random_key(&keys[check.n], i);
		if (publish_index_insert(p, &keys[check.n]) < 0)
			failed++;
		else
			check.n++;
	}
	look_all_up(&check);
	print_message("1024 keys: %u moves seen, %u failed\n", check.moves, failed);
	assert_int_equal(check.lost, 0);
	assert_true(check.moves > 20);
	assert_int_equal(failed, 0);
	/* far beyond it insertions fail cleanly and the others stay */
	for (uint32_t i = 0; i < 1024; i++) {
		random_key(&keys[check.n], i);
		if (publish_index_insert(p, &keys[check.n]) == 0)
			check.n++;
	}
	look_all_up(&check);
	assert_int_equal(check.lost, 0);
	while (check.n) {
		check.n--;
		publish_index_remove(p, keys[check.n].addr, keys[check.n].port,
				     keys[check.n].proto);
		assert_false(reader_finds(&f->t, &keys[check.n]));
	}
	for (int i = 0; i < LB_VIP_BUCKETS; i++)
		assert_int_equal(f->t.vip_index[i].kind, LB_VIP_KIND_EMPTY);
	publish_free(&p);
}

static void test_index_full_of_circles_says_so(void **state)
{
	struct fixture *f = *state;
	struct lb_vip_cell key, keys[3];
	uint32_t n = 0, a, b;

	srandom(5);
	random_key(&keys[0], 1);
	a = lb_vip_bucket_a(keys[0].addr, keys[0].port, keys[0].proto);
	b = lb_vip_bucket_b(keys[0].addr, keys[0].port, keys[0].proto);
	/* a key sits in each of its cells, and both can only go to each other's */
	keys[1] = keys[0];
	assert_int_equal(publish_index_insert(f->p, &keys[0]), 0);
	for (uint64_t tries = 0; n < 2 && tries < 200000000; tries++) {
		keys[1].addr[3] = tries;
		keys[1].port = htons(1 + (tries >> 32));
		if ((lb_vip_bucket_a(keys[1].addr, keys[1].port, keys[1].proto) == a &&
		     lb_vip_bucket_b(keys[1].addr, keys[1].port, keys[1].proto) == b) ||
		    (lb_vip_bucket_a(keys[1].addr, keys[1].port, keys[1].proto) == b &&
		     lb_vip_bucket_b(keys[1].addr, keys[1].port, keys[1].proto) == a)) {
			if (!memcmp(keys[1].addr, keys[0].addr, 16))
				continue;
			key = keys[1];
			if (n == 0)
				assert_int_equal(publish_index_insert(f->p, &key), 0);
			else
				assert_int_equal(publish_index_insert(f->p, &key), -ENOSPC);
			n++;
		}
	}
	assert_int_equal(n, 2);
	assert_true(reader_finds(&f->t, &keys[0]));
}

static void test_cells_of_a_dead_agent_are_cleared(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "192.0.2.1:443");
	const struct lb_vip_cell *at;
	struct lb_vip_cell stray;
	uint32_t id, a, b;

	assert_int_equal(publish_vip_get(f->p, "one", &id), 0);
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	at = find(f, "192.0.2.1", 443);
	a = lb_vip_bucket_a(at->addr, at->port, at->proto);
	b = lb_vip_bucket_b(at->addr, at->port, at->proto);
	f->t.vip_index[a] = f->t.vip_index[b] = *at; /* died while it moved the key */
	random_key(&stray, 77);                      /* no such VIP */
	f->t.vip_index[lb_vip_bucket_a(stray.addr, stray.port, stray.proto)] = stray;
	restart(f, NOW);
	assert_int_equal(f->t.vip_index[a].kind, LB_VIP_KIND_SERVICE);
	assert_int_equal(f->t.vip_index[b].kind, LB_VIP_KIND_EMPTY);
	assert_null(publish_index_find(f->p, stray.addr, stray.port, stray.proto));
	assert_int_equal(find(f, "192.0.2.1", 443)->vip, id);
}

/* --- control ---------------------------------------------------------------------------------- */

static void test_hash_key_cannot_change_under_traffic(void **state)
{
	struct fixture *f = *state;
	struct publish_vip s = vip_settings(f, "192.0.2.1:443");
	const uint8_t key[16] = "0123456789abcdef", other[16] = "fedcba9876543210";
	struct lb_hash_key want = {0};
	__u64 secret[2];
	uint32_t id;

	memcpy(secret, key, sizeof(secret));
	lb_hash_expand(secret, &want);
	assert_int_equal(publish_control(f->p, key, 1000, 200), 0);
	assert_memory_equal(&f->t.control->hash, &want, sizeof(want));
	assert_int_equal(f->t.control->new_entries_per_s, 1000);
	assert_int_equal(f->t.control->replies_per_s, 200);
	assert_int_equal(publish_vip_get(f->p, "one", &id), 0);
	assert_int_equal(publish_vip_set(f->p, id, &s), 0);
	assert_int_equal(publish_control(f->p, other, 9, 9), -EBUSY);
	assert_int_equal(f->t.control->new_entries_per_s, 1000);
	assert_int_equal(publish_control(f->p, key, 500, 100), 0);
	assert_int_equal(f->t.control->new_entries_per_s, 500);
	publish_heartbeat(f->p, 42);
	assert_int_equal(f->t.control->heartbeat_ns, 42);
	publish_vip_release(f->p, id);
	assert_int_equal(publish_control(f->p, other, 9, 9), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_vip_is_found_by_service_and_by_address),
		T(test_vip_changes_in_place),
		T(test_an_endpoint_keeps_its_id_under_another_name),
		T(test_vip_id_has_a_new_generation_each_time),
		T(test_pool_is_released_when_no_vip_has_it),
		T(test_index_keeps_every_key_findable_while_keys_move),
		T(test_index_full_of_circles_says_so),
		T(test_cells_of_a_dead_agent_are_cleared),
		T(test_hash_key_cannot_change_under_traffic),
	};

	return cmocka_run_group_tests_name("publish, vips", tests, NULL, NULL);
}
