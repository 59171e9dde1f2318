/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Presets: the name of an inference server -> where its health and load are found and how they
 * read. The table is DESIGN section 5; every field can be overridden by the configuration.
 *
 * preset_find(name) -> const struct preset -> preset_apply(base, overrides) -> struct preset_spec,
 * which owns its strings and compiled expressions and is all that the prober needs.
 */
#ifndef SLUICE_AGENT_PRESET_H
#define SLUICE_AGENT_PRESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "userspace/agent/healthbody.h"
#include "userspace/agent/metricexpr.h"
#include "userspace/agent/metrics.h"

enum preset_check {
	PRESET_CHECK_HTTP = 1, /* GET path, judged by health_body_judge() */
	PRESET_CHECK_TCP,      /* a connection that is accepted passes */
	PRESET_CHECK_NONE,     /* add-ons: no health of their own */
};

enum preset_http {
	PRESET_HTTP_AUTO = 1, /* HTTP/2 where TLS negotiates it, otherwise 1.1 */
	PRESET_HTTP_1_1,
	PRESET_HTTP_2, /* also without TLS (prior knowledge) */
};

/* What a standing LOAD_PROGRESS proves. */
enum preset_progress {
	PRESET_PROGRESS_NONE = 1,
	PRESET_PROGRESS_STEP,    /* counts engine steps or tokens: standing with work = hung */
	PRESET_PROGRESS_REQUEST, /* counts finished requests: may stand through one long request */
};

/* A row of the table. Constant. Port 0 is the node's serving port. */
struct preset {
	const char *name;
	const char *summary; /* half a line for help texts */
	bool addon;          /* only added to another preset */

	enum preset_check check;
	const char *health_path;
	uint16_t health_port;
	struct health_rules rules;

	enum metric_format format;
	const char *metrics_path;
	uint16_t metrics_port;
	const char *expr[LOAD_FIELD_N]; /* NULL: the server does not say */
	enum preset_progress progress;
	enum preset_http http;
};

/* NULL if there is none of that name. */
const struct preset *preset_find(const char *name);

/* The i-th row, or NULL behind the last: for listings. */
const struct preset *preset_at(size_t i);

/* "json, vllm, …" without, or only with, add-ons: for error messages. Static string. */
const char *preset_names(void);
const char *preset_addon_names(void);

/*
 * What the configuration says about one pool's checks and load. Zeroed = all as in the preset.
 * Strings are copied. An expression "none" takes the field away.
 */
struct preset_overrides {
	enum preset_check check; /* 0 keeps; HTTP or TCP */
	const char *health_path;
	uint16_t health_port;
	const char *health_expect;       /* the body of a 2xx must contain this */
	const char *health_status_field; /* the body must be JSON, and this key is its status */
	enum metric_format format;       /* 0 keeps; NONE turns scraping off */
	const char *metrics_path;
	uint16_t metrics_port;
	const char *expr[LOAD_FIELD_N];
	enum preset_http http;
	enum preset_progress progress; /* 0 keeps; with an own progress expression: STEP */

	const char *const *addons; /* names of add-on presets, e.g. "dcgm"; at most one of each */
	size_t n_addons;
	uint16_t addon_port; /* 0 keeps; used for every add-on given here */
};

#define PRESET_SOURCES_MAX 3 /* the server's own page and add-ons */

/* A page to scrape. */
struct preset_source {
	char *name; /* the preset it is from: "vllm", "dcgm" */
	char *path;
	uint16_t port; /* 0: the node's serving port */
	enum metric_format format;
	const char *accept; /* value of the Accept header; static */
	/* Redirects to follow, on the same host and port only: some servers send /metrics to
	 * /metrics/. */
	unsigned int max_redirects;
	/* Same path and port as the health check: one request can serve both. */
	bool is_health;
	struct metric_set *set; /* slots are enum load_field */
};

struct preset_spec {
	char *name;
	enum preset_check check;
	char *health_path; /* NULL for TCP */
	uint16_t health_port;
	struct health_rules rules; /* its strings live as long as this spec */
	char *own_expect;          /* owners of strings in rules; NULL if from the table */
	char *own_status_field;
	enum preset_http http;
	enum preset_progress progress;
	struct preset_source sources[PRESET_SOURCES_MAX];
	size_t n_sources;  /* 0: no page tells load; use the flows counted here */
	uint32_t provides; /* LOAD_HAS() bits that some source has an expression for */
};

/* Which override is wrong and how; `key` is as in struct preset_overrides ("expr.queue",
 * "health_path", "addons", …), so that the caller can find its line. */
struct preset_error {
	char key[48];
	size_t pos; /* in an expression's text; 0 otherwise */
	char text[256];
};

/* Returns 0 and a spec to be freed by preset_spec_free(); -EINVAL with *ret_error; -ENOMEM. */
int preset_apply(const struct preset *base, const struct preset_overrides *overrides,
		 struct preset_spec **ret_spec, struct preset_error *ret_error);
void preset_spec_free(struct preset_spec **spec);

#endif
