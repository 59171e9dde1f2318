/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration file (YAML) -> struct config, whole or not at all.
 *
 * Everything in struct config is effective: defaults, presets and inheritance (built in -> preset
 * -> defaults: -> pool -> node) are already applied, names resolved, values checked. All of it,
 * strings included, is owned by the struct config it was loaded into, is never changed after the
 * load, and lives until config_free(). Pools, nodes and VIPs stand in the order of the file.
 *
 * Units: _ms are milliseconds, _ratio are fractions of one, ports are in host byte order.
 */
#ifndef SLUICE_AGENT_CONFIG_H
#define SLUICE_AGENT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "maps/abi.h"
#include "userspace/agent/preset.h"
#include "userspace/lib/address.h"

#define CONFIG_NAME_MAX       (LB_NAME_MAX - 1) /* bytes, without the NUL; of [A-Za-z0-9._-] */
#define CONFIG_INTERFACES_MAX 32
#define CONFIG_VIPS_MAX       LB_VIPS_MAX
#define CONFIG_POOLS_MAX      LB_POOLS_MAX
#define CONFIG_NODES_MAX      8000 /* of all pools together */
#define CONFIG_WEIGHT_MAX     1000
#define CONFIG_TIER_MAX       7
#define CONFIG_SLOTS_MIN      251
#define CONFIG_GUE_PORT       6080 /* IANA: gue */
#define CONFIG_SLOTS_MAX      LB_SLOTS_MAX
#define CONFIG_CACHE_MAX      16 /* cached paths of one VIP */
#define CONFIG_STATUS_MAX     8  /* ranges in expect_status */
#define CONFIG_NAT_MAX        8  /* addresses of each family */
#define CONFIG_EAL_ARGS_MAX   32
#define CONFIG_FILE_SIZE_MAX  (4u << 20)
#define CONFIG_ERRORS_MAX     20
#define CONFIG_HASH_KEY_SIZE  16
/* The same on every host unless set, so that several ingress hosts agree out of the box. */
#define CONFIG_HASH_KEY_PUBLIC "sluice-default-k"

/* Enumerators start at 1, so that a forgotten field reads as none of them. */
enum config_xdp_mode { CONFIG_XDP_NATIVE = 1, CONFIG_XDP_GENERIC };
enum config_dataplane { CONFIG_DATAPLANE_XDP = 1, CONFIG_DATAPLANE_DPDK };
enum config_mode { CONFIG_MODE_L2DSR = 1, CONFIG_MODE_IPIP, CONFIG_MODE_GUE, CONFIG_MODE_NAT };
enum config_policy {
	CONFIG_POLICY_HASH = 1,
	CONFIG_POLICY_P2C,
	CONFIG_POLICY_LEAST_QUEUE,
	CONFIG_POLICY_LEAST_CONN,
	CONFIG_POLICY_ROUND_ROBIN,
	CONFIG_POLICY_WEIGHTED_ROUND_ROBIN,
};
enum config_affinity { CONFIG_AFFINITY_FLOW = 1, CONFIG_AFFINITY_SOURCE };
enum config_on_down { CONFIG_ON_DOWN_RESET = 1, CONFIG_ON_DOWN_REHASH, CONFIG_ON_DOWN_KEEP };
enum config_scheme { CONFIG_SCHEME_TCP = 1, CONFIG_SCHEME_HTTP, CONFIG_SCHEME_HTTPS };

enum config_discovery_type {
	CONFIG_DISCOVERY_NONE = 1, /* the nodes of the file, and no others */
	CONFIG_DISCOVERY_DNS,
	CONFIG_DISCOVERY_FILE,
};
enum config_dns_type { CONFIG_DNS_A = 1, CONFIG_DNS_AAAA, CONFIG_DNS_SRV };

/* The words of the file for each enumerator, for logs and the API; "?" for values out of range. */
const char *config_xdp_mode_name(enum config_xdp_mode v);
const char *config_dataplane_name(enum config_dataplane v);
const char *config_mode_name(enum config_mode v);
const char *config_policy_name(enum config_policy v);
const char *config_affinity_name(enum config_affinity v);
const char *config_on_down_name(enum config_on_down v);
const char *config_scheme_name(enum config_scheme v);
const char *config_discovery_type_name(enum config_discovery_type v);
const char *config_dns_type_name(enum config_dns_type v);

struct config_interface {
	const char *name;
	const char *device; /* with dataplane dpdk: the device DPDK drives ("0000:01:00.0",
			       "net_tap0"); NULL: none named */
	enum config_xdp_mode mode;
	uint32_t priority; /* libxdp run priority, 0..99, lower runs earlier */
	bool reattach;	   /* what somebody takes off is put back */
};

/* How a request to a node is made. */
struct config_http {
	enum config_scheme scheme;
	enum preset_http version;
	const char *host;      /* Host header, and the name in the certificate; NULL: the address */
	const char *ca_file;   /* NULL: the system's */
	const char *cert_file; /* client certificate and key, PEM; NULL: none */
	const char *key_file;  /* NULL if and only if cert_file is */
	const char *bearer_file; /* its first line is the bearer token, read anew when it changes */
	bool verify;             /* check the node's certificate */
};

struct config_status_range {
	uint16_t low; /* both ends belong to it */
	uint16_t high;
};

struct config_check {
	struct config_http http;
	const char *path; /* NULL with scheme tcp: connect only */
	uint16_t port;    /* 0: the node's own */
	int64_t interval_ms;
	double jitter_ratio;
	int64_t connect_timeout_ms;
	int64_t timeout_ms; /* whole probe */
	uint32_t rise;
	uint32_t fall;
	int64_t refused_interval_ms; /* the next check after "connection refused" */
	uint32_t refused_fall;       /* this many refusals in a row are down */
	/* Statuses that pass; 0 ranges: by the rules of the preset (mostly 2xx). */
	struct config_status_range expect_status[CONFIG_STATUS_MAX];
	uint32_t n_expect_status;
};

/* One page of metrics. Pages of add-ons: plain HTTP, no token, unless said otherwise. */
struct config_page {
	struct config_http http;
	const char *path;
	uint16_t port;                      /* 0: the node's own */
	const struct preset_source *source; /* its name, format and expressions */
};

struct config_load {
	struct config_page pages[PRESET_SOURCES_MAX];
	uint32_t n_pages; /* 0: nothing is scraped; load is what this host's flows say */
	int64_t interval_ms;
	int64_t timeout_ms;
	int64_t stale_ms; /* a sample older than this is stale; never 0 */
};

/* Of a node, but for those marked (pool), which only the pool's own copy decides. */
struct config_thresholds {
	double kv_high_ratio; /* degraded at or above; leaves at or below _low */
	double kv_low_ratio;
	double gpu_memory_high_ratio; /* degraded above; leaves at or below _low */
	double gpu_memory_low_ratio;
	double queue_outlier;       /* times the median of the pool; 0: never */
	uint32_t queue_outlier_min; /* and at least this many waiting */
	int64_t latency_high_ms;    /* smoothed time of a health check; 0: no fixed limit */
	double latency_outlier;     /* times the median of the pool; 0: never */
	int64_t latency_outlier_min_ms;
	double aborts_high;       /* aborted requests a second; 0: never */
	uint32_t samples;         /* so many samples in a row over (or under) count */
	uint32_t degraded_weight; /* percent of its weight a degraded node keeps */
	double hot_ratio;         /* of its slots running: "hot" (DESIGN section 3) */
	int64_t busy_ms; /* connects but does not answer for so long: down, if it has no progress to
			    ask */
	int64_t hung_ms; /* running, and no progress for so long: hung; 0: never */
	int64_t warm_up_ms; /* 0: full weight at once */
	double warm_up_start_ratio;
	uint32_t flap_changes; /* more than so many changes up/down within flap_window_ms: damped;
				  0: never */
	int64_t flap_window_ms;
	int64_t flap_hold_ms; /* the first extra wait; doubles up to flap_hold_max_ms */
	int64_t flap_hold_max_ms;
	double max_out_ratio; /* (pool) load and degradation may take out this much capacity */
	double weight_change_ratio; /* (pool) so much of its capacity may change a minute by load
				       and degradation; 0: no limit */
};

struct config_node {
	const char *name;
	struct address address;
	uint16_t port;   /* where it serves: the VIP's own port unless the mode is nat; never 0 */
	uint32_t weight; /* 0..CONFIG_WEIGHT_MAX; 0 takes no new flow */
	uint32_t tier;   /* 0: in use; more: standby */
	uint32_t slots;  /* requests it runs at once; 0: learned */
	/*
	 * Preset and overrides together. Nodes with the same settings share the pointer; where a
	 * node overrides nothing these four are the pool's very pointers. A port 0 inside is
	 * `port`.
	 */
	const struct preset_spec *spec;
	const struct config_check *check;
	const struct config_load *load;
	const struct config_thresholds *thresholds;
	const struct config_settings *settings; /* those four as written, for config_diff */
	uint32_t line;                          /* in the file; 0: from discovery */
};

struct config_dns {
	const char *name; /* without a final dot */
	enum config_dns_type type;
	uint16_t port;      /* for A and AAAA; 0: the pool's */
	const char *server; /* "10.0.0.53" or "10.0.0.53:53"; NULL: the system's resolvers */
	int64_t min_ttl_ms; /* answers are asked again by their TTL, held within these two */
	int64_t max_ttl_ms;
	int64_t timeout_ms;
};

struct config_discovery {
	enum config_discovery_type type;
	struct config_dns dns;
	const char *file; /* JSON in Prometheus' file_sd form, watched */
	uint32_t weight;  /* of nodes that bring none of their own */
	uint32_t tier;
	uint32_t max_nodes; /* more are refused, and the nodes stay as they are */
	int64_t drain_deadline_ms; /* a node that is gone from the source keeps its flows so long */
};

struct config_standby {
	double below_ratio; /* the next tier joins when healthy capacity of those above is under it
			     */
	double above_ratio; /* and leaves when it is over this */
};

struct config_pool {
	const char *name;
	const char *preset; /* its name, for display */
	const struct preset_spec *spec;
	enum config_mode mode;
	enum config_policy policy;
	enum config_affinity affinity;
	enum config_on_down on_down;
	uint32_t table_slots; /* prime */
	uint16_t port;        /* where nodes serve unless they say otherwise; never 0 */
	uint16_t gue_port;    /* UDP destination port of mode gue */
	uint32_t slots;       /* of nodes that say nothing else; 0: learned */
	struct config_standby standby;
	struct config_discovery discovery;
	const struct config_check *check;
	const struct config_load *load;
	const struct config_thresholds *thresholds;
	const struct config_settings *settings;
	struct config_node *nodes; /* of the file; may be none if there is discovery */
	uint32_t n_nodes;
	uint32_t line;
};

struct config_cache {
	const char *path; /* GET, exactly; with its query if it has one */
	int64_t refresh_ms;
	int64_t max_age_ms; /* an older answer is not given any more */
};

/* What this host answers for a VIP with nothing left. */
struct config_fallback {
	bool enabled;                 /* no: connections are reset */
	uint16_t status;              /* 400..599 */
	const char *body_file;        /* NULL: the OpenAI-style error body */
	const char *body_type;        /* Content-Type of body_file */
	const char *certificate_file; /* PEM; NULL: plain HTTP */
	const char *key_file;         /* NULL if and only if certificate_file is */
	int64_t retry_min_ms;
	int64_t retry_max_ms;
	struct config_cache cache[CONFIG_CACHE_MAX];
	uint32_t n_cache;
};

struct config_vip {
	const char *name;
	struct endpoint endpoint;
	uint32_t pool; /* index into struct config.pools */
	bool ping;     /* answer ICMP echo for the address */
	struct config_fallback fallback;
	uint32_t line;
};

/* A file that the configuration names: certificates, tokens, bodies, lists of nodes. */
struct config_file {
	const char *path;
	const char *key; /* "pools[0].check.ca_file" */
	uint32_t line;
	uint32_t column;
};

/* Sizes of maps and rates of the packet path. */
struct config_limits {
	uint32_t pools;
	uint32_t vips;
	uint32_t nodes;
	uint32_t flows;
	uint32_t half_open;
	uint32_t nat_flows;
	uint32_t new_entries_per_second; /* of one ingress host */
	uint32_t fallback_connections;
};

struct config_nat {
	struct address ipv4[CONFIG_NAT_MAX]; /* sources of translated flows; n 0: the source of the
						route */
	uint32_t n_ipv4;
	struct address ipv6[CONFIG_NAT_MAX];
	uint32_t n_ipv6;
	uint16_t port_low; /* source ports, both ends belong to it */
	uint16_t port_high;
};

struct config_dpdk {
	const char *cores; /* "1-3,5"; NULL: one */
	bool huge_pages;
	const char **eal_args;
	uint32_t n_eal_args;
};

struct config {
	const char *path; /* as given to config_load() */
	enum config_dataplane dataplane;
	struct config_interface *interfaces;
	uint32_t n_interfaces;
	const char *pin_dir;
	const char *socket;
	uint32_t socket_mode;     /* permission bits */
	const char *socket_group; /* NULL: the agent's own */
	bool metrics_enabled;
	struct endpoint metrics_listen;
	uint8_t hash_key[CONFIG_HASH_KEY_SIZE];
	const char *hash_key_file; /* that it is read from; NULL: none */
	int64_t flow_idle_ms;
	struct address source_ipv4; /* family 0: taken from the route */
	struct address source_ipv6;
	struct config_nat nat;
	struct config_limits limits;
	struct config_dpdk dpdk;
	int log_level; /* enum log_level */
	bool watch;
	struct config_pool *pools;
	uint32_t n_pools;
	struct config_vip *vips;
	uint32_t n_vips;
	struct config_file *files; /* every file that is named, in no particular order */
	uint32_t n_files;
	struct config_settings *settings; /* owner of all preset specs */
	struct arena *arena;              /* owner of all the rest */
};

struct config_error {
	uint32_t line;   /* from 1; 0: the whole file */
	uint32_t column; /* from 1 */
	char *text;      /* "FILE:LINE:COL: …", one line, without newline */
};

/* Errors in the order of the file. Start from {0}; release with config_errors_free(). */
struct config_errors {
	struct config_error items[CONFIG_ERRORS_MAX];
	uint32_t n;
	uint32_t n_dropped; /* found beyond CONFIG_ERRORS_MAX */
};

/*
 * Read and check a file. Returns 0 and a configuration that the caller owns; or, with *ret
 * untouched and at least one error in errs: -EINVAL for what the file says, -EFBIG if it is over
 * CONFIG_FILE_SIZE_MAX, -ENOENT, -EACCES … if it cannot be read, -ENOMEM.
 * Only reads the file named, and its hash_key_file: others it mentions (certificates …) are not opened.
 */
int config_load(const char *path, struct config **ret, struct config_errors *errs);

/*
 * The same from len bytes at buf, which need no NUL; name stands for the file in messages. Opens no
 * file: config_read_key() is left to do.
 */
int config_load_buffer(const char *name, const char *buf, size_t len, struct config **ret,
		       struct config_errors *errs);

/*
 * hash_key from hash_key_file, if that is given. Returns 0; -EINVAL, -ENOENT, -EACCES … with an error
 * in errs.
 */
int config_read_key(struct config *cfg, struct config_errors *errs);

/* What is in order and yet not well, each a line for the operator. */
void config_warnings(const struct config *cfg, struct config_errors *ret);

/*
 * Whether the files it names can be read, for a checker: they may come and go later. Returns 0, or
 * -ENOENT with an error in errs for each that cannot.
 */
int config_check_files(const struct config *cfg, struct config_errors *errs);

/* Accepts NULL and a NULL inside; clears. */
void config_free(struct config **cfg);
void config_errors_free(struct config_errors *errs);

/* One line each, then "… and N more" if there are. */
void config_errors_print(const struct config_errors *errs, FILE *out);

/* Index of a name; -ENOENT if there is none. */
int config_find_pool(const struct config *cfg, const char *name);
int config_find_vip(const struct config *cfg, const char *name);
int config_find_node(const struct config_pool *pool, const char *name);

/* Name of a node that has none: its address, with ':' as '-'. */
void config_node_default_name(const struct address *addr, char ret_name[CONFIG_NAME_MAX + 1]);

/* A node of the pool as discovery starts it: the pool's settings; no name, no address. */
void config_node_init(const struct config_pool *pool, struct config_node *ret_node);

/* Most nodes that the pool can have, by its policy and its table. */
uint32_t config_pool_nodes_max(const struct config_pool *pool);

/*
 * Why a node at that endpoint cannot be in the pool, which is one of cfg's: "is a multicast
 * address". NULL: it can. For nodes that are not in the file, whose own are checked.
 */
const char *config_endpoint_unfit(const struct config *cfg, const struct config_pool *pool,
				  const struct endpoint *endpoint);

/* Whether name is 1..CONFIG_NAME_MAX bytes of [A-Za-z0-9._-] and does not start with '-' or '.'. */
bool config_name_valid(const char *name);

#endif
