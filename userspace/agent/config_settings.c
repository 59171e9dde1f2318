/* SPDX-License-Identifier: BSD-2-Clause */
/* Defaults, a preset, and the layers of the file over them -> how nodes are checked and judged. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "userspace/agent/config_schema.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/duration.h"

#define STALE_MIN_MS 2000
#define LOW_OF_HIGH                                                                                \
	0.95 /* where a dimension ends to be degraded, if only its beginning is given              \
	      */

struct layers {
	struct config_ctx *ctx;
	const struct config_layer *layer;
	size_t n;
};

/* Where a setting was given last. */
struct place {
	struct config_path section;
	struct config_path key;
	const struct yaml_node *node; /* NULL: nowhere */
};

static struct place *place_find(const struct layers *l, const char *section, const char *key,
				struct place *ret)
{
	ret->node = NULL;
	for (size_t i = l->n; i-- > 0 && !ret->node;) {
		const struct yaml_node *node = l->layer[i].node;

		ret->section = (struct config_path){.up = l->layer[i].path, .key = section};
		ret->key = (struct config_path){.up = &ret->section, .key = key};
		ret->node = yaml_get(section ? yaml_get(node, section) : node, key);
	}
	if (!section)
		ret->key.up = ret->section.up;
	return ret;
}

/* Where to complain about a setting: where it is given, else at its section, else at the whole. */
static const struct config_path *place_report(const struct layers *l, const char *section,
					      const char *key, struct place *ret)
{
	const struct config_layer *inner = &l->layer[l->n - 1];

	if (place_find(l, section, key, ret)->node)
		return &ret->key;
	if (section && place_find(l, NULL, section, ret)->node)
		return &ret->key;
	ret->node = inner->node;
	return inner->path;
}

#define fail_setting(l, section, name, ...)                                                        \
	do {                                                                                       \
		struct place at_;                                                                  \
		const struct config_path *path_ = place_report(l, section, name, &at_);            \
		config_fail((l)->ctx, at_.node, path_, __VA_ARGS__);                               \
	} while (0)

static void apply_section(const struct layers *l, const char *section, const struct schema *schema,
			  struct config_settings *s)
{
	for (size_t i = 0; i < l->n; i++) {
		struct config_path path = {.up = l->layer[i].path, .key = section};

		schema_apply(l->ctx, schema, l->layer[i].place, yaml_get(l->layer[i].node, section),
			     &path, s);
	}
}

/* Keys of struct preset_error -> the file's. */
struct key_name {
	const char *preset;
	const char *section;
	const char *key;
};

static const struct key_name *key_of(const char *preset_key)
{
	static const struct key_name names[] = {
		{"health_path", "check", "path"},
		{"health_expect", "check", "expect"},
		{"health_status_field", "check", "status_field"},
		{"metrics_path", "load", "path"},
		{"format", "load", "format"},
		{"addons", "load", "addons"},
		{"expr.queue", "load", "queue"},
		{"expr.running", "load", "running"},
		{"expr.kv", "load", "kv"},
		{"expr.gpu_memory", "load", "gpu_memory"},
		{"expr.progress", "load", "progress"},
		{"expr.aborts", "load", "aborts"},
		{"expr.slots", "load", "slots"},
		{"preset", NULL, "preset"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i].preset, preset_key) == 0)
			return &names[i];
	return &names[ARRAY_SIZE(names) - 1];
}

static void fail_preset(const struct layers *l, const struct preset_error *e)
{
	const struct key_name *name = key_of(e->key);

	if (strncmp(e->key, "expr.", 5) == 0)
		fail_setting(l, name->section, name->key, "at character %zu: %s", e->pos + 1,
			     e->text);
	else
		fail_setting(l, name->section, name->key, "%s", e->text);
}

/* Take a bad expression away, so that the next one is found too. */
static bool drop_bad(struct config_settings *s, const struct preset_error *e)
{
	for (int i = 0; i < LOAD_FIELD_N; i++) {
		if (strncmp(e->key, "expr.", 5) != 0 || !s->over.expr[i] ||
		    strcmp(load_field_name((enum load_field)i), e->key + 5) != 0 ||
		    strcmp(s->over.expr[i], "none") == 0)
			continue;
		s->over.expr[i] = "none";
		return true;
	}
	return false;
}

/* A preset that reads health and load from one page keeps doing so when its check moves. */
static struct preset_overrides follow_check(const struct preset *base,
					    const struct preset_overrides *over)
{
	struct preset_overrides o = *over;

	if (!base->metrics_path || !base->health_path || base->metrics_port != base->health_port ||
	    strcmp(base->metrics_path, base->health_path) != 0 || o.check == PRESET_CHECK_TCP)
		return o;
	if (!o.metrics_path)
		o.metrics_path = o.health_path;
	if (!o.metrics_port)
		o.metrics_port = o.health_port;
	return o;
}

/* Returns 0, also when errors were reported (spec stays NULL then); -ENOMEM. */
static int resolve_preset(const struct layers *l, const struct preset *base,
			  struct config_settings *s)
{
	struct preset_overrides over;
	struct preset_error e;
	int r;

	do {
		over = follow_check(base, &s->over);
		r = preset_apply(base, &over, &s->spec, &e);
		if (r == -EINVAL)
			fail_preset(l, &e);
	} while (r == -EINVAL && drop_bad(s, &e));
	return r == -ENOMEM ? r : 0;
}

static void fill_pages(struct config_settings *s)
{
	struct preset_spec *spec = s->spec;

	s->load.n_pages = (uint32_t)spec->n_sources;
	for (size_t i = 0; i < spec->n_sources; i++) {
		const struct preset_source *source = &spec->sources[i];
		struct config_page *page = &s->load.pages[i];
		bool own = strcmp(source->name, spec->name) == 0;

		*page = (struct config_page){
			.http = {.scheme = CONFIG_SCHEME_HTTP,
				 .version = PRESET_HTTP_AUTO,
				 .verify = true},
			.path = source->path,
			.port = source->port,
			.source = source,
		};
		if (own)
			page->http = s->load_http;
	}
}

static bool is_given(const struct layers *l, const char *section, const char *key)
{
	struct place place;

	return place_find(l, section, key, &place)->node != NULL;
}

/* Defaults that are one side of a pair give way to the side that was given. */
static void fill_pairs(const struct layers *l, struct config_settings *s)
{
	struct config_thresholds *t = &s->thresholds;

	if (s->check.connect_timeout_ms > s->check.timeout_ms &&
	    !is_given(l, "check", "connect_timeout"))
		s->check.connect_timeout_ms = s->check.timeout_ms;
	if (t->kv_low_ratio > t->kv_high_ratio && !is_given(l, "thresholds", "kv_low"))
		t->kv_low_ratio = t->kv_high_ratio * LOW_OF_HIGH;
	if (t->gpu_memory_low_ratio > t->gpu_memory_high_ratio &&
	    !is_given(l, "thresholds", "gpu_memory_low"))
		t->gpu_memory_low_ratio = t->gpu_memory_high_ratio * LOW_OF_HIGH;
	if (t->flap_hold_ms > t->flap_hold_max_ms && !is_given(l, "thresholds", "flap_hold_max"))
		t->flap_hold_max_ms = t->flap_hold_ms;
	else if (t->flap_hold_ms > t->flap_hold_max_ms && !is_given(l, "thresholds", "flap_hold"))
		t->flap_hold_ms = t->flap_hold_max_ms;
}

/* What nobody said follows from the rest. */
static void fill_gaps(const struct layers *l, struct config_settings *s)
{
	fill_pairs(l, s);
	if (s->load.stale_ms == 0) {
		s->load.stale_ms = 3 * s->load.interval_ms;
		if (s->load.stale_ms < STALE_MIN_MS)
			s->load.stale_ms = STALE_MIN_MS;
	}
	if (!s->spec)
		return;
	if (s->check.http.scheme == 0)
		s->check.http.scheme = CONFIG_SCHEME_HTTP;
	if (s->spec->check == PRESET_CHECK_TCP)
		s->check.http.scheme = CONFIG_SCHEME_TCP;
	if (s->check.http.version == 0)
		s->check.http.version = s->spec->http;
	if (s->load_http.version == 0)
		s->load_http.version = s->spec->http;
	s->check.path = s->spec->health_path;
	s->check.port = s->spec->health_port;
	fill_pages(s);
}

static void check_pair(const struct layers *l, const char *section, const struct config_http *http)
{
	if (!http->cert_file == !http->key_file)
		return;
	if (http->cert_file)
		fail_setting(l, section, "cert_file", "needs key_file beside it");
	else
		fail_setting(l, section, "key_file", "needs cert_file beside it");
}

static void check_settings(const struct layers *l, const struct config_settings *s)
{
	const struct config_thresholds *t = &s->thresholds;
	char text[DURATION_TEXT_MAX];

	if (s->check.connect_timeout_ms > s->check.timeout_ms)
		fail_setting(l, "check", "connect_timeout", "is longer than the whole timeout, %s",
			     duration_format(s->check.timeout_ms, text));
	if (s->load.stale_ms < s->load.interval_ms)
		fail_setting(l, "load", "stale", "is shorter than the interval of scrapes, %s",
			     duration_format(s->load.interval_ms, text));
	check_pair(l, "check", &s->check.http);
	if (s->load_http.cert_file != s->check.http.cert_file ||
	    s->load_http.key_file != s->check.http.key_file)
		check_pair(l, "load", &s->load_http);
	if (t->kv_low_ratio > t->kv_high_ratio)
		fail_setting(l, "thresholds", "kv_low", "is over kv_high, %g", t->kv_high_ratio);
	if (t->gpu_memory_low_ratio > t->gpu_memory_high_ratio)
		fail_setting(l, "thresholds", "gpu_memory_low", "is over gpu_memory_high, %g",
			     t->gpu_memory_high_ratio);
	if (t->flap_hold_ms > t->flap_hold_max_ms)
		fail_setting(l, "thresholds", "flap_hold", "is longer than flap_hold_max, %s",
			     duration_format(t->flap_hold_max_ms, text));
}

struct config_settings *config_settings_resolve(struct config_ctx *ctx, const char *preset,
						const struct config_layer *layers, size_t n)
{
	struct layers l = {.ctx = ctx, .layer = layers, .n = n};
	const struct preset *base = preset ? preset_find(preset) : NULL;
	struct config_settings *s;

	assert(n > 0);

	s = arena_alloc(ctx->cfg->arena, 1, sizeof(*s));
	if (!s)
		return NULL;
	s->next = ctx->cfg->settings;
	ctx->cfg->settings = s;
	config_settings_defaults(s);
	apply_section(&l, "check", &schema_check, s);
	if (s->check.http.scheme != 0)
		s->over.check = s->check.http.scheme == CONFIG_SCHEME_TCP ? PRESET_CHECK_TCP
									  : PRESET_CHECK_HTTP;
	s->load_http = s->check.http; /* as health is asked for, unless load says otherwise */
	if (s->load_http.scheme != CONFIG_SCHEME_HTTPS)
		s->load_http.scheme = CONFIG_SCHEME_HTTP;
	apply_section(&l, "load", &schema_load, s);
	apply_section(&l, "thresholds", &schema_thresholds, s);
	if (base && resolve_preset(&l, base, s) < 0) {
		ctx->no_memory = true;
		return NULL;
	}
	fill_gaps(&l, s);
	check_settings(&l, s);
	return s;
}
