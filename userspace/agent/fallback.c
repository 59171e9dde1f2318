// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/fallback.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "userspace/agent/agent.h"
#include "userspace/agent/fallback_cache.h"
#include "userspace/agent/fallback_server.h"
#include "userspace/agent/local_delivery.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/file_read.h"
#include "userspace/lib/log.h"

/* So long after a pool was last empty its packets may still be for this host. */
#define LINGER_MS (PUBLISH_LOCAL_IDLE_MS + 10000)

#define ERROR_MAX 256

/* A VIP, as long as it is configured. */
struct place {
	char name[LB_NAME_MAX];
	struct endpoint endpoint;
	const struct config_vip *cfg; /* of the configuration in force */
	struct fallback_counters *counters;
	struct fallback_blob *body; /* of body_file; NULL: the built-in one */
	struct fallback_site *site;
	bool wanted; /* while a configuration is taken over */
	int64_t retry_ms; /* to listen */
	char listen_error[ERROR_MAX];
	char body_error[ERROR_MAX];
};

struct fallback {
	struct agent *agent;
	struct fallback_board *board;
	struct fallback_server *server;
	struct fallback_cache *cache;
	struct local_delivery *local;
	struct place **places;
	uint32_t n_places;
	uint32_t connections;
	int64_t tick_ms;
	int local_error; /* as last logged */
	bool board_dirty;
};

static int64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static struct place *find_place(const struct fallback *f, const char *name)
{
	for (uint32_t i = 0; i < f->n_places; i++)
		if (!strcmp(f->places[i]->name, name))
			return f->places[i];
	return NULL;
}

static const struct vip *find_vip(const struct agent *agent, const char *name)
{
	for (uint32_t i = 0; i < agent->n_vips; i++)
		if (!strcmp(agent->vips[i]->name, name))
			return agent->vips[i];
	return NULL;
}

/* --- files ------------------------------------------------------------------------------------ */

/* A regular file of at most FALLBACK_BODY_MAX bytes. */
static int read_file(const char *path, struct fallback_blob **ret)
{
	_cleanup_free_ char *buf = NULL;
	struct fallback_blob *blob;
	size_t len = 0;
	int r;

	r = file_read(path, FALLBACK_BODY_MAX, &buf, &len);
	if (r < 0)
		return r;
	blob = fallback_blob_new(buf, len);
	explicit_bzero(buf, len); /* it may be a key */
	if (!blob)
		return -ENOMEM;
	*ret = blob;
	return 0;
}

/* Log an error when it is a new one. */
static void set_error(char *error, const struct place *place, const char *text)
{
	if (strcmp(error, text)) {
		if (*text)
			log_error("vip %s: fallback: %s", place->name, text);
		else
			log_info("vip %s: fallback: good again", place->name);
	}
	snprintf(error, ERROR_MAX, "%s", text);
}

/* What cannot be read now is answered as it was, or with the built-in body. */
static void read_body(struct place *place)
{
	const char *path = place->cfg->fallback.body_file;
	struct fallback_blob *body = NULL;
	char text[ERROR_MAX] = "";
	int r = path ? read_file(path, &body) : 0;

	if (r < 0) {
		snprintf(text, sizeof(text), "body_file %s: %s", path, strerror(-r));
	} else {
		fallback_blob_unref(&place->body);
		place->body = body;
	}
	set_error(place->body_error, place, text);
}

/* --- listening -------------------------------------------------------------------------------- */

static int listen_tls(struct fallback *f, struct place *place, char text[ERROR_MAX])
{
	const struct config_fallback *cfg = &place->cfg->fallback;
	struct fallback_blob *certificate = NULL, *key = NULL;
	const char *file = cfg->certificate_file;
	int r;

	r = read_file(file, &certificate);
	if (r == 0) {
		file = cfg->key_file;
		r = read_file(file, &key);
	}
	if (r < 0) {
		snprintf(text, ERROR_MAX, "%s: %s", file, strerror(-r));
	} else {
		struct fallback_tls tls = {.certificate = certificate->data, .key = key->data};

		r = fallback_server_listen(f->server, &place->endpoint, &tls);
		explicit_bzero(key->data, key->len);
		if (r == -EKEYREJECTED)
			snprintf(text, ERROR_MAX, "%s and %s are no certificate and its key",
				 cfg->certificate_file, cfg->key_file);
	}
	fallback_blob_unref(&certificate);
	fallback_blob_unref(&key);
	return r;
}

static void listen_at(struct fallback *f, struct place *place, int64_t now_ms)
{
	char text[ERROR_MAX] = "", at[ENDPOINT_TEXT_MAX];
	int r;

	place->retry_ms = INT64_MAX;
	if (!place->cfg->fallback.enabled)
		r = fallback_server_refuse(f->server, &place->endpoint);
	else if (place->cfg->fallback.certificate_file)
		r = listen_tls(f, place, text);
	else
		r = fallback_server_listen(f->server, &place->endpoint, NULL);
	if (r < 0) {
		place->retry_ms = now_ms + FALLBACK_RETRY_MS;
		if (!*text)
			snprintf(text, sizeof(text), "cannot listen on %s: %s",
				 endpoint_format(&place->endpoint, at), strerror(-r));
	}
	set_error(place->listen_error, place, text);
}

/* --- delivery --------------------------------------------------------------------------------- */

static void note_local(struct fallback *f, int r)
{
	if (r == f->local_error)
		return;
	f->local_error = r;
	if (r < 0)
		log_error("fallback: routing rules: %s: packets for VIPs with no node left may not "
			  "reach this host's answers", strerror(-r));
	else
		log_info("fallback: routing rules are good again");
}

static int keep_local(struct fallback *f, const struct endpoint *ep, int64_t now_ms)
{
	char text[ENDPOINT_TEXT_MAX];

	if (!local_delivery_has(f->local, ep))
		log_debug("fallback: packets for %s are taken by this host",
			  endpoint_format(ep, text));
	return local_delivery_keep(f->local, ep, now_ms + LINGER_MS);
}

void fallback_pool_empty(struct fallback *f, const struct pool *pool, int64_t now_ms)
{
	const struct config *cfg = f->agent->cfg;
	int r = 0;

	for (uint32_t i = 0; i < cfg->n_vips; i++) {
		int r2;

		if (strcmp(cfg->pools[cfg->vips[i].pool].name, pool->name))
			continue;
		r2 = keep_local(f, &cfg->vips[i].endpoint, now_ms);
		r = r < 0 ? r : r2;
	}
	note_local(f, r);
}

/* Its slots name this host. */
static bool is_answering(const struct pool *pool)
{
	return pool->settled && pool->verdict.empty;
}

static void tick_local(struct fallback *f, int64_t now_ms)
{
	const struct agent *agent = f->agent;
	int r = 0, r2;

	for (uint32_t i = 0; i < agent->n_vips; i++) {
		const struct vip *vip = agent->vips[i];

		if (!is_answering(vip->pool))
			continue;
		r2 = keep_local(f, &vip->cfg->endpoint, now_ms);
		r = r < 0 ? r : r2;
	}
	r2 = local_delivery_tick(f->local, now_ms);
	note_local(f, r < 0 ? r : r2);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void make_site(struct fallback *f, struct place *place)
{
	struct fallback_cached cached[CONFIG_CACHE_MAX];
	uint32_t n = fallback_cache_list(f->cache, place->name, cached);
	struct fallback_site *site;
	int r;

	r = fallback_site_new(&place->endpoint, &place->cfg->fallback, place->body,
			      place->counters, cached, n, &site);
	if (r < 0) {
		log_error("vip %s: fallback: %s: answers stay as they are", place->name,
			  strerror(-r));
		return;
	}
	fallback_site_unref(&place->site);
	place->site = site;
	f->board_dirty = true;
}

static void set_board(struct fallback *f)
{
	_cleanup_free_ struct fallback_site **sites = calloc(f->n_places + 1, sizeof(*sites));
	uint32_t n = 0;

	if (!sites)
		return;
	for (uint32_t i = 0; i < f->n_places; i++)
		if (f->places[i]->site)
			sites[n++] = f->places[i]->site;
	if (fallback_board_set(f->board, sites, n) == 0)
		f->board_dirty = false;
}

static void on_cache_changed(void *userdata, const char *vip)
{
	struct fallback *f = userdata;
	struct place *place = find_place(f, vip);

	if (!place)
		return;
	make_site(f, place);
	set_board(f);
}

/* Where clients of the VIP are served on this node, asked in the way its health check is. */
static void source_of(const struct place *place, const struct node *node,
		      struct fallback_source *ret)
{
	const struct config_check *check = node->cfg->check;

	*ret = (struct fallback_source){
		.target = node->endpoint,
		.http = check->http,
		.connect_timeout_ms = check->connect_timeout_ms,
		.timeout_ms = check->timeout_ms,
	};
	if (check->http.scheme == CONFIG_SCHEME_TCP ||
	    (check->port && check->port != node->endpoint.port))
		ret->http.scheme = place->cfg->fallback.certificate_file ? CONFIG_SCHEME_HTTPS
									 : CONFIG_SCHEME_HTTP;
}

static bool on_pick(void *userdata, const char *vip_name, uint32_t turn,
		    struct fallback_source *ret)
{
	struct fallback *f = userdata;
	const struct vip *vip = find_vip(f->agent, vip_name);
	const struct place *place = find_place(f, vip_name);
	uint32_t n = vip ? vip->pool->n_nodes : 0;

	for (uint32_t i = 0; place && i < n; i++) {
		const struct node *node = vip->pool->nodes[(turn + i) % n];

		if (node->health.state != LB_STATE_HEALTHY &&
		    node->health.state != LB_STATE_WARMING)
			continue;
		source_of(place, node, ret);
		return true;
	}
	return false;
}

static const struct fallback_cache_ops cache_ops = {.pick = on_pick, .changed = on_cache_changed};

/* --- configuration ---------------------------------------------------------------------------- */

static void place_free(struct place *place)
{
	fallback_counters_unref(&place->counters);
	fallback_blob_unref(&place->body);
	fallback_site_unref(&place->site);
	free(place);
}

static struct place *add_place(struct fallback *f, const char *name)
{
	struct place **places = reallocarray(f->places, f->n_places + 1, sizeof(*places));
	struct place *place;

	if (!places)
		return NULL;
	f->places = places;
	place = calloc(1, sizeof(*place));
	if (place)
		place->counters = fallback_counters_new();
	if (!place || !place->counters) {
		free(place);
		return NULL;
	}
	snprintf(place->name, sizeof(place->name), "%s", name);
	places[f->n_places++] = place;
	return place;
}

/* An endpoint may move from one VIP to another: what goes, goes first. */
static void leave_places(struct fallback *f, const struct config *cfg)
{
	for (uint32_t i = f->n_places; i-- > 0;) {
		struct place *place = f->places[i];
		int k = config_find_vip(cfg, place->name);

		if (k >= 0 && endpoint_equal(&cfg->vips[k].endpoint, &place->endpoint))
			continue;
		fallback_server_unlisten(f->server, &place->endpoint);
		if (k >= 0)
			continue;
		fallback_cache_forget(f->cache, place->name);
		f->places[i] = f->places[--f->n_places];
		place_free(place);
	}
}

static void apply_vip(struct fallback *f, const struct config *cfg, const struct config_vip *vip,
		      int64_t now_ms)
{
	struct place *place = find_place(f, vip->name);

	if (!place)
		place = add_place(f, vip->name);
	if (!place || fallback_cache_set(f->cache, vip->name, cfg->pools[vip->pool].name,
					 &vip->fallback) < 0)
		log_error("vip %s: fallback: out of memory", vip->name);
	if (!place)
		return;
	place->cfg = vip;
	place->endpoint = vip->endpoint;
	read_body(place);
	make_site(f, place);
	listen_at(f, place, now_ms);
}

void fallback_apply(struct fallback *f, int64_t now_ms)
{
	const struct config *cfg = f->agent->cfg;

	leave_places(f, cfg);
	for (uint32_t i = 0; i < cfg->n_vips; i++)
		apply_vip(f, cfg, &cfg->vips[i], now_ms);
	set_board(f);
	tick_local(f, now_ms);
}

void fallback_tick(struct fallback *f, int64_t now_ms)
{
	if (now_ms < f->tick_ms)
		return;
	f->tick_ms = now_ms + FALLBACK_TICK_MS;
	fallback_cache_tick(f->cache, now_ms);
	for (uint32_t i = 0; i < f->n_places; i++)
		if (now_ms >= f->places[i]->retry_ms)
			listen_at(f, f->places[i], now_ms);
	if (f->board_dirty)
		set_board(f);
	fallback_server_sweep(f->server);
	tick_local(f, now_ms);
}

void fallback_detach(struct fallback *f)
{
	int r = local_delivery_clear(f->local);

	if (r < 0)
		log_error("fallback: routing rules could not be taken back: %s", strerror(-r));
}

/* --- start and stop --------------------------------------------------------------------------- */

/* Clients in a crowd must leave descriptors for checks. */
static uint32_t allowed_connections(uint32_t wanted)
{
	struct rlimit lim;
	uint32_t most;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur == RLIM_INFINITY ||
	    lim.rlim_cur / 2 >= wanted)
		return wanted;
	most = (uint32_t)(lim.rlim_cur / 2);
	log_warn("limits.fallback_connections: %u of %u, since this process may open only %llu "
		 "files", most, wanted, (unsigned long long)lim.rlim_cur);
	return most;
}

int fallback_new(struct agent *agent, uint32_t connections, int64_t now_ms, struct fallback **ret)
{
	struct fallback_server_settings settings = {.now_ms = clock_ms};
	struct fallback *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->agent = agent;
	f->connections = settings.connections = allowed_connections(connections);
	f->board = settings.board = fallback_board_new();
	r = f->board ? fallback_cache_new(agent->event, &cache_ops, f, &f->cache) : -ENOMEM;
	if (r == 0)
		r = local_delivery_new(now_ms + LINGER_MS, &f->local);
	if (r == 0)
		r = fallback_server_new(&settings, &f->server);
	if (r < 0) {
		fallback_free(&f);
		return r;
	}
	*ret = f;
	return 0;
}

void fallback_free(struct fallback **f)
{
	struct fallback *x = *f;

	if (!x)
		return;
	fallback_server_free(&x->server);
	fallback_cache_free(&x->cache);
	for (uint32_t i = 0; i < x->n_places; i++)
		place_free(x->places[i]);
	free(x->places);
	fallback_board_free(&x->board);
	local_delivery_free(&x->local);
	free(x);
	*f = NULL;
}

/* --- reports ---------------------------------------------------------------------------------- */

static json_t *report_cache(struct fallback *f, const char *vip, int64_t now_ms)
{
	struct fallback_cache_report kept[CONFIG_CACHE_MAX];
	uint32_t n = fallback_cache_report(f->cache, vip, kept);
	json_t *list = json_array();

	for (uint32_t i = 0; i < n; i++) {
		const struct fallback_cache_report *k = &kept[i];
		json_t *age = k->fetched_ms < 0 ? json_null()
						: json_integer(now_ms - k->fetched_ms);

		json_array_append_new(
			list, json_pack("{ss so sI sI sI ss}", "path", k->path, "age_ms", age,
					"max_age_ms", (json_int_t)k->max_age_ms, "fetched",
					(json_int_t)k->n_ok, "failed", (json_int_t)k->n_failed,
					"error", k->error));
	}
	return list;
}

void fallback_vip_stats(struct fallback *f, const struct vip *vip,
			struct fallback_vip_stats *ret_stats)
{
	const struct place *place = find_place(f, vip->name);

	*ret_stats = (struct fallback_vip_stats){};
	if (!place)
		return;
	ret_stats->listening = fallback_server_listens(f->server, &place->endpoint);
	ret_stats->degraded = __atomic_load_n(&place->counters->degraded, __ATOMIC_RELAXED);
	ret_stats->cached = __atomic_load_n(&place->counters->cached, __ATOMIC_RELAXED);
}

void fallback_stats(struct fallback *f, struct fallback_server_stats *ret_stats,
		    uint32_t *ret_connections_max)
{
	fallback_server_stats(f->server, ret_stats);
	*ret_connections_max = f->connections;
}

json_t *fallback_report_vip(struct fallback *f, const struct vip *vip, int64_t now_ms)
{
	const struct place *place = find_place(f, vip->name);
	const struct fallback_counters *n;

	if (!place)
		return json_null();
	n = place->counters;
	return json_pack(
		"{sb sb sb sb ss ss sI sI so}", "enabled", place->cfg->fallback.enabled, "answering",
		is_answering(vip->pool), "listening",
		fallback_server_listens(f->server, &place->endpoint), "delivered_here",
		local_delivery_has(f->local, &place->endpoint), "scheme",
		place->cfg->fallback.certificate_file ? "https" : "http", "error",
		*place->listen_error ? place->listen_error : place->body_error, "degraded_answers",
		(json_int_t)__atomic_load_n(&n->degraded, __ATOMIC_RELAXED), "cached_answers",
		(json_int_t)__atomic_load_n(&n->cached, __ATOMIC_RELAXED), "cache",
		report_cache(f, place->name, now_ms));
}

json_t *fallback_report(struct fallback *f)
{
	struct fallback_server_stats s;

	fallback_server_stats(f->server, &s);
	return json_pack("{si si sI sI sI ss}", "connections", (int)s.open, "connections_max",
			 (int)f->connections, "accepted", (json_int_t)s.accepted, "refused",
			 (json_int_t)s.refused, "expired", (json_int_t)s.expired, "delivery_error",
			 f->local_error ? strerror(-f->local_error) : "");
}
