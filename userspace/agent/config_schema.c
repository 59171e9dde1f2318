/* SPDX-License-Identifier: BSD-2-Clause */
/* The keys of the file: names, types, ranges, and the values they have when nobody sets them. */
#include "userspace/agent/config_schema.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define SECOND 1000.0
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* FIELD(struct, "key", TYPE, member, further initialisers) */
#define FIELD(base, key_, type_, member, ...)                                                      \
	{                                                                                          \
		.key = (key_), .type = SCHEMA_##type_, .offset = offsetof(base, member),           \
		##__VA_ARGS__                                                                      \
	}
#define SECTION(key_, sub_, ...)                                                                   \
	{                                                                                          \
		.key = (key_), .type = SCHEMA_SECTION, .sub = &(sub_), ##__VA_ARGS__               \
	}
#define CUSTOM(key_, custom_, ...)                                                                 \
	{                                                                                          \
		.key = (key_), .type = SCHEMA_CUSTOM, .custom = &(custom_), ##__VA_ARGS__          \
	}
#define ELSEWHERE(key_, ...)                                                                       \
	{                                                                                          \
		.key = (key_), .type = SCHEMA_ELSEWHERE, ##__VA_ARGS__                             \
	}
#define RANGE(min_, max_) .min = (min_), .max = (max_)
#define SCHEMA(fields_)                                                                            \
	{                                                                                          \
		.fields = (fields_), .n = ARRAY_SIZE(fields_)                                      \
	}

static const struct schema_word xdp_modes[] = {
	{"native", CONFIG_XDP_NATIVE}, {"generic", CONFIG_XDP_GENERIC}, {0}};
static const struct schema_word dataplanes[] = {
	{"xdp", CONFIG_DATAPLANE_XDP}, {"dpdk", CONFIG_DATAPLANE_DPDK}, {0}};
static const struct schema_word modes[] = {{"l2dsr", CONFIG_MODE_L2DSR},
					   {"ipip", CONFIG_MODE_IPIP},
					   {"gue", CONFIG_MODE_GUE},
					   {"nat", CONFIG_MODE_NAT},
					   {0}};
static const struct schema_word policies[] = {
	{"hash", CONFIG_POLICY_HASH},
	{"p2c", CONFIG_POLICY_P2C},
	{"least-queue", CONFIG_POLICY_LEAST_QUEUE},
	{"least-conn", CONFIG_POLICY_LEAST_CONN},
	{"round-robin", CONFIG_POLICY_ROUND_ROBIN},
	{"weighted-round-robin", CONFIG_POLICY_WEIGHTED_ROUND_ROBIN},
	{0}};
static const struct schema_word affinities[] = {
	{"flow", CONFIG_AFFINITY_FLOW}, {"source", CONFIG_AFFINITY_SOURCE}, {0}};
static const struct schema_word on_downs[] = {{"reset", CONFIG_ON_DOWN_RESET},
					      {"rehash", CONFIG_ON_DOWN_REHASH},
					      {"keep", CONFIG_ON_DOWN_KEEP},
					      {0}};
static const struct schema_word check_schemes[] = {{"http", CONFIG_SCHEME_HTTP},
						   {"https", CONFIG_SCHEME_HTTPS},
						   {"tcp", CONFIG_SCHEME_TCP},
						   {0}};
static const struct schema_word load_schemes[] = {
	{"http", CONFIG_SCHEME_HTTP}, {"https", CONFIG_SCHEME_HTTPS}, {0}};
static const struct schema_word discovery_types[] = {{"none", CONFIG_DISCOVERY_NONE},
						     {"dns", CONFIG_DISCOVERY_DNS},
						     {"file", CONFIG_DISCOVERY_FILE},
						     {0}};
static const struct schema_word dns_types[] = {
	{"A", CONFIG_DNS_A}, {"AAAA", CONFIG_DNS_AAAA}, {"SRV", CONFIG_DNS_SRV}, {0}};
static const struct schema_word http_versions[] = {
	{"auto", PRESET_HTTP_AUTO}, {"1.1", PRESET_HTTP_1_1}, {"2", PRESET_HTTP_2}, {0}};
static const struct schema_word formats[] = {{"prometheus", METRIC_FORMAT_PROM},
					     {"json", METRIC_FORMAT_JSON},
					     {"none", METRIC_FORMAT_NONE},
					     {0}};
static const struct schema_word log_levels[] = {{"error", LOG_LEVEL_ERROR},
						{"warn", LOG_LEVEL_WARN},
						{"info", LOG_LEVEL_INFO},
						{"debug", LOG_LEVEL_DEBUG},
						{0}};

static const char *word_of(const struct schema_word *words, int value)
{
	for (; words->word; words++)
		if (words->value == value)
			return words->word;
	return "?";
}

const char *config_xdp_mode_name(enum config_xdp_mode v)
{
	return word_of(xdp_modes, (int)v);
}

const char *config_dataplane_name(enum config_dataplane v)
{
	return word_of(dataplanes, (int)v);
}

const char *config_mode_name(enum config_mode v)
{
	return word_of(modes, (int)v);
}

const char *config_policy_name(enum config_policy v)
{
	return word_of(policies, (int)v);
}

const char *config_affinity_name(enum config_affinity v)
{
	return word_of(affinities, (int)v);
}

const char *config_on_down_name(enum config_on_down v)
{
	return word_of(on_downs, (int)v);
}

const char *config_scheme_name(enum config_scheme v)
{
	return word_of(check_schemes, (int)v);
}

const char *config_discovery_type_name(enum config_discovery_type v)
{
	return word_of(discovery_types, (int)v);
}

const char *config_dns_type_name(enum config_dns_type v)
{
	return word_of(dns_types, (int)v);
}

/* Custom keys; their parsers stand in config_custom.c. */

/* The top. */

static const struct schema_field metrics_fields[] = {
	CUSTOM("listen", custom_listen),
};
static const struct schema schema_metrics = SCHEMA(metrics_fields);

static const struct schema_field source_fields[] = {
	FIELD(struct config, "ipv4", IPV4, source_ipv4, .flags = SCHEMA_NULLABLE),
	FIELD(struct config, "ipv6", IPV6, source_ipv6, .flags = SCHEMA_NULLABLE),
};
static const struct schema schema_source = SCHEMA(source_fields);

static const struct schema_field nat_fields[] = {
	CUSTOM("ipv4", custom_nat_ipv4),
	CUSTOM("ipv6", custom_nat_ipv6),
	CUSTOM("ports", custom_nat_ports),
};
static const struct schema schema_nat = SCHEMA(nat_fields);

static const struct schema_field limits_fields[] = {
	FIELD(struct config, "pools", U32, limits.pools, RANGE(1, CONFIG_POOLS_MAX),
	      .flags = SCHEMA_DETACH),
	FIELD(struct config, "vips", U32, limits.vips, RANGE(1, CONFIG_VIPS_MAX)),
	FIELD(struct config, "nodes", U32, limits.nodes, RANGE(1, CONFIG_NODES_MAX)),
	FIELD(struct config, "flows", U32, limits.flows, RANGE(1024, 1 << 26),
	      .flags = SCHEMA_DETACH),
	FIELD(struct config, "half_open", U32, limits.half_open, RANGE(1024, 1 << 24),
	      .flags = SCHEMA_DETACH),
	FIELD(struct config, "nat_flows", U32, limits.nat_flows, RANGE(1024, 1 << 26),
	      .flags = SCHEMA_DETACH),
	FIELD(struct config, "new_entries_per_second", U32, limits.new_entries_per_second,
	      RANGE(1, 10000000), .flags = SCHEMA_RESTART),
	FIELD(struct config, "fallback_connections", U32, limits.fallback_connections,
	      RANGE(16, 100000), .flags = SCHEMA_RESTART),
};
static const struct schema schema_limits = SCHEMA(limits_fields);

static const struct schema_field dpdk_fields[] = {
	FIELD(struct config, "cores", TOKEN, dpdk.cores),
	FIELD(struct config, "huge_pages", BOOL, dpdk.huge_pages),
	CUSTOM("eal_args", custom_eal_args),
};
static const struct schema schema_dpdk = SCHEMA(dpdk_fields);

static const struct schema_field top_fields[] = {
	ELSEWHERE("interfaces"),
	FIELD(struct config, "dataplane", WORD, dataplane, .words = dataplanes,
	      .flags = SCHEMA_DETACH),
	FIELD(struct config, "pin_dir", DIR, pin_dir, RANGE(2, 200), .flags = SCHEMA_DETACH),
	FIELD(struct config, "socket", DIR, socket, RANGE(2, 107), .flags = SCHEMA_RESTART),
	CUSTOM("socket_mode", custom_socket_mode, .flags = SCHEMA_RESTART),
	FIELD(struct config, "socket_group", TOKEN, socket_group,
	      .flags = SCHEMA_RESTART | SCHEMA_NULLABLE),
	SECTION("metrics", schema_metrics),
	CUSTOM("hash_key", custom_hash_key, .flags = SCHEMA_DETACH | SCHEMA_SECRET),
	FIELD(struct config, "hash_key_file", FILE, hash_key_file, .flags = SCHEMA_NULLABLE),
	FIELD(struct config, "flow_idle", DURATION, flow_idle_ms, RANGE(SECOND, 7 * DAY)),
	SECTION("source", schema_source),
	SECTION("nat", schema_nat, .flags = SCHEMA_RESTART),
	SECTION("limits", schema_limits),
	SECTION("dpdk", schema_dpdk, .flags = SCHEMA_RESTART),
	FIELD(struct config, "log_level", WORD, log_level, .words = log_levels),
	FIELD(struct config, "watch", BOOL, watch),
	ELSEWHERE("defaults"),
	ELSEWHERE("pools"),
	ELSEWHERE("vips"),
};
const struct schema schema_top = SCHEMA(top_fields);

static const struct schema_field interface_fields[] = {
	FIELD(struct config_interface, "name", TOKEN, name, RANGE(1, 15)),
	FIELD(struct config_interface, "mode", WORD, mode, .words = xdp_modes),
	FIELD(struct config_interface, "priority", U32, priority, RANGE(0, 99)),
	FIELD(struct config_interface, "reattach", BOOL, reattach),
	FIELD(struct config_interface, "device", TOKEN, device, .flags = SCHEMA_NULLABLE),
};
const struct schema schema_interface = SCHEMA(interface_fields);

/* Checks, load, thresholds: of pools, and overridden by nodes. */

#define HTTP_FIELDS(http)                                                                          \
	FIELD(struct config_settings, "http_version", WORD, http.version, .words = http_versions), \
		FIELD(struct config_settings, "host", TOKEN, http.host, .flags = SCHEMA_NULLABLE), \
		FIELD(struct config_settings, "ca_file", FILE, http.ca_file,                       \
		      .flags = SCHEMA_NULLABLE),                                                   \
		FIELD(struct config_settings, "cert_file", FILE, http.cert_file,                   \
		      .flags = SCHEMA_NULLABLE),                                                   \
		FIELD(struct config_settings, "key_file", FILE, http.key_file,                     \
		      .flags = SCHEMA_NULLABLE),                                                   \
		FIELD(struct config_settings, "bearer_file", FILE, http.bearer_file,               \
		      .flags = SCHEMA_NULLABLE),                                                   \
		FIELD(struct config_settings, "verify", BOOL, http.verify)

#define SETTING(key_, type_, member, ...)                                                          \
	FIELD(struct config_settings, key_, type_, member, ##__VA_ARGS__)

static const struct schema_field check_fields[] = {
	SETTING("scheme", WORD, check.http.scheme, .words = check_schemes),
	SETTING("path", HTTP_PATH, over.health_path),
	SETTING("port", U16, over.health_port, RANGE(1, 65535)),
	SETTING("interval", DURATION, check.interval_ms, RANGE(10, HOUR)),
	SETTING("jitter", RATIO, check.jitter_ratio, RANGE(0, 0.5)),
	SETTING("connect_timeout", DURATION, check.connect_timeout_ms, RANGE(1, MINUTE)),
	SETTING("timeout", DURATION, check.timeout_ms, RANGE(1, 10 * MINUTE)),
	SETTING("rise", U32, check.rise, RANGE(1, 100)),
	SETTING("fall", U32, check.fall, RANGE(1, 100)),
	SETTING("refused_interval", DURATION, check.refused_interval_ms, RANGE(10, HOUR)),
	SETTING("refused_fall", U32, check.refused_fall, RANGE(1, 100)),
	CUSTOM("expect_status", custom_expect_status),
	SETTING("expect", TEXT, over.health_expect, .flags = SCHEMA_NULLABLE),
	SETTING("status_field", TOKEN, over.health_status_field, .flags = SCHEMA_NULLABLE),
	HTTP_FIELDS(check.http),
};
const struct schema schema_check = SCHEMA(check_fields);

static const struct schema_field load_fields[] = {
	SETTING("scheme", WORD, load_http.scheme, .words = load_schemes),
	SETTING("path", HTTP_PATH, over.metrics_path),
	SETTING("port", U16, over.metrics_port, RANGE(1, 65535)),
	SETTING("format", WORD, over.format, .words = formats),
	SETTING("interval", DURATION, load.interval_ms, RANGE(10, HOUR)),
	SETTING("timeout", DURATION, load.timeout_ms, RANGE(1, 10 * MINUTE)),
	SETTING("stale", DURATION, load.stale_ms, RANGE(100, DAY)),
	SETTING("queue", EXPR, over.expr[LOAD_QUEUE]),
	SETTING("running", EXPR, over.expr[LOAD_RUNNING]),
	SETTING("kv", EXPR, over.expr[LOAD_KV]),
	SETTING("gpu_memory", EXPR, over.expr[LOAD_GPU_MEM]),
	SETTING("progress", EXPR, over.expr[LOAD_PROGRESS]),
	SETTING("aborts", EXPR, over.expr[LOAD_ABORTS]),
	SETTING("slots", EXPR, over.expr[LOAD_SLOTS]),
	CUSTOM("addons", custom_addons),
	SETTING("addon_port", U16, over.addon_port, RANGE(1, 65535)),
	HTTP_FIELDS(load_http),
};
const struct schema schema_load = SCHEMA(load_fields);

#define THRESHOLD(key_, type_, member, ...)                                                        \
	FIELD(struct config_settings, key_, type_, thresholds.member, ##__VA_ARGS__)
#define OFF       .flags = SCHEMA_OFF_IS_0
#define POOL_ONLY .places = SCHEMA_DEFAULTS | SCHEMA_POOL

static const struct schema_field threshold_fields[] = {
	THRESHOLD("kv_high", RATIO, kv_high_ratio, RANGE(0, 1)),
	THRESHOLD("kv_low", RATIO, kv_low_ratio, RANGE(0, 1)),
	THRESHOLD("gpu_memory_high", RATIO, gpu_memory_high_ratio, RANGE(0, 1)),
	THRESHOLD("gpu_memory_low", RATIO, gpu_memory_low_ratio, RANGE(0, 1)),
	THRESHOLD("queue_outlier", NUMBER, queue_outlier, RANGE(0, 1000), OFF),
	THRESHOLD("queue_outlier_min", U32, queue_outlier_min, RANGE(0, 1000000)),
	THRESHOLD("latency_high", DURATION, latency_high_ms, RANGE(0, HOUR), OFF),
	THRESHOLD("latency_outlier", NUMBER, latency_outlier, RANGE(0, 1000), OFF),
	THRESHOLD("latency_outlier_min", DURATION, latency_outlier_min_ms, RANGE(0, HOUR)),
	THRESHOLD("aborts_high", NUMBER, aborts_high, RANGE(0, 1e6), OFF),
	THRESHOLD("samples", U32, samples, RANGE(1, 100)),
	THRESHOLD("degraded_weight", PERCENT, degraded_weight, RANGE(0, 100)),
	THRESHOLD("hot", RATIO, hot_ratio, RANGE(0, 1)),
	THRESHOLD("busy", DURATION, busy_ms, RANGE(SECOND, DAY)),
	THRESHOLD("hung", DURATION, hung_ms, RANGE(0, DAY), OFF),
	THRESHOLD("warm_up", DURATION, warm_up_ms, RANGE(0, HOUR), OFF),
	THRESHOLD("warm_up_start", RATIO, warm_up_start_ratio, RANGE(0, 1)),
	THRESHOLD("flap_changes", U32, flap_changes, RANGE(0, 15), OFF),
	THRESHOLD("flap_window", DURATION, flap_window_ms, RANGE(SECOND, DAY)),
	THRESHOLD("flap_hold", DURATION, flap_hold_ms, RANGE(SECOND, DAY)),
	THRESHOLD("flap_hold_max", DURATION, flap_hold_max_ms, RANGE(SECOND, DAY)),
	THRESHOLD("max_out", RATIO, max_out_ratio, RANGE(0, 1), POOL_ONLY),
	THRESHOLD("weight_change_per_minute", RATIO, weight_change_ratio, RANGE(0, 1), OFF,
		  POOL_ONLY),
};
const struct schema schema_thresholds = SCHEMA(threshold_fields);

/* Pools. */

static const struct schema_field standby_fields[] = {
	FIELD(struct config_pool, "below", RATIO, standby.below_ratio, RANGE(0, 1)),
	FIELD(struct config_pool, "above", RATIO, standby.above_ratio, RANGE(0, 1)),
};
static const struct schema schema_standby = SCHEMA(standby_fields);

static const struct schema_field pool_fields[] = {
	FIELD(struct config_pool, "name", NAME, name, .places = SCHEMA_POOL),
	FIELD(struct config_pool, "preset", PRESET, preset),
	FIELD(struct config_pool, "mode", WORD, mode, .words = modes),
	FIELD(struct config_pool, "policy", WORD, policy, .words = policies),
	/* part of every flow's hash, as the slots are */
	FIELD(struct config_pool, "affinity", WORD, affinity, .words = affinities,
	      .flags = SCHEMA_DETACH),
	FIELD(struct config_pool, "on_down", WORD, on_down, .words = on_downs),
	FIELD(struct config_pool, "port", U16, port, RANGE(1, 65535)),
	FIELD(struct config_pool, "slots", U32, slots, RANGE(0, 1000000)),
	FIELD(struct config_pool, "table_slots", U32, table_slots,
	      RANGE(CONFIG_SLOTS_MIN, CONFIG_SLOTS_MAX), .flags = SCHEMA_DETACH),
	FIELD(struct config_pool, "gue_port", U16, gue_port, RANGE(1, 65535)),
	SECTION("standby", schema_standby),
	ELSEWHERE("check"),
	ELSEWHERE("load"),
	ELSEWHERE("thresholds"),
	ELSEWHERE("fallback", .places = SCHEMA_DEFAULTS),
	ELSEWHERE("nodes", .places = SCHEMA_POOL),
	ELSEWHERE("discovery", .places = SCHEMA_POOL),
};
const struct schema schema_pool = SCHEMA(pool_fields);

static const struct schema_field node_fields[] = {
	FIELD(struct config_node, "name", NAME, name),
	FIELD(struct config_node, "address", ADDRESS, address),
	FIELD(struct config_node, "port", U16, port, RANGE(1, 65535)),
	FIELD(struct config_node, "weight", U32, weight, RANGE(0, CONFIG_WEIGHT_MAX)),
	FIELD(struct config_node, "tier", U32, tier, RANGE(0, CONFIG_TIER_MAX)),
	FIELD(struct config_node, "slots", U32, slots, RANGE(0, 1000000)),
	ELSEWHERE("check"),
	ELSEWHERE("load"),
	ELSEWHERE("thresholds"),
};
const struct schema schema_node = SCHEMA(node_fields);

static const struct schema_field dns_fields[] = {
	FIELD(struct config_discovery, "name", TOKEN, dns.name, RANGE(1, 253)),
	FIELD(struct config_discovery, "type", WORD, dns.type, .words = dns_types),
	FIELD(struct config_discovery, "port", U16, dns.port, RANGE(1, 65535)),
	FIELD(struct config_discovery, "server", SERVER, dns.server, .flags = SCHEMA_NULLABLE),
	FIELD(struct config_discovery, "min_ttl", DURATION, dns.min_ttl_ms, RANGE(100, DAY)),
	FIELD(struct config_discovery, "max_ttl", DURATION, dns.max_ttl_ms, RANGE(100, DAY)),
	FIELD(struct config_discovery, "timeout", DURATION, dns.timeout_ms, RANGE(10, MINUTE)),
};
static const struct schema schema_dns = SCHEMA(dns_fields);

static const struct schema_field discovery_fields[] = {
	SECTION("dns", schema_dns),
	FIELD(struct config_discovery, "file", FILE, file),
	FIELD(struct config_discovery, "weight", U32, weight, RANGE(0, CONFIG_WEIGHT_MAX)),
	FIELD(struct config_discovery, "tier", U32, tier, RANGE(0, CONFIG_TIER_MAX)),
	FIELD(struct config_discovery, "max_nodes", U32, max_nodes, RANGE(1, CONFIG_NODES_MAX)),
	FIELD(struct config_discovery, "drain_deadline", DURATION, drain_deadline_ms,
	      RANGE(0, 7 * DAY)),
};
const struct schema schema_discovery = SCHEMA(discovery_fields);

/* VIPs. */

static const struct schema_field fallback_fields[] = {
	FIELD(struct config_fallback, "enabled", BOOL, enabled),
	FIELD(struct config_fallback, "status", U16, status, RANGE(400, 599)),
	FIELD(struct config_fallback, "body_file", FILE, body_file, .flags = SCHEMA_NULLABLE),
	FIELD(struct config_fallback, "body_type", TEXT, body_type),
	FIELD(struct config_fallback, "certificate_file", FILE, certificate_file,
	      .flags = SCHEMA_NULLABLE),
	FIELD(struct config_fallback, "key_file", FILE, key_file, .flags = SCHEMA_NULLABLE),
	FIELD(struct config_fallback, "retry_min", DURATION, retry_min_ms, RANGE(1, HOUR)),
	FIELD(struct config_fallback, "retry_max", DURATION, retry_max_ms, RANGE(1, HOUR)),
	CUSTOM("cache", custom_cache),
};
const struct schema schema_fallback = SCHEMA(fallback_fields);

static const struct schema_field vip_fields[] = {
	FIELD(struct config_vip, "name", NAME, name),
	FIELD(struct config_vip, "address", ADDRESS, endpoint.addr),
	FIELD(struct config_vip, "port", U16, endpoint.port, RANGE(1, 65535)),
	FIELD(struct config_vip, "ping", BOOL, ping),
	ELSEWHERE("pool"),
	ELSEWHERE("fallback"),
};
const struct schema schema_vip = SCHEMA(vip_fields);

void config_defaults(struct config *cfg)
{
	cfg->dataplane = CONFIG_DATAPLANE_XDP;
	cfg->pin_dir = "/sys/fs/bpf/sluice";
	cfg->socket = "/run/sluice/sluice.sock";
	cfg->socket_mode = 0660;
	cfg->metrics_enabled = true;
	if (endpoint_parse("127.0.0.1:9911", &cfg->metrics_listen) < 0)
		abort();
	memcpy(cfg->hash_key, CONFIG_HASH_KEY_PUBLIC, CONFIG_HASH_KEY_SIZE);
	cfg->flow_idle_ms = 3600 * 1000;
	cfg->nat.port_low = 1024;
	cfg->nat.port_high = 32767; /* below the ports that Linux gives to its own connections */
	cfg->limits = (struct config_limits){
		.pools = 16,
		.vips = CONFIG_VIPS_MAX,
		.nodes = CONFIG_NODES_MAX,
		.flows = 1 << 20,
		.half_open = 1 << 17,
		.nat_flows = 1 << 18,
		.new_entries_per_second = 20000,
		.fallback_connections = 10000,
	};
	cfg->dpdk.huge_pages = true;
	cfg->log_level = LOG_LEVEL_INFO;
}

void config_pool_defaults(struct config_pool *pool)
{
	pool->mode = CONFIG_MODE_IPIP;
	pool->policy = CONFIG_POLICY_P2C;
	pool->affinity = CONFIG_AFFINITY_FLOW;
	pool->on_down = CONFIG_ON_DOWN_RESET;
	pool->table_slots = 65537;
	pool->gue_port = CONFIG_GUE_PORT;
	pool->standby.below_ratio = 0.5;
	pool->standby.above_ratio = 0.7;
	pool->discovery = (struct config_discovery){
		.type = CONFIG_DISCOVERY_NONE,
		.dns = {.type = CONFIG_DNS_A,
			.min_ttl_ms = 1000,
			.max_ttl_ms = 5 * 60 * 1000,
			.timeout_ms = 2000},
		.weight = 1,
		.max_nodes = 1000,
		.drain_deadline_ms = 60 * 60 * 1000,
	};
}

void config_settings_defaults(struct config_settings *s)
{
	s->check.http.verify = true;
	s->check.interval_ms = 1000;
	s->check.jitter_ratio = 0.1;
	s->check.connect_timeout_ms = 500;
	s->check.timeout_ms = 5000;
	s->check.rise = 2;
	s->check.fall = 3;
	s->check.refused_interval_ms = 200;
	s->check.refused_fall = 2;
	s->load.interval_ms = 500;
	s->load.timeout_ms = 1000;
	s->thresholds = (struct config_thresholds){
		.kv_high_ratio = 0.95,
		.kv_low_ratio = 0.90,
		.gpu_memory_high_ratio = 0.95,
		.gpu_memory_low_ratio = 0.92,
		.queue_outlier = 4,
		.queue_outlier_min = 8,
		.latency_outlier = 5,
		.latency_outlier_min_ms = 200,
		.samples = 3,
		.hot_ratio = 0.9,
		.busy_ms = 30 * 1000,
		.hung_ms = 60 * 1000,
		.warm_up_ms = 30 * 1000,
		.warm_up_start_ratio = 0.1,
		.flap_changes = 5,
		.flap_window_ms = 10 * 60 * 1000,
		.flap_hold_ms = 30 * 1000,
		.flap_hold_max_ms = 10 * 60 * 1000,
		.max_out_ratio = 0.5,
		.weight_change_ratio = 0.5,
	};
}

void config_fallback_defaults(struct config_fallback *f)
{
	f->enabled = true;
	f->status = 503;
	f->body_type = "application/json";
	f->retry_min_ms = 500;
	f->retry_max_ms = 3000;
}
