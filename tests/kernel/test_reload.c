/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reloads, by property: after any sequence of files the agent is in the state of one that has just
 * started with the last of them; what did not change is the same object as before; a bad file
 * changes nothing. Real maps and programs, no network: nodes are told that they pass their checks.
 * Needs root; runs in a network and mount namespace of its own. RELOAD_SEED chooses the files.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/namespaces.h"
#include "userspace/agent/agent.h"
#include "userspace/agent/loop.h"
#include "userspace/lib/log.h"

#define PIN_DIR	  "/sys/fs/bpf/reload"
#define SEQUENCES 6
#define STEPS	  6
#define NODES	  6
#define TEXT_MAX  16384

static char dir[] = "/tmp/test_reload.XXXXXX";
static char config_path[64];
static uint32_t seed;

/* The files must be the same wherever the test runs: no rand(). */
static uint32_t below(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)seed * n) >> 32);
}

/* --- files ------------------------------------------------------------------------------------ */

static void put_nodes(FILE *f, uint32_t pool)
{
	uint32_t from = below(NODES), n = 1 + below(NODES);

	fprintf(f, "    nodes:\n");
	/* In any order; one of them by IPv6. */
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = (from + i * 5) % NODES;

		fprintf(f, "      - {name: n%u, address: '%s%u', weight: %u, tier: %u}\n", k,
			k == 4 ? "fd09::" : "10.9.0.", 10 * pool + k + 1, 1 + below(4),
			below(5) == 0);
	}
}

static void put_targets(FILE *f, uint32_t pool)
{
	uint32_t which = below(3);
	char path[96];
	FILE *t;

	snprintf(path, sizeof(path), "%s/targets%u-%u.json", dir, pool, which);
	t = fopen(path, "we");
	assert_non_null(t);
	fprintf(t, "[{\"targets\": [\"10.9.9.%u\", \"10.9.9.%u:8%u\"], \"labels\": {\"weight\": 2}}]",
		which + 1, which + 2, pool);
	fclose(t);
	fprintf(f, "    discovery: {file: %s}\n", path);
}

static void put_pool(FILE *f, uint32_t pool)
{
	static const char *const modes[] = {"ipip", "gue", "l2dsr"};
	static const char *const policies[] = {"p2c",	     "hash",	    "least-queue",
					       "least-conn", "round-robin", "weighted-round-robin"};
	static const char *const presets[] = {"tcp", "vllm", "json"};
	static const char *const on_down[] = {"reset", "rehash", "keep"};

	fprintf(f,
		"  - name: p%u\n    port: 8%u\n    table_slots: 1009\n    preset: %s\n    mode: %s\n"
		"    policy: %s\n    on_down: %s\n    check: {interval: %us}\n",
		pool, pool, presets[below(3)], modes[below(3)], policies[below(6)], on_down[below(3)],
		1 + below(3));
	fprintf(f, "    thresholds: {warm_up: 0s, weight_change_per_minute: off, kv_high: 0.9%u}\n",
		2 + below(7));
	if (below(4))
		put_nodes(f, pool);
	else
		put_targets(f, pool);
}

/* A good configuration. text[TEXT_MAX] */
static void make_config(char *text)
{
	uint32_t first = below(3), n_pools = 1 + below(3), vips = 1 + below(5);
	uint32_t pools[5];
	FILE *f = fmemopen(text, TEXT_MAX, "w");

	assert_non_null(f);
	fprintf(f, "interfaces: [{name: sl0, mode: native}%s]\n",
		below(3) ? "" : ", {name: sl2, mode: generic}");
	fprintf(f, "pin_dir: %s\nsocket: %s/sock\nmetrics: {listen: 'off'}\n"
		"limits: {pools: 4, flows: 4096, half_open: 1024, nat_flows: 1024}\n", PIN_DIR, dir);
	fprintf(f, "log_level: %s\nflow_idle: %uh\npools:\n", below(2) ? "error" : "warn",
		1 + below(2));
	for (uint32_t i = 0; i < n_pools; i++)
		put_pool(f, (first + i) % 3);
	fprintf(f, "vips:\n");
	for (uint32_t i = 0; i < vips; i++) {
		/* Two VIPs may share an address, of pools with other ports. */
		uint32_t pool = pools[i] = (first + below(n_pools)) % 3;

		fprintf(f, "  - {name: v%u, address: 10.8.0.%u, port: 8%u, pool: p%u, "
			"fallback: {enabled: %s, retry_max: %us}}\n", i,
			i < 3 || pool != pools[i - 3] ? i % 3 : i, pool, pool,
			below(3) ? "true" : "false", 1 + below(3));
	}
	fclose(f);
}

static void write_config(const char *text)
{
	FILE *f = fopen(config_path, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* --- an agent --------------------------------------------------------------------------------- */

static struct agent *start(void)
{
	struct config_errors errs = {};
	struct config *cfg = NULL;
	struct agent *agent = NULL;
	struct attach_error err = {};
	sd_event *event = NULL;

	if (config_load(config_path, &cfg, &errs) < 0)
		fail_msg("%s", errs.n ? errs.items[0].text : "?");
	config_errors_free(&errs);
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(loop_new(&event), 0);
	if (agent_new(event, &cfg, &agent, &err) < 0 || agent_start(agent, &err) < 0)
		fail_msg("%s", err.text);
	sd_event_unref(event);
	return agent;
}

static void end(struct agent **agent)
{
	struct attach_error err = {};

	if (agent_detach(*agent, &err) < 0)
		fail_msg("%s", err.text);
	agent_free(agent);
}

/* Every node passes its checks until nothing changes any more. */
static void drive(struct agent *agent, int64_t *now_ms)
{
	struct health_change change;

	for (int round = 0; round < 8; round++) {
		*now_ms += 100;
		for (uint32_t i = 0; i < agent->n_pools; i++) {
			for (uint32_t k = 0; k < agent->pools[i]->n_nodes; k++) {
				struct node *node = agent->pools[i]->nodes[k];
				struct health_probe pass = {.result = HEALTH_PASS,
							    .rtt_ms = 1,
							    .started_ms = *now_ms - 1,
							    .detail = "told so"};

				if (health_probe(&node->health, &node->health_settings, &pass, NULL,
						 *now_ms, &change))
					agent_node_changed(node, &change);
			}
		}
		agent_tick(agent, *now_ms);
	}
}

static int reload(struct agent *agent)
{
	struct config_errors errs = {};
	int r = agent_reload(agent, &errs, NULL);

	config_errors_free(&errs);
	log_set_level(LOG_LEVEL_ERROR);
	return r;
}

/* --- state, without ids, counters and times --------------------------------------------------- */

static json_t *name_of(const struct agent *agent, uint16_t id)
{
	const struct node *node = id < LB_BACKENDS_MAX ? agent->by_id[id] : NULL;

	if (id == LB_BACKEND_LOCAL)
		return json_string("this host");
	if (!node)
		return json_string(id ? "nobody knows" : "none");
	return json_sprintf("%s/%s", node->pool->name, node->name);
}

static void count_name(const struct agent *agent, json_t *counts, uint16_t id)
{
	json_t *name = name_of(agent, id);
	const char *text = json_string_value(name);
	json_int_t n = json_integer_value(json_object_get(counts, text));

	json_object_set_new(counts, text, json_integer(n + 1));
	json_decref(name);
}

static json_t *state_of_pool(const struct agent *agent, const struct pool *pool)
{
	const struct tables *t = &agent->tables;
	const struct lb_pool *p = &t->pools[pool->id];
	const struct lb_slot *slots = &t->slots[pool->id * LB_SLOTS_MAX];
	json_t *cur = json_array(), *alt = json_array();
	json_t *turns = json_object(), *members = json_object();
	uint32_t bank = !!(p->n_turns & LB_BANK_BIT);

	for (uint32_t i = 0; i < pool->n_slots; i++) {
		json_array_append_new(cur, name_of(agent, slots[i].cur));
		json_array_append_new(alt, name_of(agent, slots[i].alt));
	}
	for (uint32_t i = 0; i < (p->n_turns & ~LB_BANK_BIT); i++)
		count_name(agent, turns, t->turns[2 * pool->id + bank].backend[i]);
	bank = !!(p->n_members & LB_BANK_BIT);
	for (uint32_t i = 0; i < (p->n_members & ~LB_BANK_BIT); i++)
		count_name(agent, members, t->members[2 * pool->id + bank].backend[i]);
	return json_pack("{so so so so si}", "cur", cur, "alt", alt, "turns", turns, "members",
			 members, "nodes", (int)pool->n_nodes);
}

static json_t *state_of_node(const struct agent *agent, const struct node *node)
{
	const struct lb_backend *b = &agent->tables.backends[node->id];
	const struct lb_backend_info *info = &agent->tables.backend_info[node->id];

	return json_pack("{ss ss si si si si si si si si si}", "address", info->address, "pool",
			 info->pool, "state", (int)info->state, "weight", (int)info->weight,
			 "effective", (int)info->effective_weight, "tier", (int)info->tier,
			 "alive", b->flags & LB_BACKEND_F_ALIVE, "family", b->family, "load weight",
			 (int)agent->tables.loads[node->id].weight, "pages", (int)node->n_pages,
			 "port", ntohs(b->port));
}

static json_t *state_of_vip(const struct agent *agent, const struct vip *vip)
{
	const struct lb_vip *v = &agent->tables.vips[vip->id];
	struct fallback_vip_stats f;

	fallback_vip_stats(agent->fallback, vip, &f);
	return json_pack("{ss si si si si si si si si si sb}", "pool",
			 agent->tables.pool_info[v->pool].name, "flags", (int)v->flags, "mode",
			 v->mode, "policy", v->policy, "affinity", v->affinity, "on_down",
			 v->on_down, "port", ntohs(v->port), "slots", (int)v->n_slots, "its pool's",
			 v->slot_base == v->pool * LB_SLOTS_MAX, "address", (int)v->addr[3],
			 "listening", f.listening);
}

static json_t *state_of_index(const struct agent *agent)
{
	const struct tables *t = &agent->tables;
	json_t *index = json_object();
	char key[64];

	for (uint32_t i = 0; i < LB_VIP_BUCKETS; i++) {
		const struct lb_vip_cell *c = &t->vip_index[i];

		if (c->kind == LB_VIP_KIND_EMPTY)
			continue;
		snprintf(key, sizeof(key), "%u %08x:%u", c->kind, ntohl(c->addr[3]), ntohs(c->port));
		/* An address leads to any of its VIPs. */
		json_object_set_new(index, key,
				    json_string(c->kind == LB_VIP_KIND_ADDRESS
							? "some VIP"
							: t->vip_info[c->vip].name));
	}
	return index;
}

static json_t *state_of(const struct agent *agent)
{
	json_t *pools = json_object(), *nodes = json_object(), *vips = json_object();
	json_t *programs = json_object();
	const struct attach_status *st;
	char key[2 * LB_NAME_MAX];
	uint32_t n;

	for (uint32_t i = 0; i < agent->n_pools; i++) {
		const struct pool *pool = agent->pools[i];

		json_object_set_new(pools, pool->name, state_of_pool(agent, pool));
		for (uint32_t k = 0; k < pool->n_nodes; k++) {
			snprintf(key, sizeof(key), "%s/%s", pool->name, pool->nodes[k]->name);
			json_object_set_new(nodes, key, state_of_node(agent, pool->nodes[k]));
		}
	}
	for (uint32_t i = 0; i < agent->n_vips; i++)
		json_object_set_new(vips, agent->vips[i]->name, state_of_vip(agent, agent->vips[i]));
	st = attach_status(agent->attach, &n);
	for (uint32_t i = 0; i < n; i++)
		json_object_set_new(programs, st[i].name, json_integer(st[i].mode));
	return json_pack("{so so so so so sI}", "pools", pools, "nodes", nodes, "vips", vips,
			 "programs", programs, "index", state_of_index(agent), "flow idle",
			 (json_int_t)agent->cfg->flow_idle_ms);
}

/* Name of the first thing that differs. */
static void expect_same(const json_t *got, const json_t *want, const char *when, uint32_t sequence)
{
	const char *part, *key;
	const json_t *values, *value;

	if (json_equal(got, want))
		return;
	json_object_foreach((json_t *)want, part, values) {
		if (!json_is_object(values))
			continue;
		json_object_foreach((json_t *)values, key, value) {
			const json_t *other = json_object_get(json_object_get(got, part), key);

			if (!json_equal(value, other))
				print_error("%s %s: is %.400s, expected %.400s\n", part, key,
					    other ? json_dumps(other, JSON_COMPACT) : "missing",
					    json_dumps(value, JSON_COMPACT));
		}
	}
	fail_msg("%s, sequence %u: the state is another one", when, sequence);
}

/* --- what must stay --------------------------------------------------------------------------- */

struct memory {
	struct node *node;
	uint16_t id;
	enum lb_state state;
	char pool[LB_NAME_MAX];
	struct endpoint endpoint;
	char name[LB_NAME_MAX];
};

/* Marks every node, and remembers it. Returns their number. */
static uint32_t remember(struct agent *agent, struct memory *memory)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < agent->n_pools; i++) {
		for (uint32_t k = 0; k < agent->pools[i]->n_nodes; k++) {
			struct node *node = agent->pools[i]->nodes[k];
			struct memory *m = &memory[n++];

			node->n_checks = 1000 + n;
			*m = (struct memory){.node = node,
					     .id = node->id,
					     .state = node->health.state,
					     .endpoint = node->endpoint};
			snprintf(m->pool, sizeof(m->pool), "%s", node->pool->name);
			snprintf(m->name, sizeof(m->name), "%s", node->name);
		}
	}
	return n;
}

static void expect_kept(const struct agent *agent, const struct memory *memory, uint32_t n)
{
	for (uint32_t i = 0; i < agent->n_pools; i++) {
		for (uint32_t k = 0; k < agent->pools[i]->n_nodes; k++) {
			const struct node *node = agent->pools[i]->nodes[k];

			for (uint32_t m = 0; m < n; m++) {
				if (strcmp(memory[m].pool, node->pool->name) ||
				    strcmp(memory[m].name, node->name) ||
				    !endpoint_equal(&memory[m].endpoint, &node->endpoint))
					continue;
				assert_ptr_equal(node, memory[m].node);
				assert_int_equal(node->id, memory[m].id);
				assert_int_equal(node->n_checks, 1001 + m);
				assert_int_equal(node->health.state, memory[m].state);
			}
		}
	}
}

static uint64_t words(const struct agent *agent)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < agent->n_pools; i++)
		n += agent->pools[i]->n_words;
	return n;
}

/* --- tests ------------------------------------------------------------------------------------ */

static int setup(void **state)
{
	(void)state;
	if (system("ip link set lo up; ip link add sl0 type veth peer name sl1 && "
		   "ip link set sl0 up && ip link set sl1 up && ip link add sl2 type bridge && "
		   "ip addr add 10.9.0.254/24 dev sl0"))
		return -1;
	seed = getenv("RELOAD_SEED") ? (uint32_t)atoi(getenv("RELOAD_SEED")) : 20260722;
	if (!mkdtemp(dir))
		return -1;
	snprintf(config_path, sizeof(config_path), "%s/sluice.yaml", dir);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s; ip link del sl0; ip link del sl2", dir);
	memcpy(strrchr(dir, '.'), ".XXXXXX", 8);
	return system(command) ? -1 : 0;
}

static void test_state_is_that_of_a_fresh_start(void **state)
{
	static char texts[STEPS][TEXT_MAX];
	struct memory memory[256];
	uint32_t n_taken = 0;

	(void)state;
	for (uint32_t s = 0; s < SEQUENCES; s++) {
		json_t *got, *want;
		struct agent *agent;
		int64_t now_ms;

		for (uint32_t i = 0; i < STEPS; i++)
			make_config(texts[i]);
		write_config(texts[0]);
		agent = start();
		now_ms = agent_now_ms(agent);
		drive(agent, &now_ms);
		/* …, and back to the first in every other sequence. */
		for (uint32_t i = 1; i < STEPS; i++) {
			uint32_t n = remember(agent, memory);

			write_config(texts[i == STEPS - 1 && s % 2 ? 0 : i]);
			if (reload(agent) < 0)
				fail_msg("sequence %u, step %u: %s\n%s", s, i, agent->reload_error,
					 texts[i]);
			n_taken++;
			expect_kept(agent, memory, n);
			drive(agent, &now_ms);
		}
		got = state_of(agent);
		end(&agent);
		agent = start();
		now_ms = agent_now_ms(agent);
		drive(agent, &now_ms);
		want = state_of(agent);
		expect_same(got, want, "after reloads", s);
		json_decref(got);
		json_decref(want);
		end(&agent);
	}
	assert_int_equal(n_taken, SEQUENCES * (STEPS - 1));
}

static void test_the_same_file_writes_nothing(void **state)
{
	static char text[TEXT_MAX];

	(void)state;
	for (uint32_t s = 0; s < 4; s++) {
		struct memory memory[256];
		struct agent *agent;
		uint64_t before;
		json_t *was, *is;
		int64_t now_ms;
		uint32_t n;

		make_config(text);
		write_config(text);
		agent = start();
		now_ms = agent_now_ms(agent);
		drive(agent, &now_ms);
		n = remember(agent, memory);
		before = words(agent);
		was = state_of(agent);
		for (int i = 0; i < 3; i++)
			assert_int_equal(reload(agent), 0);
		expect_kept(agent, memory, n);
		is = state_of(agent);
		expect_same(is, was, "after the same file", s);
		assert_int_equal(words(agent), before);
		assert_int_equal(agent->n_reloads, 3);
		json_decref(was);
		json_decref(is);
		end(&agent);
	}
}

/* A line goes, the end goes, a byte changes. */
static void spoil(char *text)
{
	size_t len = strlen(text), at = below((uint32_t)len);
	char *line;

	switch (below(3)) {
	case 0:
		text[at] = '\0';
		break;
	case 1:
		line = strchr(text + at, '\n');
		if (line && strchr(line + 1, '\n'))
			memmove(line, strchr(line + 1, '\n'), strlen(strchr(line + 1, '\n')) + 1);
		break;
	default:
		text[at] = "{}[]:,x9-\t"[below(10)];
	}
}

static void test_a_bad_file_changes_nothing(void **state)
{
	static char text[TEXT_MAX];
	uint32_t n_refused = 0;
	struct memory memory[256];
	struct agent *agent;
	int64_t now_ms;

	(void)state;
	make_config(text);
	write_config(text);
	agent = start();
	now_ms = agent_now_ms(agent);
	drive(agent, &now_ms);
	for (int i = 0; i < 60; i++) {
		uint32_t n = remember(agent, memory);
		uint64_t before = words(agent);
		json_t *was = state_of(agent), *is;

		make_config(text);
		spoil(text);
		write_config(text);
		if (reload(agent) == 0) {
			drive(agent, &now_ms); /* it was not that bad */
		} else {
			n_refused++;
			is = state_of(agent);
			expect_same(is, was, "after a bad file", (uint32_t)i);
			json_decref(is);
			expect_kept(agent, memory, n);
			assert_int_equal(words(agent), before);
			assert_true(agent->reload_error[0]);
		}
		json_decref(was);
	}
	assert_in_range(n_refused, 20, 60);
	assert_int_equal(agent->n_reloads_refused, n_refused);
	end(&agent);
}

static const char *const exchanged[] = {
	"  - {name: a, address: 10.8.0.1, port: 80, pool: p0}\n"
	"  - {name: b, address: 10.8.0.2, port: 80, pool: p1}\n",
	/* they change places */
	"  - {name: b, address: 10.8.0.1, port: 80, pool: p0}\n"
	"  - {name: a, address: 10.8.0.2, port: 80, pool: p1}\n",
	/* one has another name, the other goes, and a new one has the name of a former one */
	"  - {name: c, address: 10.8.0.1, port: 80, pool: p0}\n"
	"  - {name: b, address: 10.8.0.3, port: 80, pool: p1}\n",
	/* one takes the place of another, which moves */
	"  - {name: c, address: 10.8.0.3, port: 80, pool: p1}\n"
	"  - {name: b, address: 10.8.0.4, port: 80, pool: p1}\n",
};

static void write_exchanged(int i)
{
	static char text[TEXT_MAX];

	snprintf(text, sizeof(text),
		 "interfaces: [{name: sl0}]\npin_dir: %s\nsocket: %s/sock\n"
		 "metrics: {listen: 'off'}\n"
		 "limits: {pools: 4, flows: 4096, half_open: 1024, nat_flows: 1024}\n"
		 "defaults: {preset: tcp, port: 80, table_slots: 1009, thresholds: {warm_up: 0s}}\n"
		 "pools:\n  - {name: p0, nodes: [{name: n0, address: 10.9.0.1}]}\n"
		 "  - {name: p1, nodes: [{name: n1, address: 10.9.0.2}]}\nvips:\n%s", PIN_DIR, dir,
		 exchanged[i]);
	write_config(text);
}

static uint32_t id_at(const struct agent *agent, const char *text)
{
	struct endpoint ep;

	assert_int_equal(endpoint_parse(text, &ep), 0);
	for (uint32_t i = 0; i < agent->n_vips; i++)
		if (endpoint_equal(&agent->vips[i]->cfg->endpoint, &ep))
			return agent->vips[i]->id;
	fail_msg("no VIP has %s", text);
	return 0;
}

/* Entries of flows hold the id of their VIP: it stays with the endpoint. */
static void test_vips_change_names_and_places(void **state)
{
	struct agent *agent;
	uint32_t first, third;

	(void)state;
	write_exchanged(0);
	agent = start();
	first = id_at(agent, "10.8.0.1:80");
	for (int i = 1; i < 3; i++) {
		write_exchanged(i);
		if (reload(agent) < 0)
			fail_msg("file %d: %s", i, agent->reload_error);
		assert_int_equal(id_at(agent, "10.8.0.1:80"), first);
	}
	third = id_at(agent, "10.8.0.3:80");
	write_exchanged(3);
	assert_int_equal(reload(agent), 0);
	assert_int_equal(id_at(agent, "10.8.0.3:80"), third);
	assert_int_equal(agent->n_vips, 2);
	agent_free(&agent);
	/* the same while no agent runs */
	write_exchanged(1);
	agent = start();
	first = id_at(agent, "10.8.0.1:80");
	agent_free(&agent);
	write_exchanged(0);
	agent = start();
	assert_int_equal(id_at(agent, "10.8.0.1:80"), first);
	end(&agent);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_state_is_that_of_a_fresh_start),
		T(test_the_same_file_writes_nothing),
		T(test_a_bad_file_changes_nothing),
		T(test_vips_change_names_and_places),
	};

	begin_in_namespaces(argc, argv);
	return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
