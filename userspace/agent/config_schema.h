/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tables of the configuration's keys, and the walker that applies a mapping of the file to a struct
 * by such a table. Internal to config_*.c.
 *
 * A mapping may be applied over values that are already there: keys that it does not have leave
 * them alone. That is how inheritance works.
 */
#ifndef SLUICE_AGENT_CONFIG_SCHEMA_H
#define SLUICE_AGENT_CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "userspace/agent/config.h"
#include "userspace/agent/config_yaml.h"
#include "userspace/lib/arena.h"

#define CONFIG_ADDONS_MAX     (PRESET_SOURCES_MAX - 1)
#define CONFIG_ERRORS_FOUND   200 /* kept until they are sorted */
#define CONFIG_VISITS_MAX     2000000
#define CONFIG_VALUE_TEXT_MAX 4096

/* What pool and node have in common, as written in the file over their defaults. */
struct config_settings {
	struct config_check check;
	struct config_load load;
	struct config_http load_http; /* of the server's own page */
	struct config_thresholds thresholds;
	struct preset_overrides over;
	const char *addons[CONFIG_ADDONS_MAX];
	struct preset_spec *spec; /* owned */
	struct config_settings *next;
};

/* Where a mapping stands; a key may be allowed in some of these only. */
enum schema_place {
	SCHEMA_TOP = 1 << 0,
	SCHEMA_DEFAULTS = 1 << 1,
	SCHEMA_POOL = 1 << 2,
	SCHEMA_NODE = 1 << 3,
	SCHEMA_VIP = 1 << 4,
};

enum schema_type {
	SCHEMA_WORD = 1, /* int: one of `words` */
	SCHEMA_BOOL,
	SCHEMA_U16,
	SCHEMA_U32,
	SCHEMA_DURATION, /* int64_t, milliseconds */
	SCHEMA_RATIO,    /* double: "0.5" or "50%" */
	SCHEMA_PERCENT,  /* uint32_t, in percent: written as a ratio is */
	SCHEMA_NUMBER,   /* double */
	SCHEMA_NAME,     /* const char *, and all below but where said */
	SCHEMA_TEXT,     /* one line */
	SCHEMA_TOKEN,    /* printable, without blanks */
	SCHEMA_HTTP_PATH,
	SCHEMA_FILE, /* relative to the configuration file's directory */
	SCHEMA_DIR,  /* absolute path, not opened */
	SCHEMA_EXPR,
	SCHEMA_PRESET,
	SCHEMA_SERVER,  /* an address, with or without a port */
	SCHEMA_ADDRESS, /* struct address */
	SCHEMA_IPV4,
	SCHEMA_IPV6,
	SCHEMA_SECTION,   /* a mapping, by `sub`, with the same base */
	SCHEMA_CUSTOM,    /* by `custom` */
	SCHEMA_ELSEWHERE, /* allowed here, read by someone else */
};

enum schema_flag {
	SCHEMA_OFF_IS_0 = 1 << 0, /* "off" stands for 0 */
	SCHEMA_NULLABLE = 1 << 1, /* null and "none" take an inherited value away */
	SCHEMA_RESTART = 1 << 2,  /* a change takes a restart (config_diff) */
	SCHEMA_DETACH = 1 << 3,   /* a change takes new maps */
	SCHEMA_SECRET = 1 << 4,   /* is not printed */
};

struct schema_word {
	const char *word; /* NULL ends the list */
	int value;
};

struct config_path;
struct config_ctx;
struct schema_field;

struct schema_custom {
	/* Reports its errors itself. */
	void (*parse)(struct config_ctx *ctx, const struct schema_field *field,
		      const struct yaml_node *node, const struct config_path *path, void *base);
	void (*format)(const void *base, char *buf, size_t size);
};

struct schema_field {
	const char *key;
	enum schema_type type;
	size_t offset;
	double min; /* numbers, durations (ms); both ends are allowed */
	double max;
	const struct schema_word *words;
	const struct schema *sub;
	const struct schema_custom *custom;
	uint32_t places; /* 0: wherever the schema is used */
	uint32_t flags;
};

struct schema {
	const struct schema_field *fields;
	size_t n;
};

/* The way to a key, innermost first: "pools[0].check.port". */
struct config_path {
	const struct config_path *up;
	const char *key; /* NULL: index counts */
	uint32_t index;
};

struct config_ctx {
	const char *name;      /* of the file, for messages */
	const char *dir;       /* of the file, with its final '/'; "" if it has none */
	struct arena *scratch; /* the tree and messages */
	struct config *cfg;
	uint32_t visits; /* values read; bounds what aliases can multiply */
	uint32_t files_cap;
	bool no_memory; /* besides what the arenas know */
	uint32_t n_errors;
	uint32_t n_dropped;
	struct config_error errors[CONFIG_ERRORS_FOUND]; /* texts in scratch */
};

extern const struct schema_custom custom_listen; /* base struct config */
extern const struct schema_custom custom_socket_mode;
extern const struct schema_custom custom_hash_key;
extern const struct schema_custom custom_nat_ipv4;
extern const struct schema_custom custom_nat_ipv6;
extern const struct schema_custom custom_nat_ports;
extern const struct schema_custom custom_eal_args;
extern const struct schema_custom custom_expect_status; /* base struct config_settings */
extern const struct schema_custom custom_addons;
extern const struct schema_custom custom_cache; /* base struct config_fallback */

extern const struct schema schema_top;       /* base struct config */
extern const struct schema schema_interface; /* struct config_interface */
extern const struct schema schema_pool;      /* struct config_pool; also `defaults` */
extern const struct schema schema_node;      /* struct config_node */
extern const struct schema schema_vip;       /* struct config_vip */
extern const struct schema schema_fallback;  /* struct config_fallback */
extern const struct schema schema_check;     /* struct config_settings, and the next two */
extern const struct schema schema_load;
extern const struct schema schema_thresholds;
extern const struct schema schema_discovery; /* struct config_discovery */

/* Values before anything of the file counts. */
void config_defaults(struct config *cfg);
void config_pool_defaults(struct config_pool *pool);
void config_settings_defaults(struct config_settings *settings);
void config_fallback_defaults(struct config_fallback *fallback);

/* Apply a mapping; errors are added to ctx. A null node stands for an empty mapping. */
void schema_apply(struct config_ctx *ctx, const struct schema *schema, enum schema_place place,
		  const struct yaml_node *node, const struct config_path *path, void *base);

/*
 * The same for a list's item, where a single word stands for the value of the key short_key, which
 * the schema has: "- eth0", "- 10.0.1.11".
 */
void schema_apply_item(struct config_ctx *ctx, const struct schema *schema, enum schema_place place,
		       const char *short_key, const struct yaml_node *item,
		       const struct config_path *path, void *base);

/* A field's value as the file would say it; "none" for what is not set. */
void schema_format(const struct schema_field *field, const void *base, char *buf, size_t size);

/* Parse one scalar by a field's type, errors to ctx. Returns 0 or -EINVAL. */
int schema_scalar(struct config_ctx *ctx, const struct schema_field *field,
		  const struct yaml_node *node, const struct config_path *path, void *dst);

/* A single value's text, NULL if it is none or empty, which is reported: "expected …". */
const char *config_scalar_text(struct config_ctx *ctx, const struct yaml_node *node,
			       const struct config_path *path, const char *expected);

/* Note an error at a place of the file; node NULL: the whole file; path NULL: no key. */
void config_fail(struct config_ctx *ctx, const struct yaml_node *node,
		 const struct config_path *path, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The word nearest to `word` among n of them, if it is near enough for a typing error, or NULL. */
const char *config_suggest(const char *word, const char *const *words, size_t n);

/* The one of n words that other programs call `word`; NULL if it is not known. */
const char *config_other_name(const char *word, const char *const *words, size_t n);

/* Where a key that another table has belongs: "a pool or 'defaults'"; NULL if none has it. */
const char *config_key_home(const struct schema *not_here, const char *key);

/* What to look for, to end a message about an address, or of the YAML library; "" for nothing. */
const char *config_address_hint(const char *text, const struct config_path *path);
const char *config_syntax_hint(const char *message);

/* Report a key that must be there, unless a key that is misspelt was reported in its place. */
void schema_need(struct config_ctx *ctx, const struct schema *schema, enum schema_place place,
		 const struct yaml_node *node, const struct config_path *path, const char *key,
		 const char *what);

/* User's text made safe for one line of a message: escaped, shortened; and quoted. Never NULL. */
const char *config_escape(struct config_ctx *ctx, const char *text);
const char *config_quote(struct config_ctx *ctx, const char *text);

/* "pools[0].check.port", in scratch. Never NULL. */
const char *config_path_text(struct config_ctx *ctx, const struct config_path *path);

/* Move what ctx found into errs: in the order of the file, each once, copied. */
void config_errors_finish(struct config_ctx *ctx, struct config_errors *errs);
void config_errors_add(struct config_errors *errs, uint32_t line, uint32_t column,
		       const char *text);
/* About a whole file. */
void config_errors_addf(struct config_errors *errs, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The lists of the file; NULL where there is none. Items stand as in struct config. */
struct config_sources {
	const struct yaml_node *defaults;
	const struct yaml_node *interfaces;
	const struct yaml_node *pools;
	const struct yaml_node *vips;
};

/* One mapping that overrides settings, the first is the most general. */
struct config_layer {
	const struct yaml_node *node; /* that has check, load, thresholds; or NULL */
	const struct config_path *path;
	enum schema_place place;
};

/*
 * Defaults, preset and layers -> settings, owned by ctx->cfg. Errors go to ctx; the result then has
 * gaps, but is never NULL unless there is no memory. preset NULL: unknown, its part is left out.
 */
struct config_settings *config_settings_resolve(struct config_ctx *ctx, const char *preset,
						const struct config_layer *layers, size_t n);

/* The pools and their nodes into ctx->cfg; errors to ctx. */
void config_load_pools(struct config_ctx *ctx, const struct config_sources *src);

/* Fill in what depends on several parts (ports), and check what only the whole can show. */
void config_check_whole(struct config_ctx *ctx, const struct config_sources *sources);

#endif
