/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "userspace/agent/config_diff.h"
#include "userspace/lib/cleanup.h"

#define FIXTURES "tests/fixtures/config/"

static struct config *load(const char *text)
{
	struct config_errors errs = {0};
	struct config *cfg = NULL;

	if (config_load_buffer("test.yaml", text, strlen(text), &cfg, &errs) < 0)
		fail_msg("%s", errs.items[0].text);
	return cfg;
}

static struct config *load_file(const char *path)
{
	struct config_errors errs = {0};
	struct config *cfg = NULL;

	if (config_load(path, &cfg, &errs) < 0)
		fail_msg("%s", errs.items[0].text);
	return cfg;
}

/* The printed difference, to be freed. */
static char *printed(const struct config *was, const struct config *now)
{
	struct config_diff *diff = NULL;
	char *out = NULL;
	size_t size;
	FILE *f;

	assert_int_equal(config_diff(was, now, &diff), 0);
	f = open_memstream(&out, &size);
	assert_non_null(f);
	config_diff_print(diff, f);
	fclose(f);
	config_diff_free(&diff);
	assert_null(diff);
	return out;
}

static void expect(const char *was_text, const char *now_text, const char *want)
{
	struct config *was = load(was_text), *now = load(now_text);
	char *found = printed(was, now);

	if (strcmp(found, want) != 0)
		fail_msg("expected:\n%sfound:\n%s", want, found);
	free(found);
	config_free(&was);
	config_free(&now);
}

#define BASE                                                                                       \
	"interfaces: [eth0]\n"                                                                     \
	"defaults: {preset: json}\n"                                                               \
	"pools:\n"                                                                                 \
	"  - {name: a, nodes: [{name: n1, address: 10.0.0.1}, {name: n2, address: 10.0.0.2}]}\n"   \
	"vips:\n"                                                                                  \
	"  - {name: v, address: 10.0.0.100, port: 80, pool: a}\n"

static void the_same_file_changes_nothing(void **state)
{
	static const char *const files[] = {FIXTURES "good_full.yaml", FIXTURES "good_minimal.yaml",
					    FIXTURES "good_anchors.yaml",
					    "tools/systemd/sluice.example.yaml"};

	(void)state;
	expect(BASE, "# another comment\n" BASE, "nothing changes\n");
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		struct config *was = load_file(files[i]), *now = load_file(files[i]);
		char *found = printed(was, now);

		assert_string_equal(found, "nothing changes\n");
		free(found);
		config_free(&was);
		config_free(&now);
	}
}

static void writing_a_default_out_changes_nothing(void **state)
{
	(void)state;
	expect(BASE,
	       BASE "flow_idle: 60m\nlimits: {pools: 16}\nmetrics: {listen: \"127.0.0.1:9911\"}\n",
	       "nothing changes\n");
}

static void settings_of_the_host_say_what_they_take(void **state)
{
	(void)state;
	expect(BASE,
	       BASE "flow_idle: 2h\n"
		    "socket: /run/x\n"
		    "pin_dir: /sys/fs/bpf/x\n"
		    "hash_key: 00000000000000000000000000000000\n"
		    "limits: {flows: 2048, vips: 7}\n"
		    "metrics: {listen: off}\n"
		    "source: {ipv4: 10.0.0.9}\n",
	       "~ pin_dir: /sys/fs/bpf/sluice -> /sys/fs/bpf/x (takes a detach and a new start)\n"
	       "~ socket: /run/sluice/sluice.sock -> /run/x (takes a restart of sluiced)\n"
	       "~ metrics.listen: 127.0.0.1:9911 -> off\n"
	       "~ hash_key: (hidden) -> (hidden) (takes a detach and a new start)\n"
	       "~ flow_idle: 1h -> 2h\n"
	       "~ source.ipv4: none -> 10.0.0.9\n"
	       "~ limits.vips: 512 -> 7\n"
	       "~ limits.flows: 1048576 -> 2048 (takes a detach and a new start)\n"
	       "8 changes; a reload refuses them: 'sluicectl detach', then start sluiced\n");
	expect(BASE, BASE "socket_mode: 0600\n",
	       "~ socket_mode: 0660 -> 0600 (takes a restart of sluiced)\n"
	       "1 change; a reload refuses them: restart sluiced, forwarding goes on meanwhile\n");
}

static void interfaces_come_go_and_change(void **state)
{
	(void)state;
	expect("interfaces: [eth0, eth1]\n", "interfaces: [{name: eth1, mode: generic}, eth2]\n",
	       "- interface eth0: native\n"
	       "~ interface eth1: mode: native -> generic\n"
	       "+ interface eth2: native\n"
	       "3 changes, all taken over by a reload\n");
}

static void nodes_come_go_and_change(void **state)
{
	(void)state;
	expect(BASE,
	       "interfaces: [eth0]\n"
	       "defaults: {preset: json}\n"
	       "pools:\n"
	       "  - name: a\n"
	       "    nodes:\n"
	       "      - {name: n3, address: 10.0.0.3, weight: 2, tier: 1}\n"
	       "      - {name: n2, address: 10.0.0.22}\n"
	       "      - {name: n1, address: 10.0.0.1, weight: 5, check: {interval: 3s}}\n"
	       "vips:\n"
	       "  - {name: v, address: 10.0.0.100, port: 80, pool: a}\n",
	       "- node a/n2: 10.0.0.2:80, weight 1\n"
	       "+ node a/n3: 10.0.0.3:80, weight 2, tier 1\n"
	       "+ node a/n2: 10.0.0.22:80, weight 1\n"
	       "~ node a/n1: weight: 1 -> 5\n"
	       "~ node a/n1: check.interval: 1s -> 3s\n"
	       "5 changes, all taken over by a reload\n");
}

static void what_nodes_inherit_is_shown_once_at_the_pool(void **state)
{
	(void)state;
	expect("interfaces: [eth0]\n"
	       "pools:\n"
	       "  - name: a\n"
	       "    preset: json\n"
	       "    port: 80\n"
	       "    nodes: [10.0.0.1, {address: 10.0.0.2, check: {fall: 9}},\n"
	       "            {address: 10.0.0.3, check: {rise: 7}}]\n",
	       "interfaces: [eth0]\n"
	       "defaults: {check: {rise: 4}, slots: 8}\n"
	       "pools:\n"
	       "  - name: a\n"
	       "    preset: json\n"
	       "    port: 80\n"
	       "    check: {path: /h}\n"
	       "    nodes: [10.0.0.1, {address: 10.0.0.2, check: {fall: 9}},\n"
	       "            {address: 10.0.0.3, check: {rise: 8}}]\n",
	       "~ pool a: slots: 0 -> 8\n"
	       "~ pool a: check.path: the preset's -> /h\n"
	       "~ pool a: check.rise: 2 -> 4\n"
	       "~ node a/10.0.0.3: check.rise: 7 -> 8\n"
	       "4 changes, all taken over by a reload\n");
}

static void pools_come_go_and_change(void **state)
{
	(void)state;
	expect("interfaces: [eth0]\n"
	       "pools:\n"
	       "  - {name: a, preset: json, port: 80, nodes: [10.0.0.1]}\n"
	       "  - {name: b, preset: json, port: 80, nodes: [10.0.0.1, 10.0.0.2]}\n",
	       "interfaces: [eth0]\n"
	       "pools:\n"
	       "  - name: b\n"
	       "    preset: vllm\n"
	       "    policy: hash\n"
	       "    table_slots: 257\n"
	       "    port: 80\n"
	       "    standby: {below: 10%}\n"
	       "    load: {queue: a_b, addons: [dcgm]}\n"
	       "    thresholds: {hung: off, max_out: 25%}\n"
	       "    discovery: {file: /x.json, weight: 4}\n"
	       "    nodes: [10.0.0.1, 10.0.0.2]\n"
	       "  - {name: c, preset: tcp, port: 80, mode: nat, discovery: {dns: {name: "
	       "x.example.net}}}\n",
	       "- pool a: json, mode ipip, policy p2c, 1 node\n"
	       "- node a/10.0.0.1: 10.0.0.1:80, weight 1\n"
	       "~ pool b: preset: json -> vllm\n"
	       "~ pool b: policy: p2c -> hash\n"
	       "~ pool b: table_slots: 65537 -> 257 (takes a detach and a new start)\n"
	       "~ pool b: standby.below: 50% -> 10%\n"
	       "~ pool b: load.queue: the preset's -> a_b\n"
	       "~ pool b: load.addons: none -> dcgm\n"
	       "~ pool b: thresholds.hung: 1m -> off\n"
	       "~ pool b: thresholds.max_out: 50% -> 25%\n"
	       "~ pool b: discovery.type: none -> file\n"
	       "~ pool b: discovery.file: none -> /x.json\n"
	       "~ pool b: discovery.weight: 1 -> 4\n"
	       "+ pool c: tcp, mode nat, policy p2c, 0 nodes and by dns\n"
	       "14 changes; a reload refuses them: 'sluicectl detach', then start sluiced\n");
}

static void vips_come_go_and_change(void **state)
{
	(void)state;
	expect("interfaces: [eth0]\n"
	       "defaults: {preset: tcp, port: 1, mode: nat}\n"
	       "pools: [{name: a, nodes: [10.0.0.1]}, {name: b, nodes: [10.0.0.1]}]\n"
	       "vips:\n"
	       "  - {name: x, address: 10.0.0.100, port: 80, pool: a}\n"
	       "  - {name: y, address: 10.0.0.101, port: 80, pool: a}\n",
	       "interfaces: [eth0]\n"
	       "defaults: {preset: tcp, port: 1, mode: nat}\n"
	       "pools: [{name: b, nodes: [10.0.0.1]}, {name: a, nodes: [10.0.0.1]}]\n"
	       "vips:\n"
	       "  - name: y\n"
	       "    address: 10.0.0.102\n"
	       "    port: 81\n"
	       "    pool: b\n"
	       "    fallback: {status: 500, cache: [/m]}\n"
	       "  - {name: z, address: 10.0.0.103, port: 80, pool: a}\n",
	       "- vip x: 10.0.0.100:80, pool a\n"
	       "~ vip y: address: 10.0.0.101 -> 10.0.0.102\n"
	       "~ vip y: port: 80 -> 81\n"
	       "~ vip y: pool: a -> b\n"
	       "~ vip y: fallback.status: 503 -> 500\n"
	       "~ vip y: fallback.cache: none -> /m (refresh 30s, max_age 600s)\n"
	       "+ vip z: 10.0.0.103:80, pool a\n"
	       "7 changes, all taken over by a reload\n");
}

static void the_json_form_says_the_same(void **state)
{
	struct config *was = load(BASE), *now = load(BASE "watch: true\nsocket: /run/x\n");
	struct config_diff *diff;
	json_t *root, *c;

	(void)state;
	assert_int_equal(config_diff(was, now, &diff), 0);
	config_free(&was); /* the diff stands alone */
	config_free(&now);
	root = config_diff_json(diff);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "effect")), "restart");
	assert_int_equal(json_array_size(json_object_get(root, "changes")), 2);
	c = json_array_get(json_object_get(root, "changes"), 1);
	assert_string_equal(json_string_value(json_object_get(c, "op")), "changed");
	assert_string_equal(json_string_value(json_object_get(c, "object")), "setting");
	assert_null(json_object_get(c, "name"));
	assert_string_equal(json_string_value(json_object_get(c, "key")), "watch");
	assert_string_equal(json_string_value(json_object_get(c, "was")), "false");
	assert_string_equal(json_string_value(json_object_get(c, "now")), "true");
	assert_string_equal(json_string_value(json_object_get(c, "effect")), "live");
	assert_ptr_equal(config_diff_find(diff, CONFIG_EFFECT_RESTART), &diff->changes[0]);
	assert_null(config_diff_find(diff, CONFIG_EFFECT_DETACH));
	json_decref(root);
	config_diff_free(&diff);
}

static void every_key_of_the_full_file_is_compared(void **state)
{
	struct config *was =
		load("interfaces: [{name: eth0, device: none}, eth1]\n"
		     "dataplane: dpdk\n"
		     "pools:\n"
		     "  - {name: llama, preset: json, mode: gue, nodes: [10.0.9.1]}\n"
		     "  - {name: looked-up, preset: json, mode: nat, nodes: [10.0.9.1]}\n"
		     "vips:\n"
		     "  - {name: chat, address: 10.0.0.100, port: 1, pool: looked-up}\n"
		     "  - {address: 10.0.0.111, port: 8001, pool: llama}\n");
	struct config *now = load_file(FIXTURES "good_full.yaml");
	static const char *const keys[] = {
		"mode",
		"priority",
		"reattach",
		"device",
		"pin_dir",
		"socket",
		"socket_mode",
		"socket_group",
		"metrics.listen",
		"hash_key",
		"flow_idle",
		"source.ipv4",
		"source.ipv6",
		"nat.ipv4",
		"nat.ipv6",
		"nat.ports",
		"limits.pools",
		"limits.vips",
		"limits.nodes",
		"limits.flows",
		"limits.half_open",
		"limits.nat_flows",
		"dpdk.cores",
		"dpdk.huge_pages",
		"dpdk.eal_args",
		"log_level",
		"watch",
		"preset",
		"policy",
		"affinity",
		"on_down",
		"slots",
		"table_slots",
		"gue_port",
		"standby.below",
		"standby.above",
		"check.scheme",
		"check.path",
		"check.port",
		"check.interval",
		"check.jitter",
		"check.timeout",
		"check.connect_timeout",
		"check.rise",
		"check.fall",
		"check.refused_interval",
		"check.expect",
		"check.host",
		"check.refused_fall",
		"check.ca_file",
		"check.cert_file",
		"check.key_file",
		"check.verify",
		"load.path",
		"load.port",
		"load.format",
		"load.interval",
		"load.timeout",
		"load.stale",
		"load.queue",
		"load.running",
		"load.kv",
		"load.gpu_memory",
		"load.progress",
		"load.aborts",
		"load.slots",
		"load.addons",
		"load.addon_port",
		"load.host",
		"check.bearer_file",
		"check.expect_status",
		"check.http_version",
		"thresholds.kv_high",
		"thresholds.kv_low",
		"thresholds.gpu_memory_high",
		"thresholds.gpu_memory_low",
		"thresholds.queue_outlier",
		"thresholds.queue_outlier_min",
		"thresholds.latency_high",
		"thresholds.latency_outlier",
		"thresholds.latency_outlier_min",
		"thresholds.aborts_high",
		"thresholds.samples",
		"thresholds.degraded_weight",
		"thresholds.hot",
		"thresholds.busy",
		"thresholds.hung",
		"thresholds.warm_up",
		"thresholds.warm_up_start",
		"thresholds.flap_changes",
		"thresholds.flap_window",
		"thresholds.flap_hold",
		"thresholds.flap_hold_max",
		"thresholds.max_out",
		"thresholds.weight_change_per_minute",
		"discovery.type",
		"discovery.dns.name",
		"discovery.dns.type",
		"discovery.dns.port",
		"discovery.dns.server",
		"discovery.dns.min_ttl",
		"discovery.dns.max_ttl",
		"discovery.dns.timeout",
		"discovery.weight",
		"discovery.tier",
		"discovery.max_nodes",
		"discovery.drain_deadline",
		"pool",
		"port",
		"ping",
		"fallback.status",
		"fallback.body_file",
		"fallback.body_type",
		"fallback.certificate_file",
		"fallback.key_file",
		"fallback.retry_min",
		"fallback.retry_max",
		"fallback.cache",
		"limits.new_entries_per_second",
		"limits.fallback_connections",
	};
	struct config_diff *diff;

	(void)state;
	assert_int_equal(config_diff(was, now, &diff), 0);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		bool found = false;

		for (uint32_t k = 0; k < diff->n; k++)
			found = found || (diff->changes[k].key &&
					  strcmp(diff->changes[k].key, keys[i]) == 0);
		if (!found)
			fail_msg("no change of %s", keys[i]);
	}
	config_diff_free(&diff);
	config_free(&was);
	config_free(&now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_file_changes_nothing),
		cmocka_unit_test(writing_a_default_out_changes_nothing),
		cmocka_unit_test(settings_of_the_host_say_what_they_take),
		cmocka_unit_test(interfaces_come_go_and_change),
		cmocka_unit_test(nodes_come_go_and_change),
		cmocka_unit_test(what_nodes_inherit_is_shown_once_at_the_pool),
		cmocka_unit_test(pools_come_go_and_change),
		cmocka_unit_test(vips_come_go_and_change),
		cmocka_unit_test(the_json_form_says_the_same),
		cmocka_unit_test(every_key_of_the_full_file_is_compared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
