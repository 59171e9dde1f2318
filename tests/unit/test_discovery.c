// SPDX-License-Identifier: BSD-2-Clause
/*
 * Answers of a source -> members of a pool, with time passed in. The resolver and what brings
 * members into the pool are replaced here; files are read from the disk.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "userspace/agent/agent.h"
#include "userspace/agent/apply.h"
#include "userspace/agent/discovery.h"
#include "userspace/agent/discovery_dns.h"
#include "userspace/lib/log.h"


/* --- what is replaced ------------------------------------------------------------------------- */

static int64_t now_ms;
static discovery_dns_fn asked; /* NULL: no question is under way */
static void *asked_userdata;
static uint32_t n_asked, n_applied;
static bool applied_at_start;
static char told[256]; /* nodes that were told their deadline */

int discovery_dns_ask(sd_event *event, const struct config_discovery *cfg, sa_family_t family,
		      discovery_dns_fn done, void *userdata, struct discovery_dns **ret)
{
	(void)event;
	(void)cfg;
	(void)family;
	assert_null(asked);
	asked = done;
	asked_userdata = userdata;
	n_asked++;
	*ret = (struct discovery_dns *)&asked;
	return 0;
}

void discovery_dns_free(struct discovery_dns **dns)
{
	if (*dns)
		asked = NULL;
	*dns = NULL;
}

int64_t agent_now_ms(const struct agent *agent)
{
	(void)agent;
	return now_ms;
}

uint64_t agent_boottime_ms(void)
{
	return (uint64_t)now_ms;
}

struct node *pool_find(const struct pool *pool, const char *name)
{
	for (uint32_t i = 0; i < pool->n_nodes; i++)
		if (!strcmp(pool->nodes[i]->name, name))
			return pool->nodes[i];
	return NULL;
}

void node_publish_info(struct node *node)
{
	size_t len = strlen(told);

	snprintf(told + len, sizeof(told) - len, "%s+%lld ", node->name,
		 (long long)node->drain_deadline_ms - now_ms);
}

bool publish_backend_used(const struct publish *p, uint16_t id)
{
	(void)p;
	return id < 8 && id; /* as the test fills backend_info */
}

static bool is_wanted(const struct node *node, const struct config_node *cfg, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(cfg[i].name, node->name) && cfg[i].port == node->endpoint.port &&
		    address_equal(&cfg[i].address, &node->endpoint.addr))
			return true;
	return false;
}

static struct node *add_node(struct pool *pool, const struct config_node *cfg)
{
	struct node *node = calloc(1, sizeof(*node));

	snprintf(node->name, sizeof(node->name), "%s", cfg->name);
	node->endpoint = (struct endpoint){.addr = cfg->address, .port = cfg->port};
	node->pool = pool;
	node->health.state = LB_STATE_UNKNOWN;
	pool->nodes = realloc(pool->nodes, (pool->n_nodes + 1) * sizeof(node));
	pool->nodes[pool->n_nodes++] = node;
	return node;
}

static void take(struct pool *pool, const struct config_node *cfg, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct node *node = pool_find(pool, cfg[i].name);

		if (!node || !is_wanted(node, &cfg[i], 1))
			node = add_node(pool, &cfg[i]);
		node->cfg = &cfg[i];
		node->weight = cfg[i].weight;
	}
}

int agent_apply_nodes(struct agent *agent, struct pool *pool, bool at_start, int64_t now,
		      struct attach_error *err)
{
	const struct config_node *found;
	uint32_t n;

	(void)agent;
	(void)now;
	(void)err;
	assert_int_equal(discovery_nodes(pool->discovery, &found, &n), 0);
	for (uint32_t i = pool->n_nodes; i-- > 0;) {
		struct node *node = pool->nodes[i];

		if (is_wanted(node, found, n) ||
		    is_wanted(node, pool->cfg->nodes, pool->cfg->n_nodes))
			continue;
		memmove(&pool->nodes[i], &pool->nodes[i + 1],
			(pool->n_nodes - i - 1) * sizeof(node));
		pool->n_nodes--;
		free(node);
	}
	take(pool, pool->cfg->nodes, pool->cfg->n_nodes);
	take(pool, found, n);
	discovery_settle(pool->discovery);
	n_applied++;
	applied_at_start = at_start;
	return 0;
}

/* --- a pool ----------------------------------------------------------------------------------- */

struct fixture {
	struct agent agent;
	struct pool pool;
	struct pool *pools[1];
	struct config *cfg;
};

static struct config *config_of(const char *discovery, const char *nodes)
{
	struct config_errors errs = {};
	struct config *cfg = NULL;
	char text[2048];
	int n = snprintf(text, sizeof(text),
			 "interfaces: [{name: eth0}]\nlimits: {nodes: 16}\n"
			 "pools:\n  - name: p\n    preset: tcp\n%s%s\n%s%s\n"
			 "vips:\n  - {name: v, address: 10.0.0.100, port: 80, pool: p}\n",
			 *nodes ? "    nodes: " : "", nodes, *discovery ? "    discovery: " : "",
			 discovery);

	if (config_load_buffer("test.yaml", text, (size_t)n, &cfg, &errs) < 0)
		fail_msg("%s", errs.n ? errs.items[0].text : "?");
	config_errors_free(&errs);
	return cfg;
}

#define DNS "{dns: {name: gpu.test, min_ttl: 1s, max_ttl: 30s}, max_nodes: 8, drain_deadline: 60s}"

static void configure(struct fixture *f, const char *discovery, const char *nodes)
{
	struct attach_error err = {};
	struct config *old = f->cfg;

	f->cfg = f->agent.cfg = config_of(discovery, nodes);
	f->pool.cfg = &f->cfg->pools[0];
	if (!f->pool.discovery)
		assert_int_equal(discovery_new(&f->agent, &f->pool, true, &f->pool.discovery), 0);
	discovery_configure(f->pool.discovery, now_ms);
	agent_apply_nodes(&f->agent, &f->pool, false, now_ms, &err);
	config_free(&old);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	log_set_level(LOG_LEVEL_ERROR);
	now_ms = 1000000;
	asked = NULL;
	n_asked = n_applied = 0;
	told[0] = '\0';
	f->pools[0] = &f->pool;
	f->agent.pools = f->pools;
	f->agent.n_pools = 1;
	assert_int_equal(sd_event_new(&f->agent.event), 0);
	assert_int_equal(tables_alloc(1, 1, &f->agent.tables), 0);
	snprintf(f->pool.name, sizeof(f->pool.name), "p");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	discovery_free(&f->pool.discovery);
	for (uint32_t i = 0; i < f->pool.n_nodes; i++)
		free(f->pool.nodes[i]);
	free(f->pool.nodes);
	config_free(&f->cfg);
	tables_close(&f->agent.tables);
	sd_event_unref(f->agent.event);
	free(f);
	return 0;
}

static void tick(struct fixture *f, int64_t ms)
{
	now_ms += ms;
	discovery_tick(f->pool.discovery, now_ms);
}

/* The resolver answers "10.0.1.1 10.0.1.2:81 …". */
static void answer(const char *text, int64_t ttl_ms)
{
	struct discovery_answer a = {0};
	char copy[256], *word, *rest = copy;
	discovery_dns_fn done = asked;

	assert_non_null(done);
	snprintf(copy, sizeof(copy), "%s", text);
	while ((word = strsep(&rest, " "))) {
		struct discovery_target t = {0};

		assert_int_equal(endpoint_parse_optional_port(word, &t.endpoint), 0);
		assert_int_equal(discovery_answer_add(&a, &t), 0);
	}
	assert_null(discovery_answer_finish(&a));
	done(asked_userdata, &a, ttl_ms, "");
	assert_null(asked);
}

static void no_answer(const char *why)
{
	assert_non_null(asked);
	asked(asked_userdata, NULL, 0, why);
	assert_null(asked);
}

static void expect_nodes(const struct fixture *f, const char *want)
{
	char got[256] = "";

	for (uint32_t i = 0; i < f->pool.n_nodes; i++) {
		size_t len = strlen(got);

		snprintf(got + len, sizeof(got) - len, "%s%s%s", len ? " " : "",
			 f->pool.nodes[i]->name, f->pool.nodes[i]->gone ? "(gone)" : "");
	}
	assert_string_equal(got, want);
}

static void set_state(struct fixture *f, const char *name, enum lb_state state)
{
	pool_find(&f->pool, name)->health.state = state;
}

static struct discovery_stats stats(const struct fixture *f)
{
	struct discovery_stats s;

	discovery_stats(f->pool.discovery, &s);
	return s;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_answers_become_nodes_by_address_and_port(void **state)
{
	struct fixture *f = *state;

	configure(f, DNS, "");
	assert_true(discovery_awaited(f->pool.discovery));
	tick(f, 0);
	answer("10.0.1.1 fd00::7 10.0.1.2:80", 5000);
	expect_nodes(f, "10.0.1.1 10.0.1.2 fd00--7");
	assert_int_equal(f->pool.nodes[0]->endpoint.port, 80);
	assert_true(applied_at_start);
	assert_false(discovery_awaited(f->pool.discovery));
	/* the same again is no work; another one is, and is not the start any more */
	n_applied = 0;
	tick(f, 5000);
	answer("10.0.1.1 fd00::7 10.0.1.2:80", 5000);
	assert_int_equal(n_applied, 0);
	tick(f, 5000);
	answer("10.0.1.1 fd00::7 10.0.1.2 10.0.1.3", 5000);
	assert_int_equal(n_applied, 1);
	assert_false(applied_at_start);
	expect_nodes(f, "10.0.1.1 10.0.1.2 fd00--7 10.0.1.3");
}

static void test_asks_by_the_ttl_within_its_limits(void **state)
{
	static const struct {
		int64_t ttl_ms, wait_ms;
	} cases[] = {{0, 1000}, {999, 1000}, {7000, 7000}, {30001, 30000}, {INT64_MAX / 2, 30000}};
	struct fixture *f = *state;

	configure(f, DNS, "");
	tick(f, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		answer("10.0.1.1", cases[i].ttl_ms);
		tick(f, cases[i].wait_ms - 1);
		assert_null(asked);
		tick(f, 1);
		assert_non_null(asked);
		tick(f, 60000); /* one question at a time */
	}
	assert_int_equal(n_asked, 1 + sizeof(cases) / sizeof(cases[0]));
}

static void test_failures_keep_nodes_and_are_tried_ever_more_rarely(void **state)
{
	static const int64_t waits[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};
	struct fixture *f = *state;

	configure(f, DNS, "");
	tick(f, 0);
	answer("10.0.1.1 10.0.1.2", 1000);
	tick(f, 1000);
	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		no_answer(i % 2 ? "no such name" : "no answer in time");
		assert_true(stats(f).failing);
		expect_nodes(f, "10.0.1.1 10.0.1.2");
		tick(f, waits[i] - 1);
		assert_null(asked);
		tick(f, 1);
		assert_non_null(asked);
	}
	answer("10.0.1.2", 1000);
	assert_false(stats(f).failing);
	assert_int_equal(stats(f).n_failures, 7);
	expect_nodes(f, "10.0.1.1(gone) 10.0.1.2");
	tick(f, 1000);
	no_answer("again"); /* begins anew with the short wait */
	tick(f, 1000);
	assert_non_null(asked);
}

static void test_who_is_no_longer_named_serves_until_others_are_ready(void **state)
{
	struct fixture *f = *state;

	configure(f, DNS, "");
	tick(f, 0);
	answer("10.0.1.1 10.0.1.2", 1000);
	set_state(f, "10.0.1.1", LB_STATE_HEALTHY);
	set_state(f, "10.0.1.2", LB_STATE_HEALTHY);
	tick(f, 1000);
	answer("10.0.1.3 10.0.1.4 10.0.1.5", 1000);
	expect_nodes(f, "10.0.1.1(gone) 10.0.1.2(gone) 10.0.1.3 10.0.1.4 10.0.1.5");
	assert_int_equal(stats(f).leaving, 2);
	set_state(f, "10.0.1.3", LB_STATE_HEALTHY);
	tick(f, 100);
	assert_int_equal(f->pool.n_nodes, 5); /* one of three: too few */
	set_state(f, "10.0.1.4", LB_STATE_WARMING);
	tick(f, 100);
	expect_nodes(f, "10.0.1.3 10.0.1.4 10.0.1.5");
	assert_string_equal(told, "10.0.1.2+60000 10.0.1.1+60000 ");
}

static void test_who_is_named_again_is_the_same_node(void **state)
{
	struct fixture *f = *state;
	struct node *node;

	configure(f, DNS, "");
	tick(f, 0);
	answer("10.0.1.1 10.0.1.2", 1000);
	node = pool_find(&f->pool, "10.0.1.2");
	tick(f, 1000);
	answer("10.0.1.1", 1000);
	assert_true(node->gone);
	tick(f, 1000);
	answer("10.0.1.1 10.0.1.2", 1000);
	assert_ptr_equal(pool_find(&f->pool, "10.0.1.2"), node);
	assert_false(node->gone);
	assert_int_equal(stats(f).leaving, 0);
	set_state(f, "10.0.1.1", LB_STATE_HEALTHY);
	tick(f, 100);
	expect_nodes(f, "10.0.1.1 10.0.1.2");
}

static void test_an_answer_that_cannot_be_taken_is_refused_whole(void **state)
{
	static const char *const bad[] = {
		/* more than max_nodes; nothing but ports and addresses that the pool cannot have */
		"10.0.1.1 10.0.1.2 10.0.1.3 10.0.1.4 10.0.1.5 10.0.1.6 10.0.1.7 10.0.1.8 10.0.1.9",
		"10.0.1.1:81 10.0.1.2:82",
		"10.0.0.100 224.0.0.1",
	};
	struct fixture *f = *state;

	configure(f, DNS, "");
	tick(f, 0);
	answer("10.0.1.1", 1000);
	for (size_t i = 0; i < 3; i++) {
		tick(f, 30000);
		answer(bad[i], 1000);
		assert_true(stats(f).failing);
		expect_nodes(f, "10.0.1.1");
	}
	tick(f, 30000);
	answer("10.0.1.1 10.0.1.2 10.0.0.100", 1000); /* a part of it can */
	assert_false(stats(f).failing);
	expect_nodes(f, "10.0.1.1 10.0.1.2");
}

static void test_more_than_all_pools_may_have_is_refused(void **state)
{
	struct fixture *f = *state;

	configure(f, DNS, "[{name: a, address: 10.0.2.1}, {name: b, address: 10.0.2.2}, "
			  "{name: c, address: 10.0.2.3}, {name: d, address: 10.0.2.4}, "
			  "{name: e, address: 10.0.2.5}, {name: f, address: 10.0.2.6}, "
			  "{name: g, address: 10.0.2.7}, {name: h, address: 10.0.2.8}, "
			  "{name: i, address: 10.0.2.9}, {name: j, address: 10.0.2.10}]");
	tick(f, 0);
	answer("10.0.1.1 10.0.1.2 10.0.1.3 10.0.1.4 10.0.1.5 10.0.1.6 10.0.1.7", 1000);
	assert_true(stats(f).failing); /* 17 of 16 */
	assert_int_equal(f->pool.n_nodes, 10);
	tick(f, 30000);
	answer("10.0.1.1 10.0.1.2 10.0.1.3 10.0.1.4 10.0.1.5 10.0.1.6", 1000);
	assert_int_equal(f->pool.n_nodes, 16);
	tick(f, 30000); /* its own members do not count twice */
	answer("10.0.1.2 10.0.1.3 10.0.1.4 10.0.1.5 10.0.1.6 10.0.1.7", 1000);
	assert_false(stats(f).failing);
}

static void test_nodes_of_the_file_have_precedence(void **state)
{
	struct fixture *f = *state;
	struct node *node;

	configure(f, DNS, "");
	tick(f, 0);
	answer("10.0.1.1 10.0.1.2", 1000);
	node = pool_find(&f->pool, "10.0.1.1");
	set_state(f, "10.0.1.1", LB_STATE_HEALTHY);
	set_state(f, "10.0.1.2", LB_STATE_HEALTHY);
	/* by the same name: the same node; by another one: another node, and the found one leaves */
	configure(f, DNS, "[{address: 10.0.1.1, weight: 7}, {name: two, address: 10.0.1.2}]");
	assert_ptr_equal(pool_find(&f->pool, "10.0.1.1"), node);
	assert_int_equal(node->weight, 7);
	assert_int_equal(stats(f).nodes, 1);
	expect_nodes(f, "10.0.1.1 10.0.1.2(gone) two");
	tick(f, 100);
	expect_nodes(f, "10.0.1.1 two");
	tick(f, 30000);
	answer("10.0.1.1 10.0.1.2 10.0.1.3", 1000);
	expect_nodes(f, "10.0.1.1 two 10.0.1.3");
	configure(f, DNS, "");
	expect_nodes(f, "10.0.1.1 10.0.1.3 10.0.1.2");
}

static void test_a_node_that_is_to_leave_stays_when_the_file_names_it(void **state)
{
	struct fixture *f = *state;

	configure(f, DNS, "");
	tick(f, 0);
	answer("10.0.1.1 10.0.1.2", 1000);
	set_state(f, "10.0.1.1", LB_STATE_HEALTHY);
	tick(f, 1000);
	answer("10.0.1.2", 30000); /* which is not ready: the first serves on */
	expect_nodes(f, "10.0.1.1(gone) 10.0.1.2");
	configure(f, DNS, "[{address: 10.0.1.1}]");
	expect_nodes(f, "10.0.1.1 10.0.1.2");
	set_state(f, "10.0.1.2", LB_STATE_HEALTHY);
	tick(f, 100000);
	expect_nodes(f, "10.0.1.1 10.0.1.2");
}

static void test_a_name_that_the_file_gives_to_another_node_is_the_files(void **state)
{
	struct fixture *f = *state;

	configure(f, DNS, "");
	tick(f, 0);
	answer("10.0.1.1 10.0.1.2", 30000);
	configure(f, DNS, "[{name: 10.0.1.1, address: 10.0.5.5}]");
	assert_int_equal(stats(f).nodes, 1);
	expect_nodes(f, "10.0.1.2 10.0.1.1");
	assert_int_equal(pool_find(&f->pool, "10.0.1.1")->endpoint.addr.v4.s_addr,
			 htonl(0x0a000505));
}

static void test_another_source_keeps_nodes_until_it_answers(void **state)
{
	struct fixture *f = *state;

	configure(f, DNS, "");
	tick(f, 0);
	answer("10.0.1.1", 1000);
	set_state(f, "10.0.1.1", LB_STATE_HEALTHY);
	tick(f, 1000);
	assert_non_null(asked);
	configure(f, "{dns: {name: other.test, min_ttl: 1s}}", "");
	assert_null(asked); /* the old question is dropped */
	expect_nodes(f, "10.0.1.1");
	tick(f, 0);
	answer("10.0.1.2", 1000);
	expect_nodes(f, "10.0.1.1(gone) 10.0.1.2");
	/* none at all: all of them leave when those of the file are ready */
	configure(f, "", "[{name: s, address: 10.0.3.1}]");
	expect_nodes(f, "10.0.1.1(gone) 10.0.1.2(gone) s");
	set_state(f, "s", LB_STATE_HEALTHY);
	tick(f, 100);
	expect_nodes(f, "s");
	tick(f, 100000);
	assert_null(asked);
	assert_null(discovery_report(f->pool.discovery, now_ms));
}

static void test_settings_change_without_a_question(void **state)
{
	struct fixture *f = *state;

	configure(f, DNS, "");
	tick(f, 0);
	answer("10.0.1.1 10.0.1.2", 10000);
	configure(f, "{dns: {name: gpu.test, min_ttl: 1s, max_ttl: 30s}, weight: 5, tier: 1}", "");
	assert_int_equal(f->pool.nodes[0]->weight, 5);
	assert_int_equal(f->pool.nodes[0]->cfg->tier, 1);
	tick(f, 9999);
	assert_int_equal(n_asked, 1);
	tick(f, 1);
	assert_int_equal(n_asked, 2);
}

static void adopt(struct fixture *f, uint16_t id, const char *address, enum lb_state state,
		  enum lb_state order)
{
	struct lb_backend_info *info = &f->agent.tables.backend_info[id];

	snprintf(info->name, sizeof(info->name), "old%u", id);
	snprintf(info->pool, sizeof(info->pool), "p");
	snprintf(info->address, sizeof(info->address), "%s", address);
	info->state = state;
	info->operator_state = order;
	info->weight = 3;
}

static void test_nodes_of_an_earlier_agent_stay_while_the_source_is_silent(void **state)
{
	struct fixture *f = *state;

	adopt(f, 1, "10.0.1.1:80", LB_STATE_HEALTHY, LB_STATE_NONE);
	adopt(f, 2, "10.0.1.2:80", LB_STATE_DRAINING, LB_STATE_DRAINING); /* the operator's */
	adopt(f, 3, "10.0.1.3:80", LB_STATE_DRAINING, LB_STATE_NONE); /* was removed */
	adopt(f, 4, "10.0.1.4:80", LB_STATE_HEALTHY, LB_STATE_NONE);
	snprintf(f->agent.tables.backend_info[4].pool, LB_NAME_MAX, "another");
	adopt(f, 5, "rubbish", LB_STATE_HEALTHY, LB_STATE_NONE);
	configure(f, DNS, "");
	expect_nodes(f, "old1 old2");
	assert_int_equal(f->pool.nodes[0]->weight, 3);
	assert_false(discovery_awaited(f->pool.discovery));
	tick(f, 0);
	no_answer("no answer in time");
	expect_nodes(f, "old1 old2");
	tick(f, 1000);
	answer("10.0.1.2 10.0.1.5", 1000);
	expect_nodes(f, "old1(gone) old2 10.0.1.5");
}

static void write_targets(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void test_a_file_is_read_at_once_and_again_by_a_reload_of_another(void **state)
{
	char one[] = "/tmp/test_discovery.XXXXXX", two[] = "/tmp/test_discovery.XXXXXX", text[128];
	struct fixture *f = *state;

	close(mkstemp(one));
	close(mkstemp(two));
	write_targets(one, "[{\"targets\": [\"10.0.1.1\"], \"labels\": {\"weight\": 4}}]");
	write_targets(two, "[{\"targets\": [\"10.0.1.9\", ]}]");
	snprintf(text, sizeof(text), "{file: %s}", one);
	configure(f, text, "");
	expect_nodes(f, "10.0.1.1");
	assert_int_equal(f->pool.nodes[0]->weight, 4);
	set_state(f, "10.0.1.1", LB_STATE_HEALTHY);
	snprintf(text, sizeof(text), "{file: %s}", two);
	configure(f, text, "");
	assert_true(stats(f).failing); /* it is no JSON */
	expect_nodes(f, "10.0.1.1");
	tick(f, 100000);
	assert_int_equal(n_asked, 0);
	unlink(one);
	unlink(two);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_answers_become_nodes_by_address_and_port),
		T(test_asks_by_the_ttl_within_its_limits),
		T(test_failures_keep_nodes_and_are_tried_ever_more_rarely),
		T(test_who_is_no_longer_named_serves_until_others_are_ready),
		T(test_who_is_named_again_is_the_same_node),
		T(test_an_answer_that_cannot_be_taken_is_refused_whole),
		T(test_more_than_all_pools_may_have_is_refused),
		T(test_nodes_of_the_file_have_precedence),
		T(test_a_node_that_is_to_leave_stays_when_the_file_names_it),
		T(test_a_name_that_the_file_gives_to_another_node_is_the_files),
		T(test_another_source_keeps_nodes_until_it_answers),
		T(test_settings_change_without_a_question),
		T(test_nodes_of_an_earlier_agent_stay_while_the_source_is_silent),
		T(test_a_file_is_read_at_once_and_again_by_a_reload_of_another),
	};

	return cmocka_run_group_tests_name("discovery", tests, NULL, NULL);
}
