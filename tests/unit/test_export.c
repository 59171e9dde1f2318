// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/agent/export.h"
#include "userspace/agent/export_text.h"
#include "userspace/agent/scan_nat.h"
#include "userspace/agent/status_page.h"
#include "userspace/lib/cleanup.h"

/* --- lines ------------------------------------------------------------------------------------ */

static const char *text_of(struct export_text *t)
{
	t->data = realloc(t->data, t->len + 1);
	t->size = t->len + 1;
	t->data[t->len] = '\0';
	return t->data;
}

static void a_family_is_headed_once(void **state)
{
	struct export_text t = {};

	(void)state;
	export_text_family(&t, "a_total", EXPORT_COUNTER, "What a is.");
	export_text_labels(&t, "pool", "p", NULL);
	export_text_sample(&t, 1, NULL);
	export_text_labels(&t, "pool", "q", NULL);
	export_text_sample(&t, 2, "state", "up", "why", "so", NULL);
	assert_string_equal(text_of(&t), "# HELP a_total What a is.\n# TYPE a_total counter\n"
					 "a_total{pool=\"p\"} 1\n"
					 "a_total{pool=\"q\",state=\"up\",why=\"so\"} 2\n");
	export_text_free(&t);
}

static void what_is_absent_is_not_zero(void **state)
{
	struct export_text t = {};

	(void)state;
	export_text_family(&t, "a", EXPORT_GAUGE, "What a is.");
	export_text_labels(&t, NULL);
	export_text_sample(&t, NAN, NULL);
	assert_int_equal(t.len, 0); /* not even a head */
	export_text_sample(&t, 0, NULL);
	assert_string_equal(text_of(&t), "# HELP a What a is.\n# TYPE a gauge\na 0\n");
	export_text_free(&t);
}

static void values_of_labels_are_escaped(void **state)
{
	struct export_text t = {};

	(void)state;
	export_text_family(&t, "a", EXPORT_GAUGE, "h");
	export_text_labels(&t, "l", "q\"b\\n\ne", NULL);
	export_text_sample(&t, 1, "m", "\"", NULL);
	assert_non_null(strstr(text_of(&t), "a{l=\"q\\\"b\\\\n\\ne\",m=\"\\\"\"} 1\n"));
	export_text_free(&t);
}

static void numbers_are_exact(void **state)
{
	static const struct {
		double value;
		const char *text;
	} cases[] = {
		{0, "a 0\n"},
		{-0.5, "a -0.5\n"},
		{0.95, "a 0.95\n"},
		{9007199254740991.0, "a 9007199254740991\n"},
		{-9007199254740991.0, "a -9007199254740991\n"},
		{1e18, "a 1e+18\n"},
		{1e300, "a 1e+300\n"},
		{INFINITY, "a +Inf\n"},
		{-INFINITY, "a -Inf\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct export_text t = {};

		export_text_family(&t, "a", EXPORT_GAUGE, "h");
		export_text_labels(&t, NULL);
		export_text_sample(&t, cases[i].value, NULL);
		assert_string_equal(strstr(text_of(&t), "gauge\n") + 6, cases[i].text);
		export_text_free(&t);
	}
}

/* --- a page ----------------------------------------------------------------------------------- */

static const char config_text[] =
	"interfaces: [{name: lo}]\n"
	"pools:\n"
	"  - name: big\n"
	"    preset: vllm\n"
	"    slots: 8\n"
	"    nodes: [{name: n1, address: 10.0.0.1, weight: 3}, {name: n2, address: 10.0.0.2}]\n"
	"  - name: small\n"
	"    preset: tcp\n"
	"    port: 9000\n"
	"    nodes: [{name: n1, address: 10.0.0.3}]\n"
	"vips: [{name: v, address: 10.1.0.1, port: 8000, pool: big}]\n";

static void no_grace(void *userdata)
{
	(void)userdata;
}

static void add_pool(struct agent *agent, const struct config_pool *cfg)
{
	struct pool *pool;
	uint32_t id;

	assert_int_equal(publish_pool_get(agent->publish, cfg->name, cfg->table_slots, &id), 0);
	assert_int_equal(pool_new(agent, cfg, id, true, &pool), 0);
	agent->pools = realloc(agent->pools, (agent->n_pools + 1) * sizeof(struct pool *));
	agent->pools[agent->n_pools++] = pool;
	for (uint32_t i = 0; i < cfg->n_nodes; i++) {
		struct endpoint ep = {.addr = cfg->nodes[i].address, .port = cfg->nodes[i].port};
		struct node *node;
		bool adopted;
		uint16_t node_id;

		assert_int_equal(publish_backend_get(agent->publish, cfg->name, cfg->nodes[i].name,
						     &ep, &node_id, &adopted),
				 0);
		assert_int_equal(node_new(agent, pool, &cfg->nodes[i], node_id, false, true, 1000,
					  &node),
				 0);
		assert_int_equal(pool_add(pool, node), 0);
	}
}

/* An agent over anonymous memory, that checks nothing. */
static int set_up(void **state)
{
	struct agent *agent = calloc(1, sizeof(*agent));
	struct config_errors errs = {};

	assert_int_equal(config_load_buffer("test", config_text, strlen(config_text), &agent->cfg,
					    &errs),
			 0);
	assert_int_equal(tables_alloc(2, 2, &agent->tables), 0);
	assert_int_equal(publish_new(&agent->tables, no_grace, NULL, 1000, &agent->publish), 0);
	assert_int_equal(scan_new(&agent->tables, 1000, &agent->scan), 0);
	assert_int_equal(scan_nat_new(&agent->tables, "/nonexistent", &agent->scan_nat), 0);
	assert_int_equal(sd_event_new(&agent->event), 0);
	assert_true(sd_event_run(agent->event, 0) >= 0); /* fixes its time */
	assert_int_equal(probe_engine_new(agent->event, &agent->probes), 0);
	for (uint32_t i = 0; i < agent->cfg->n_pools; i++)
		add_pool(agent, &agent->cfg->pools[i]);
	agent->vips = calloc(1, sizeof(struct vip *));
	agent->vips[0] = calloc(1, sizeof(struct vip));
	*agent->vips[0] = (struct vip){
		.cfg = &agent->cfg->vips[0], .name = "v", .pool = agent->pools[0]};
	agent->n_vips = 1;
	*state = agent;
	return 0;
}

static int tear_down(void **state)
{
	struct agent *agent = *state;

	agent_free(&agent);
	return 0;
}

/* The whole page, read in pieces of so many bytes. */
static char *page_in(const struct agent *agent, size_t piece)
{
	struct export_page *page = NULL;
	char *text = calloc(1, 1);
	size_t len = 0;
	ssize_t n;

	assert_int_equal(export_page_new(agent, &page), 0);
	do {
		text = realloc(text, len + piece + 1);
		n = export_page_read(page, text + len, piece);
		assert_true(n >= 0);
		len += (size_t)n;
		text[len] = '\0';
	} while (n > 0);
	export_page_free(&page);
	return text;
}

static void assert_line(const char *page, const char *line)
{
	const char *at = strstr(page, line);

	if (!at || (at != page && at[-1] != '\n'))
		fail_msg("no line %s", line);
}

static void a_page_has_every_object(void **state)
{
	struct agent *agent = *state;
	_cleanup_free_ char *page = NULL;
	struct node *node = agent->pools[0]->nodes[0];
	struct health_change change;

	agent->tables.vip_stats[0].packets = 7;
	agent->tables.vip_stats[LB_VIPS_MAX].packets = 5; /* the other CPU's */
	agent->tables.reasons[LB_R_BAD_IHL] = 2;
	agent->tables.reasons[LB_EV_OVERFLOW_RATE] = 3;
	health_order(&node->health, &node->health_settings, LB_STATE_DRAINING, 2000, &change);
	node->n_checks = 5;
	node->n_check_failures = 2;
	page = page_in(agent, 65536);
	assert_line(page, "sluice_vip_packets_total{vip=\"v\"} 12\n");
	assert_line(page, "sluice_packets_total{reason=\"bad_ihl\"} 2\n");
	assert_line(page, "sluice_flow_events_total{event=\"overflow_rate\"} 3\n");
	assert_line(page, "sluice_node_state{pool=\"big\",node=\"n1\",state=\"draining\"} 1\n");
	assert_line(page, "sluice_node_state{pool=\"big\",node=\"n1\",state=\"unknown\"} 0\n");
	assert_line(page, "sluice_node_state{pool=\"small\",node=\"n1\",state=\"unknown\"} 1\n");
	assert_line(page, "sluice_node_state_cause{pool=\"big\",node=\"n1\",cause=\"ordered\"} 1"
			  "\n");
	assert_line(page, "sluice_node_state_cause{pool=\"big\",node=\"n2\",cause=\"start\"} 1\n");
	assert_line(page, "sluice_node_checks_total{pool=\"big\",node=\"n1\",result=\"pass\"} 3\n");
	assert_line(page, "sluice_node_checks_total{pool=\"big\",node=\"n1\",result=\"fail\"} 2\n");
	assert_line(page, "sluice_node_weight{pool=\"big\",node=\"n1\"} 3\n");
	assert_line(page, "sluice_node_request_slots{pool=\"big\",node=\"n1\"} 8\n");
	assert_line(page, "sluice_pool_nodes{pool=\"big\",state=\"draining\"} 1\n");
	assert_line(page, "sluice_pool_nodes{pool=\"big\",state=\"unknown\"} 1\n");
}

static void what_a_node_does_not_tell_is_left_out(void **state)
{
	struct agent *agent = *state;
	struct node *node = agent->pools[0]->nodes[0];
	_cleanup_free_ char *before = page_in(agent, 65536), *after = NULL;

	assert_null(strstr(before, "sluice_node_requests_waiting"));
	assert_null(strstr(before, "sluice_node_load_age_seconds"));
	assert_null(strstr(before, "sluice_node_drained"));
	load_set(&node->sample, LOAD_QUEUE, 0);
	load_set(&node->sample, LOAD_KV, 0.25);
	node->sample_ms = 1000;
	node->score.sample_ms = agent_now_ms(agent) - 1500;
	after = page_in(agent, 65536);
	assert_line(after, "sluice_node_requests_waiting{pool=\"big\",node=\"n1\"} 0\n");
	assert_line(after, "sluice_node_kv_cache_usage_ratio{pool=\"big\",node=\"n1\"} 0.25\n");
	assert_line(after, "sluice_node_load_age_seconds{pool=\"big\",node=\"n1\"} 1.5\n");
	assert_null(strstr(after, "sluice_node_requests_running"));
	assert_null(strstr(after, "sluice_node_requests_waiting{pool=\"big\",node=\"n2\"}"));
}

/* Lines that differ from one page to the next. */
static bool is_steady(const char *line)
{
	return !strstr(line, "process_") && !strstr(line, "_seconds");
}

static void pieces_do_not_matter(void **state)
{
	struct agent *agent = *state;
	_cleanup_free_ char *whole = page_in(agent, 65536), *bytes = page_in(agent, 1);
	char *a_rest = NULL, *b_rest = NULL;
	char *a = strtok_r(whole, "\n", &a_rest), *b = strtok_r(bytes, "\n", &b_rest);
	size_t n = 0;

	for (; a && b; n++) {
		if (is_steady(a))
			assert_string_equal(a, b);
		a = strtok_r(NULL, "\n", &a_rest);
		b = strtok_r(NULL, "\n", &b_rest);
	}
	assert_null(a);
	assert_null(b);
	assert_true(n > 300);
}

static void poll_mode_tells_whether_it_forwards(void **state)
{
	struct agent *agent = *state;
	_cleanup_free_ char *xdp = page_in(agent, 65536), *stopped = NULL, *back = NULL, *html = NULL;
	int64_t now_ms = agent_now_ms(agent);
	size_t len;

	assert_null(strstr(xdp, "sluice_dpdk_stopped"));
	assert_null(strstr(xdp, "sluice_dpdk_workers"));
	agent->tables.dpdk_workers[0] = (struct lb_worker){.pid = 1, .tick = 1000, .received = 5};
	dataplane_init(&agent->dataplane, agent->tables.dpdk_workers,
		       1000 + LB_TICKS_FROM_MS(7000), now_ms);
	stopped = page_in(agent, 65536);
	assert_line(stopped, "sluice_dpdk_stopped 1\n");
	assert_line(stopped, "sluice_dpdk_stopped_seconds 6.999\n");
	assert_line(stopped, "sluice_dpdk_workers{state=\"running\"} 0\n");
	assert_line(stopped, "sluice_dpdk_workers{state=\"stuck\"} 1\n");
	html = status_page(agent, now_ms, &len);
	assert_non_null(strstr(html, "sluice-dpdk has not run for 7 s"));
	agent->tables.dpdk_workers[0].pid = 0; /* its counters stay */
	agent->tables.dpdk_workers[1] = (struct lb_worker){.pid = 1, .tick = 9000};
	assert_int_equal(dataplane_step(&agent->dataplane, 9000, now_ms), DATAPLANE_BACK);
	back = page_in(agent, 65536);
	assert_line(back, "sluice_dpdk_stopped 0\n");
	assert_line(back, "sluice_dpdk_stopped_seconds 0\n");
	assert_line(back, "sluice_dpdk_workers{state=\"running\"} 1\n");
	assert_line(back, "sluice_dpdk_frames_total{worker=\"0\",what=\"received\"} 5\n");
}

static void a_page_ends_when_nodes_go_meanwhile(void **state)
{
	struct agent *agent = *state;
	struct export_page *page = NULL;
	struct pool *pool = agent->pools[0];
	struct node *node = pool->nodes[0];
	char buf[64];

	assert_int_equal(export_page_new(agent, &page), 0);
	assert_int_equal(export_page_read(page, buf, sizeof(buf)), sizeof(buf));
	pool_remove(pool, node);
	node_free(&node);
	assert_int_equal(export_page_read(page, buf, sizeof(buf)), -ESTALE);
	export_page_free(&page);
	export_page_free(&page);
}

static void markup_of_a_node_is_shown_and_not_obeyed(void **state)
{
	struct agent *agent = *state;
	_cleanup_free_ char *page = NULL;
	size_t len = 0;

	strcpy(agent->pools[0]->nodes[0]->health.cause, "503 <script>\"&");
	strcpy(agent->reload_error, "<b>");
	page = status_page(agent, 2000, &len);
	assert_non_null(page);
	assert_int_equal(strlen(page), len);
	assert_non_null(strstr(page, "503 &lt;script&gt;&quot;&amp;"));
	assert_non_null(strstr(page, "&lt;b&gt;"));
	assert_null(strstr(page, "<script"));
	assert_null(strstr(page, "<b>"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_family_is_headed_once),
		cmocka_unit_test(what_is_absent_is_not_zero),
		cmocka_unit_test(values_of_labels_are_escaped),
		cmocka_unit_test(numbers_are_exact),
		cmocka_unit_test_setup_teardown(a_page_has_every_object, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_a_node_does_not_tell_is_left_out, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(pieces_do_not_matter, set_up, tear_down),
		cmocka_unit_test_setup_teardown(poll_mode_tells_whether_it_forwards, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_page_ends_when_nodes_go_meanwhile, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(markup_of_a_node_is_shown_and_not_obeyed, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
