/* SPDX-License-Identifier: BSD-2-Clause */
/* Configurations: every key reaches its field, and what holds where one is missing. */
#include "tests/unit/config_bed.h"
#include "userspace/lib/log.h"

static void the_sample_configuration_loads(void **state)
{
	struct config_errors errs = {0};
	struct config *cfg = UNTOUCHED;

	(void)state;
	if (config_load("tools/systemd/sluice.example.yaml", &cfg, &errs) < 0)
		fail_msg("%s", errs.items[0].text);
	assert_int_equal(config_check_files(cfg, &errs), 0);
	assert_int_equal(cfg->n_pools, 1);
	config_free(&cfg);
}

/* Remove the "# " of lines that show a default: they must be what is in force without them. */
static char *read_sample(bool uncomment)
{
	char *out = NULL, line[512];
	size_t size;
	FILE *in = fopen("tools/systemd/sluice.example.yaml", "re");
	FILE *mem = open_memstream(&out, &size);
	bool on = false;

	assert_non_null(in);
	assert_non_null(mem);
	while (fgets(line, sizeof(line), in)) {
		if (strncmp(line, "defaults:", 9) == 0)
			on = uncomment;
		if (strncmp(line, "pools:", 6) == 0)
			on = false;
		/* Paths and metrics stand for the preset's, and files need files. */
		if (on && strncmp(line, "  # ", 4) == 0 && !strstr(line, "_file") &&
		    !strstr(line, ".pem") && !strstr(line, "path:") &&
		    !strstr(line, "port: 8000") && !strstr(line, "vllm") && !strstr(line, "none") &&
		    !strstr(line, "expect") && !strstr(line, "status_field") &&
		    !strstr(line, "host:") && !strstr(line, "addon") && !strstr(line, "format"))
			fprintf(mem, "  %s", line + 4);
		else
			fputs(line, mem);
	}
	fclose(in);
	fclose(mem);
	return out;
}

static void defaults_shown_in_the_sample_are_the_defaults(void **state)
{
	char *plain = read_sample(false), *full = read_sample(true);
	struct config *a = load_good(plain), *b = load_good(full);
	const struct config_pool *p = a->pools, *q = b->pools;

	(void)state;
	assert_true(strlen(plain) > strlen(full) + 20);
	assert_memory_equal(p->thresholds, q->thresholds, sizeof(*p->thresholds));
	assert_int_equal(p->mode, q->mode);
	assert_int_equal(p->policy, q->policy);
	assert_int_equal(p->affinity, q->affinity);
	assert_int_equal(p->on_down, q->on_down);
	assert_int_equal(p->table_slots, q->table_slots);
	assert_int_equal(p->gue_port, q->gue_port);
	assert_memory_equal(&p->standby, &q->standby, sizeof(p->standby));
	assert_int_equal(p->check->interval_ms, q->check->interval_ms);
	assert_true(p->check->jitter_ratio == q->check->jitter_ratio);
	assert_int_equal(p->check->connect_timeout_ms, q->check->connect_timeout_ms);
	assert_int_equal(p->check->timeout_ms, q->check->timeout_ms);
	assert_int_equal(p->check->rise, q->check->rise);
	assert_int_equal(p->check->fall, q->check->fall);
	assert_int_equal(p->check->refused_interval_ms, q->check->refused_interval_ms);
	assert_int_equal(p->check->refused_fall, q->check->refused_fall);
	assert_int_equal(p->check->http.scheme, q->check->http.scheme);
	assert_int_equal(p->check->http.version, q->check->http.version);
	assert_int_equal(p->check->http.verify, q->check->http.verify);
	assert_int_equal(p->load->interval_ms, q->load->interval_ms);
	assert_int_equal(p->load->timeout_ms, q->load->timeout_ms);
	assert_int_equal(p->load->stale_ms, q->load->stale_ms);
	assert_int_equal(a->vips->fallback.status, b->vips->fallback.status);
	assert_int_equal(a->vips->fallback.retry_min_ms, b->vips->fallback.retry_min_ms);
	assert_int_equal(a->vips->fallback.retry_max_ms, b->vips->fallback.retry_max_ms);
	config_free(&a);
	config_free(&b);
	free(plain);
	free(full);
}

static void a_minimal_file_has_the_documented_defaults(void **state)
{
	struct config *cfg = load_fixture("good_minimal.yaml");
	const struct config_pool *p = &cfg->pools[0];
	const struct config_node *n = &p->nodes[1];
	char buf[ENDPOINT_TEXT_MAX];

	(void)state;
	assert_string_equal(cfg->path, FIXTURES "good_minimal.yaml");
	assert_int_equal(cfg->dataplane, CONFIG_DATAPLANE_XDP);
	assert_int_equal(cfg->n_interfaces, 1);
	assert_string_equal(cfg->interfaces[0].name, "eth0");
	assert_int_equal(cfg->interfaces[0].mode, CONFIG_XDP_NATIVE);
	assert_int_equal(cfg->interfaces[0].priority, 50);
	assert_string_equal(cfg->pin_dir, "/sys/fs/bpf/sluice");
	assert_string_equal(cfg->socket, "/run/sluice/sluice.sock");
	assert_int_equal(cfg->socket_mode, 0660);
	assert_true(cfg->metrics_enabled);
	assert_string_equal(endpoint_format(&cfg->metrics_listen, buf), "127.0.0.1:9911");
	assert_memory_equal(cfg->hash_key, "sluice-default-k", CONFIG_HASH_KEY_SIZE);
	assert_int_equal(cfg->flow_idle_ms, 3600000);
	assert_false(address_is_set(&cfg->source_ipv4));
	assert_int_equal(cfg->limits.pools, 16);
	assert_int_equal(cfg->limits.flows, 1048576);
	assert_int_equal(cfg->log_level, LOG_LEVEL_INFO);
	assert_false(cfg->watch);
	assert_int_equal(cfg->n_files, 0);

	assert_string_equal(p->preset, "vllm");
	assert_int_equal(p->mode, CONFIG_MODE_IPIP);
	assert_int_equal(p->policy, CONFIG_POLICY_P2C);
	assert_int_equal(p->port, 8000);
	assert_int_equal(p->n_nodes, 2);
	assert_int_equal(p->discovery.type, CONFIG_DISCOVERY_NONE);
	assert_string_equal(p->check->path, "/health");
	assert_int_equal(p->check->port, 0);
	assert_int_equal(p->check->http.scheme, CONFIG_SCHEME_HTTP);
	assert_int_equal(p->load->n_pages, 1);
	assert_string_equal(p->load->pages[0].path, "/metrics");
	assert_ptr_equal(p->load->pages[0].source, &p->spec->sources[0]);
	assert_int_equal(p->load->stale_ms, 2000);

	assert_string_equal(n->name, "10.0.1.2");
	assert_int_equal(n->port, 8000);
	assert_int_equal(n->weight, 1);
	assert_int_equal(n->tier, 0);
	assert_int_equal(n->line, 3);
	assert_ptr_equal(n->spec, p->spec);
	assert_ptr_equal(n->check, p->check);
	assert_ptr_equal(n->load, p->load);
	assert_ptr_equal(n->thresholds, p->thresholds);

	assert_string_equal(cfg->vips[0].name, "10.0.0.100-8000");
	assert_int_equal(cfg->vips[0].pool, 0);
	assert_true(cfg->vips[0].ping);
	assert_true(cfg->vips[0].fallback.enabled);
	config_free(&cfg);
	assert_null(cfg);
}

static void every_key_reaches_its_field_at_the_top(void **state)
{
	struct config *cfg = load_fixture("good_full.yaml");
	const struct config_limits *l = &cfg->limits;
	char buf[ENDPOINT_TEXT_MAX];

	(void)state;
	assert_int_equal(cfg->n_interfaces, 2);
	assert_int_equal(cfg->interfaces[0].mode, CONFIG_XDP_GENERIC);
	assert_int_equal(cfg->interfaces[0].priority, 10);
	assert_string_equal(cfg->interfaces[0].device, "0000:01:00.0");
	assert_null(cfg->interfaces[1].device);
	assert_int_equal(cfg->dataplane, CONFIG_DATAPLANE_DPDK);
	assert_string_equal(cfg->pin_dir, "/sys/fs/bpf/other");
	assert_string_equal(cfg->socket, "/run/other.sock");
	assert_int_equal(cfg->socket_mode, 0600);
	assert_string_equal(cfg->socket_group, "wheel");
	assert_string_equal(endpoint_format(&cfg->metrics_listen, buf), "[::1]:9912");
	assert_memory_equal(cfg->hash_key,
			    "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
	assert_int_equal(cfg->flow_idle_ms, 7200000);
	assert_string_equal(address_format(&cfg->source_ipv4, buf), "10.0.0.2");
	assert_string_equal(address_format(&cfg->source_ipv6, buf), "2001:db8::2");
	assert_int_equal(cfg->nat.n_ipv4, 2);
	assert_string_equal(address_format(&cfg->nat.ipv4[1], buf), "10.0.0.4");
	assert_int_equal(cfg->nat.n_ipv6, 1);
	assert_int_equal(cfg->nat.port_low, 2000);
	assert_int_equal(cfg->nat.port_high, 3000);
	assert_int_equal(l->pools, 17);
	assert_int_equal(l->vips, 18);
	assert_int_equal(l->nodes, 19);
	assert_int_equal(l->flows, 2048);
	assert_int_equal(l->half_open, 4096);
	assert_int_equal(l->nat_flows, 8192);
	assert_int_equal(l->new_entries_per_second, 100);
	assert_int_equal(l->fallback_connections, 200);
	assert_string_equal(cfg->dpdk.cores, "1-3,5");
	assert_false(cfg->dpdk.huge_pages);
	assert_int_equal(cfg->dpdk.n_eal_args, 2);
	assert_string_equal(cfg->dpdk.eal_args[1], "--vdev=net_tap0");
	assert_int_equal(cfg->log_level, LOG_LEVEL_DEBUG);
	assert_true(cfg->watch);
	assert_int_equal(cfg->n_files, 8);
	config_free(&cfg);
}

static void every_key_reaches_its_field_in_checks_and_load(void **state)
{
	struct config *cfg = load_fixture("good_full.yaml");
	const struct config_check *c = cfg->pools[0].check;
	const struct config_load *l = cfg->pools[0].load;
	const struct preset_source *own = l->pages[0].source;

	(void)state;
	assert_int_equal(c->interval_ms, 2000);
	assert_true(c->jitter_ratio == 0.2);
	assert_int_equal(c->connect_timeout_ms, 250);
	assert_int_equal(c->timeout_ms, 4000);
	assert_int_equal(c->rise, 4);
	assert_int_equal(c->fall, 5);
	assert_string_equal(c->path, "/ready");
	assert_int_equal(c->port, 9001);
	assert_int_equal(c->refused_interval_ms, 300);
	assert_int_equal(c->refused_fall, 6);
	assert_int_equal(c->n_expect_status, 2);
	assert_int_equal(c->expect_status[0].low, 200);
	assert_int_equal(c->expect_status[0].high, 200);
	assert_int_equal(c->expect_status[1].low, 204);
	assert_int_equal(c->expect_status[1].high, 206);
	assert_int_equal(c->http.scheme, CONFIG_SCHEME_HTTPS);
	assert_int_equal(c->http.version, PRESET_HTTP_2);
	assert_string_equal(c->http.host, "gpu.example.net");
	assert_string_equal(c->http.ca_file, FIXTURES "ca.pem");
	assert_string_equal(c->http.cert_file, "/etc/sluice/client.pem");
	assert_string_equal(c->http.key_file, FIXTURES "keys/client.key");
	assert_string_equal(c->http.bearer_file, FIXTURES "token");
	assert_false(c->http.verify);
	assert_int_equal(cfg->pools[0].spec->rules.body, HEALTH_BODY_CONTAINS);
	assert_string_equal(cfg->pools[0].spec->rules.expect, "fine");

	assert_int_equal(l->interval_ms, 700);
	assert_int_equal(l->timeout_ms, 800);
	assert_int_equal(l->stale_ms, 5000);
	assert_int_equal(l->n_pages, 2);
	assert_string_equal(l->pages[0].path, "/stats");
	assert_int_equal(l->pages[0].port, 9002);
	assert_int_equal(l->pages[0].http.scheme, CONFIG_SCHEME_HTTP);
	assert_string_equal(l->pages[0].http.host, "other.example.net");
	assert_string_equal(l->pages[0].http.ca_file, FIXTURES "ca.pem"); /* of the check */
	assert_null(l->pages[0].http.bearer_file);                        /* taken away */
	assert_int_equal(own->format, METRIC_FORMAT_JSON);
	assert_string_equal(metric_expr_text(metric_set_expr(own->set, LOAD_QUEUE)), "a.queue");
	assert_string_equal(metric_expr_text(metric_set_expr(own->set, LOAD_KV)), "a.kv / 100");
	assert_string_equal(metric_expr_text(metric_set_expr(own->set, LOAD_SLOTS)), "a.slots");
	assert_string_equal(l->pages[1].source->name, "dcgm");
	assert_int_equal(l->pages[1].port, 9403);
	assert_null(l->pages[1].http.ca_file); /* no secrets to an exporter */
	assert_null(l->pages[1].http.bearer_file);
	config_free(&cfg);
}

static void every_key_reaches_its_field_in_thresholds(void **state)
{
	struct config *cfg = load_fixture("good_full.yaml");
	const struct config_thresholds *t = cfg->pools[0].thresholds;

	(void)state;
	assert_true(t->kv_high_ratio == 0.8 && t->kv_low_ratio == 0.7);
	assert_true(t->gpu_memory_high_ratio == 0.85 && t->gpu_memory_low_ratio == 0.75);
	assert_true(t->queue_outlier == 2.5);
	assert_int_equal(t->queue_outlier_min, 3);
	assert_int_equal(t->latency_high_ms, 900);
	assert_true(t->latency_outlier == 0);
	assert_int_equal(t->latency_outlier_min_ms, 1000);
	assert_true(t->aborts_high == 0.5);
	assert_int_equal(t->samples, 7);
	assert_int_equal(t->degraded_weight, 20);
	assert_true(t->hot_ratio == 0.95);
	assert_int_equal(t->busy_ms, 40000);
	assert_int_equal(t->hung_ms, 0);
	assert_int_equal(t->warm_up_ms, 10000);
	assert_true(t->warm_up_start_ratio == 0.05);
	assert_int_equal(t->flap_changes, 9);
	assert_int_equal(t->flap_window_ms, 1200000);
	assert_int_equal(t->flap_hold_ms, 60000);
	assert_int_equal(t->flap_hold_max_ms, 300000);
	assert_true(t->max_out_ratio == 0.25);
	assert_true(t->weight_change_ratio == 0);
	config_free(&cfg);
}

static void every_key_reaches_its_field_in_pools_and_vips(void **state)
{
	struct config *cfg = load_fixture("good_full.yaml");
	const struct config_pool *p = &cfg->pools[0];
	const struct config_discovery *d = &cfg->pools[1].discovery;
	const struct config_fallback *f = &cfg->vips[0].fallback;

	(void)state;
	assert_string_equal(p->preset, "sglang");
	assert_int_equal(p->mode, CONFIG_MODE_GUE);
	assert_int_equal(p->policy, CONFIG_POLICY_LEAST_CONN);
	assert_int_equal(p->affinity, CONFIG_AFFINITY_SOURCE);
	assert_int_equal(p->on_down, CONFIG_ON_DOWN_KEEP);
	assert_int_equal(p->table_slots, 257);
	assert_int_equal(p->slots, 32);
	assert_true(p->standby.below_ratio == 0.4 && p->standby.above_ratio == 0.6);

	assert_string_equal(p->nodes[0].name, "gpu1");
	assert_int_equal(p->nodes[0].weight, 3);
	assert_int_equal(p->nodes[0].tier, 1);
	assert_int_equal(p->nodes[0].slots, 16);
	assert_int_equal(p->nodes[1].slots, 32); /* of the pool */
	assert_int_equal(p->nodes[1].port, 8002);
	assert_string_equal(p->nodes[2].name, "2001-db8--12");

	assert_int_equal(cfg->pools[1].policy, CONFIG_POLICY_WEIGHTED_ROUND_ROBIN);
	assert_int_equal(cfg->pools[1].check->http.scheme, CONFIG_SCHEME_TCP);
	assert_null(cfg->pools[1].check->path);
	assert_int_equal(cfg->pools[1].load->n_pages, 0);
	assert_int_equal(d->type, CONFIG_DISCOVERY_DNS);
	assert_string_equal(d->dns.name, "_llm._tcp.example.net");
	assert_int_equal(d->dns.type, CONFIG_DNS_SRV);
	assert_int_equal(d->dns.port, 9003);
	assert_string_equal(d->dns.server, "[2001:db8::53]:53");
	assert_int_equal(d->dns.min_ttl_ms, 2000);
	assert_int_equal(d->dns.max_ttl_ms, 60000);
	assert_int_equal(d->dns.timeout_ms, 1000);
	assert_int_equal(d->weight, 5);
	assert_int_equal(d->tier, 2);
	assert_int_equal(d->max_nodes, 50);
	assert_int_equal(d->drain_deadline_ms, 20 * 60000);
	assert_int_equal(cfg->pools[1].gue_port, 6081); /* unused by its mode */
	assert_int_equal(cfg->pools[2].discovery.type, CONFIG_DISCOVERY_FILE);
	assert_string_equal(cfg->pools[2].discovery.file, FIXTURES "nodes.json");

	assert_string_equal(cfg->vips[0].name, "chat");
	assert_false(cfg->vips[0].ping);
	assert_int_equal(f->status, 529); /* of `defaults` */
	assert_int_equal(f->retry_min_ms, 1000);
	assert_int_equal(f->retry_max_ms, 5000); /* its own */
	assert_string_equal(f->body_file, FIXTURES "sorry.json");
	assert_string_equal(f->body_type, "text/plain");
	assert_string_equal(f->certificate_file, FIXTURES "vip.pem");
	assert_string_equal(f->key_file, FIXTURES "vip.key");
	assert_int_equal(f->n_cache, 2);
	assert_string_equal(f->cache[0].path, "/v1/models");
	assert_int_equal(f->cache[0].refresh_ms, 30000);
	assert_string_equal(f->cache[1].path, "/v1/x?y=z");
	assert_int_equal(f->cache[1].refresh_ms, 10000);
	assert_int_equal(f->cache[1].max_age_ms, 3600000);
	assert_string_equal(cfg->vips[1].name, "2001-db8--100-8002");
	assert_false(cfg->vips[1].fallback.enabled);
	assert_int_equal(cfg->vips[2].pool, 1);
	config_free(&cfg);
}

static void nodes_override_their_pool_and_share_what_is_the_same(void **state)
{
	struct config *cfg = load_fixture("good_full.yaml");
	const struct config_pool *p = &cfg->pools[0];

	(void)state;
	assert_int_equal(p->nodes[1].check->timeout_ms, 3000);
	assert_int_equal(p->nodes[1].check->interval_ms, 2000); /* of `defaults` */
	assert_string_equal(p->nodes[1].check->path, "/ready"); /* of the pool */
	assert_true(p->nodes[1].thresholds->kv_high_ratio == 0.6);
	assert_true(p->nodes[1].thresholds->max_out_ratio == 0.25);
	assert_ptr_equal(p->nodes[1].check, p->nodes[2].check);
	assert_ptr_equal(p->nodes[1].spec, p->nodes[2].spec);
	assert_ptr_not_equal(p->nodes[1].check, p->check);
	assert_ptr_equal(p->nodes[0].check, p->check);
	assert_ptr_equal(p->nodes[3].check, p->check);
	config_free(&cfg);
}

static void anchors_and_merge_keys_work(void **state)
{
	struct config *cfg = load_fixture("good_anchors.yaml");

	(void)state;
	assert_int_equal(cfg->pools[0].check->interval_ms, 200);
	assert_int_equal(cfg->pools[0].check->timeout_ms, 2000);
	assert_int_equal(cfg->pools[0].check->fall, 3);
	assert_string_equal(cfg->pools[1].name, "b");
	assert_int_equal(cfg->pools[1].check->interval_ms, 200); /* the first merged wins */
	assert_int_equal(cfg->pools[1].check->timeout_ms, 1000);
	assert_int_equal(cfg->pools[1].check->fall, 9);
	assert_int_equal(cfg->pools[1].n_nodes, 2);
	assert_int_equal(cfg->pools[2].check->interval_ms, 3000);
	assert_int_equal(cfg->pools[2].n_nodes, 2);
	config_free(&cfg);
}

static void a_pool_in_direct_return_serves_on_the_ports_of_its_vips(void **state)
{
	struct config *cfg = load_good("interfaces: [eth0]\n"
				       "pools:\n"
				       "  - {name: a, preset: tcp, mode: l2dsr, nodes: [10.0.0.1, "
				       "{address: 10.0.0.2, port: 81}]}\n"
				       "  - {name: b, preset: tcp, mode: nat, nodes: [{address: "
				       "10.0.0.1, port: 9}, 10.0.0.2]}\n"
				       "vips:\n"
				       "  - {address: 10.0.0.100, port: 80, pool: a}\n"
				       "  - {address: 10.0.0.100, port: 81, pool: a}\n"
				       "  - {address: 10.0.0.100, port: 82, pool: b}\n");

	(void)state;
	assert_int_equal(cfg->pools[0].nodes[0].port, 80);
	assert_int_equal(cfg->pools[0].nodes[1].port, 81);
	assert_int_equal(cfg->pools[1].nodes[0].port, 9);
	assert_int_equal(cfg->pools[1].nodes[1].port, 82);
	config_free(&cfg);
}

static void one_side_of_a_pair_moves_the_default_of_the_other(void **state)
{
	struct config *cfg =
		load_good("interfaces: [eth0]\n"
			  "pools:\n"
			  "  - name: a\n"
			  "    preset: json\n"
			  "    port: 80\n"
			  "    check: {timeout: 100ms}\n"
			  "    load: {interval: 5s}\n"
			  "    thresholds: {kv_high: 0.5, gpu_memory_high: 0.5, flap_hold: 1h}\n"
			  "    nodes: [10.0.0.1]\n");
	const struct config_pool *p = cfg->pools;

	(void)state;
	assert_int_equal(p->check->connect_timeout_ms, 100);
	assert_int_equal(p->load->stale_ms, 15000);
	assert_true(p->thresholds->kv_low_ratio < 0.5 && p->thresholds->kv_low_ratio > 0.4);
	assert_true(p->thresholds->gpu_memory_low_ratio < 0.5);
	assert_int_equal(p->thresholds->flap_hold_max_ms, 3600000);
	config_free(&cfg);
}

static void a_page_that_is_health_and_load_in_one_moves_as_one(void **state)
{
	struct config *cfg = load_good("interfaces: [eth0]\n"
				       "pools:\n"
				       "  - {name: a, preset: json, port: 80, check: {path: /h, "
				       "port: 81}, nodes: [10.0.0.1]}\n"
				       "  - {name: b, preset: json, port: 80, check: {path: /h}, "
				       "load: {path: /l}, nodes: [10.0.0.1]}\n");

	(void)state;
	assert_string_equal(cfg->pools[0].load->pages[0].path, "/h");
	assert_int_equal(cfg->pools[0].load->pages[0].port, 81);
	assert_true(cfg->pools[0].load->pages[0].source->is_health);
	assert_string_equal(cfg->pools[1].load->pages[0].path, "/l");
	assert_false(cfg->pools[1].load->pages[0].source->is_health);
	config_free(&cfg);
}

static void expressions_may_be_taken_away_and_scraping_turned_off(void **state)
{
	struct config *cfg = load_good(
		"interfaces: [eth0]\n"
		"pools:\n"
		"  - {name: a, preset: vllm, port: 80, load: {kv: none, aborts: ~}, nodes: "
		"[10.0.0.1]}\n"
		"  - {name: b, preset: vllm, port: 80, load: {format: none}, nodes: [10.0.0.1]}\n");
	const struct metric_set *set = cfg->pools[0].load->pages[0].source->set;

	(void)state;
	assert_non_null(metric_set_expr(set, LOAD_QUEUE));
	assert_null(metric_set_expr(set, LOAD_KV));
	assert_null(metric_set_expr(set, LOAD_ABORTS));
	assert_int_equal(cfg->pools[1].load->n_pages, 0);
	config_free(&cfg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sample_configuration_loads),
		cmocka_unit_test(defaults_shown_in_the_sample_are_the_defaults),
		cmocka_unit_test(a_minimal_file_has_the_documented_defaults),
		cmocka_unit_test(every_key_reaches_its_field_at_the_top),
		cmocka_unit_test(every_key_reaches_its_field_in_checks_and_load),
		cmocka_unit_test(every_key_reaches_its_field_in_thresholds),
		cmocka_unit_test(every_key_reaches_its_field_in_pools_and_vips),
		cmocka_unit_test(nodes_override_their_pool_and_share_what_is_the_same),
		cmocka_unit_test(anchors_and_merge_keys_work),
		cmocka_unit_test(a_pool_in_direct_return_serves_on_the_ports_of_its_vips),
		cmocka_unit_test(one_side_of_a_pair_moves_the_default_of_the_other),
		cmocka_unit_test(a_page_that_is_health_and_load_in_one_moves_as_one),
		cmocka_unit_test(expressions_may_be_taken_away_and_scraping_turned_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
