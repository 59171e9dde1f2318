// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/control.h"

#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "userspace/agent/export_server.h"
#include "userspace/agent/http_server.h"
#include "userspace/agent/loop.h"
#include "userspace/agent/report.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

static const char diff_path[] = "/v1/diff";

/* 0.2 and not 0.20000000000000001; whole up to 10^12. */
#define ANSWER_FORMAT (JSON_INDENT(1) | JSON_REAL_PRECISION(12))

struct control {
	struct agent *agent;
	struct http_server *server;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	bool stop; /* after the answers under way */
};

/* --- answers ---------------------------------------------------------------------------------- */

static enum MHD_Result answer(struct MHD_Connection *conn, unsigned int status, json_t *json)
{
	_cleanup_free_ char *dump = json ? json_dumps(json, ANSWER_FORMAT) : NULL;
	char *text = NULL;
	int len = 0;

	json_decref(json);
	if (dump)
		len = asprintf(&text, "%s\n", dump); /* a terminal's next prompt is on its own line */
	return http_server_answer(conn, status, "application/json", len < 0 ? NULL : text,
				  len < 0 ? 0 : (size_t)len);
}

/* Names that a client made up may be no UTF-8, or be cut within a character. */
static json_t *text_json(char *text)
{
	json_t *json = json_string(text);

	if (json)
		return json;
	for (char *p = text; *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return json_string(text);
}

static enum MHD_Result fail(struct MHD_Connection *conn, unsigned int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static enum MHD_Result fail(struct MHD_Connection *conn, unsigned int status, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return answer(conn, status, json_pack("{so}", "error", text_json(text)));
}

/* --- orders ----------------------------------------------------------------------------------- */

/* An empty body is an empty object. *ret_json is the caller's. Returns 0 or -EINVAL. */
static int body_json(const struct http_request *req, json_t **ret_json)
{
	json_t *json;

	json = req->body_len ? json_loadb(req->body, req->body_len, JSON_REJECT_DUPLICATES, NULL)
			     : json_object();
	if (!json_is_object(json)) {
		json_decref(json);
		return -EINVAL;
	}
	*ret_json = json;
	return 0;
}

/* The first key that is none of the two, which may be NULL; NULL if there is none. */
static const char *foreign_key(json_t *body, const char *a, const char *b)
{
	const char *key;
	json_t *value;

	json_object_foreach(body, key, value)
		if ((!a || strcmp(key, a)) && (!b || strcmp(key, b)))
			return key;
	return NULL;
}

/* Takes effect; whoever took the last node out of a pool is to know it. */
static enum MHD_Result answer_ordered(struct MHD_Connection *conn, struct node *node, int64_t now_ms)
{
	json_t *json;

	pool_judge(node->pool, now_ms);
	json = report_node(node, now_ms);
	if (json)
		json_object_set_new(json, "pool_empty", json_boolean(node->pool->verdict.empty));
	return answer(conn, 200, json);
}

static enum MHD_Result order_drain(struct control *c, struct MHD_Connection *conn,
				   struct node *node, const json_t *body)
{
	const json_t *deadline = json_object_get(body, "deadline_ms");
	const json_t *at_once = json_object_get(body, "now");
	bool now = json_is_true(at_once);
	int64_t now_ms = agent_now_ms(c->agent);
	uint64_t at = 0;

	if (at_once && !json_is_boolean(at_once))
		return fail(conn, 400, "now must be true or false");

	if (deadline && !json_is_null(deadline)) {
		if (!json_is_integer(deadline) || json_integer_value(deadline) < 0)
			return fail(conn, 400, "deadline_ms must be a whole number, 0 or more");
		at = agent_boottime_ms() + (uint64_t)json_integer_value(deadline);
	}
	log_info("node %s/%s: %s by the operator", node->pool->name, node->name,
		 now ? "taken out at once" : "drained");
	node_order(node, now ? NODE_ORDER_MAINTENANCE : NODE_ORDER_DRAIN, at, now_ms);
	return answer_ordered(conn, node, now_ms);
}

static enum MHD_Result order_undrain(struct control *c, struct MHD_Connection *conn,
				     struct node *node)
{
	int64_t now_ms = agent_now_ms(c->agent);

	log_info("node %s/%s: put back by the operator", node->pool->name, node->name);
	node_order(node, NODE_ORDER_NONE, 0, now_ms);
	return answer_ordered(conn, node, now_ms);
}

static enum MHD_Result order_weight(struct control *c, struct MHD_Connection *conn,
				    struct node *node, const json_t *body)
{
	const json_t *weight = json_object_get(body, "weight");
	int64_t now_ms = agent_now_ms(c->agent);

	if (json_is_null(weight)) {
		node_unset_weight(node);
	} else {
		if (!json_is_integer(weight) || json_integer_value(weight) < 0 ||
		    json_integer_value(weight) > CONFIG_WEIGHT_MAX)
			return fail(conn, 400, "weight must be a whole number, 0 to %d, or null",
				    CONFIG_WEIGHT_MAX);
		node_set_weight(node, (uint32_t)json_integer_value(weight));
	}
	log_info("node %s/%s: weight %u by the operator", node->pool->name, node->name,
		 node->weight);
	return answer_ordered(conn, node, now_ms);
}

/* What is wrong with a file, or else the one line; errs is freed. */
static enum MHD_Result refuse_file(struct MHD_Connection *conn, unsigned int status,
				   const char *error, struct config_errors *errs)
{
	json_t *json = json_pack("{ss s[]}", "error", error, "errors");
	json_t *list = json_object_get(json, "errors");

	for (uint32_t i = 0; i < errs->n; i++)
		json_array_append_new(list, json_string(errs->items[i].text));
	if (errs->n_dropped)
		json_array_append_new(list, json_sprintf("… and %u more", errs->n_dropped));
	config_errors_free(errs); /* error may be of them */
	return answer(conn, status, json);
}

/* Takes the diff over. */
static enum MHD_Result answer_diff(struct MHD_Connection *conn, const char *result,
				   struct config_diff *diff)
{
	json_t *json = (json_t *)config_diff_json(diff), *lines = json_array();
	char line[1024];

	for (uint32_t i = 0; i < diff->n; i++)
		json_array_append_new(lines, json_string(config_change_format(
						     &diff->changes[i], line, sizeof(line))));
	config_diff_free(&diff);
	if (json) {
		json_object_set_new(json, "result", json_string(result));
		json_object_set(json, "lines", lines);
	}
	json_decref(lines);
	return answer(conn, 200, json);
}

static enum MHD_Result order_reload(struct control *c, struct MHD_Connection *conn)
{
	struct config_errors errs = {};
	struct config_diff *diff = NULL;
	int r = agent_reload(c->agent, &errs, &diff);

	if (r < 0)
		return refuse_file(conn, 409, c->agent->reload_error, &errs);
	config_errors_free(&errs);
	return answer_diff(conn, "reloaded", diff);
}

/* The body stands for the configuration file, under whose name it is read. */
static enum MHD_Result order_diff(struct control *c, struct MHD_Connection *conn,
				  const struct http_request *req)
{
	struct config_errors errs = {};
	struct config_diff *diff = NULL;
	struct config *cfg = NULL;
	int r = config_load_buffer(c->agent->cfg->path, req->body, req->body_len, &cfg, &errs);

	if (r == 0)
		r = config_read_key(cfg, &errs);
	if (r < 0)
		config_free(&cfg);
	if (r < 0)
		return refuse_file(conn, 409, errs.n ? errs.items[0].text : strerror(-r), &errs);
	config_errors_free(&errs);
	r = config_diff(c->agent->cfg, cfg, &diff);
	config_free(&cfg);
	if (r < 0)
		return fail(conn, 500, "%s", strerror(-r));
	return answer_diff(conn, "compared", diff);
}

static enum MHD_Result order_detach(struct control *c, struct MHD_Connection *conn)
{
	struct attach_error err = {};
	int r = agent_detach(c->agent, &err);

	if (r < 0 && r != -EPERM)
		return fail(conn, 500, "%s", err.text);
	if (r == -EPERM)
		log_info("left to the operator, who detaches: %s", err.text);
	else
		log_info("detached by the operator: forwarding has stopped");
	c->stop = true;
	return answer(conn, 200,
		      json_pack("{ss ss ss}", "result", r == -EPERM ? "left" : "detached", "pin_dir",
				c->agent->cfg->pin_dir, "reason", err.text));
}

/* --- routes ----------------------------------------------------------------------------------- */

/* What a POST to a node's page orders. */
static enum MHD_Result route_order(struct control *c, struct MHD_Connection *conn,
				   struct node *node, const char *verb, json_t *body)
{
	bool drain = !strcmp(verb, "drain"), weight = !strcmp(verb, "weight");
	const char *foreign;

	if (!drain && !weight && strcmp(verb, "undrain"))
		return fail(conn, 404, "no such order: %s; there are drain, undrain, weight", verb);
	foreign = foreign_key(body, drain ? "deadline_ms" : weight ? "weight" : NULL,
			      drain ? "now" : NULL);
	if (foreign)
		return fail(conn, 400, "%s knows no '%s'; accepted: %s", verb, foreign,
			    drain ? "deadline_ms, now" : weight ? "weight" : "nothing");
	if (drain)
		return order_drain(c, conn, node, body);
	return weight ? order_weight(c, conn, node, body) : order_undrain(c, conn, node);
}

static enum MHD_Result route_node(struct control *c, struct MHD_Connection *conn,
				  const char *rest, const struct http_request *req)
{
	char name[2 * LB_NAME_MAX + 1];
	const char *verb = strrchr(rest, '/');
	bool post = !strcmp(req->method, "POST"), ambiguous;
	enum MHD_Result ret;
	json_t *body = NULL;
	struct node *node;
	size_t len = strlen(rest);

	if (post) {
		if (!verb)
			return fail(conn, 404, "no such order");
		len = (size_t)(verb - rest);
	}
	if (len >= sizeof(name))
		return fail(conn, 404, "no such node");
	memcpy(name, rest, len);
	name[len] = '\0';
	node = agent_find_node(c->agent, name, &ambiguous);
	if (!node)
		return fail(conn, 404,
			    ambiguous ? "node %s is in more than one pool: say POOL/%s"
				      : "no node is called %s", name, name);
	if (!post)
		return answer(conn, 200, report_node(node, agent_now_ms(c->agent)));
	if (body_json(req, &body) < 0)
		return fail(conn, 400, "the body must be a JSON object");
	ret = route_order(c, conn, node, verb + 1, body);
	json_decref(body);
	return ret;
}

static enum MHD_Result route_get(struct control *c, struct MHD_Connection *conn, const char *url)
{
	int64_t now_ms = agent_now_ms(c->agent);

	if (!strcmp(url, "/v1/status"))
		return answer(conn, 200, report_status(c->agent, now_ms));
	if (!strcmp(url, "/v1/backends"))
		return answer(conn, 200, report_nodes(c->agent, now_ms));
	if (!strcmp(url, "/metrics"))
		return export_server_answer(c->agent, conn);
	if (!strcmp(url, "/v1/vips"))
		return answer(conn, 200, report_vips(c->agent));
	return fail(conn, 404, "no such page: %s", url);
}

static enum MHD_Result route(void *userdata, struct MHD_Connection *conn,
			     const struct http_request *req)
{
	static const char nodes[] = "/v1/backends/";
	struct control *c = userdata;
	bool get = !strcmp(req->method, "GET");

	if (req->too_long)
		return fail(conn, 413, "the body is over %zu bytes", req->body_max);
	if (!get && strcmp(req->method, "POST"))
		return fail(conn, 405, "use GET or POST");
	if (!strncmp(req->path, nodes, sizeof(nodes) - 1))
		return route_node(c, conn, req->path + sizeof(nodes) - 1, req);
	if (get)
		return route_get(c, conn, req->path);
	if (!strcmp(req->path, "/v1/reload"))
		return order_reload(c, conn);
	if (!strcmp(req->path, diff_path))
		return order_diff(c, conn, req);
	if (!strcmp(req->path, "/v1/detach"))
		return order_detach(c, conn);
	return fail(conn, 404, "no such order: %s", req->path);
}

/* A whole configuration file goes to one page only. */
static size_t body_max_of(void *userdata, const char *method, const char *path)
{
	(void)userdata;
	(void)method;
	return strcmp(path, diff_path) ? CONTROL_BODY_MAX : CONFIG_FILE_SIZE_MAX;
}

static void on_answered(void *userdata)
{
	struct control *c = userdata;

	if (c->stop)
		loop_stop(c->agent->event);
}

/* --- the socket ------------------------------------------------------------------------------- */

/* Whether somebody accepts connections there. */
static bool is_answered(const struct sockaddr_un *sa)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0;
}

static void make_parent(const char *path)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return;
	*slash = '\0';
	(void)mkdir(dir, 0755);
}

static int set_owner(const struct config *cfg)
{
	const struct group *gr;

	if (chmod(cfg->socket, cfg->socket_mode) < 0)
		return -errno;
	if (!cfg->socket_group)
		return 0;
	gr = getgrnam(cfg->socket_group);
	if (!gr)
		return -ESRCH;
	return chown(cfg->socket, (uid_t)-1, gr->gr_gid) < 0 ? -errno : 0;
}

/* A socket that a dead agent left; anything else is not ours to remove. */
static int remove_stale(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	return unlink(path) < 0 ? -errno : 0;
}

static int listen_on(const struct config *cfg, int *ret_fd)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	mode_t mask;
	int r;

	if (strlen(cfg->socket) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", cfg->socket);
	if (is_answered(&sa))
		return -EADDRINUSE;
	make_parent(cfg->socket);
	r = remove_stale(cfg->socket);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return r;
	r = set_owner(cfg);
	if (r == 0 && listen(fd, 64) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(cfg->socket);
		return r;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void explain(const struct config *cfg, int r, struct attach_error *err)
{
	if (r == -ESRCH)
		snprintf(err->text, sizeof(err->text),
			 "control socket %s: socket_group: there is no group '%s'", cfg->socket,
			 cfg->socket_group);
	else
		snprintf(err->text, sizeof(err->text), "control socket %s: %s", cfg->socket,
			 r == -EADDRINUSE ? "another agent answers there"
			 : r == -EEXIST	  ? "something that is no socket is there"
					  : strerror(-r));
}

int control_new(struct agent *agent, struct control **ret, struct attach_error *err)
{
	struct http_server_settings settings = {
		.connections_max = CONTROL_CONNECTIONS_MAX,
		.timeout_s = CONTROL_TIMEOUT_S,
		.body_max_of = body_max_of,
		.on_request = route,
		.on_answered = on_answered,
	};
	struct control *c = calloc(1, sizeof(*c));
	int r = -ENOMEM;

	if (c) {
		c->agent = agent;
		settings.userdata = c;
		r = listen_on(agent->cfg, &settings.fd);
	}
	if (r == 0) {
		snprintf(c->path, sizeof(c->path), "%s", agent->cfg->socket);
		r = http_server_new(agent->event, &settings, &c->server);
	}
	if (r < 0) {
		explain(agent->cfg, r, err);
		control_free(&c);
		return r;
	}
	*ret = c;
	return 0;
}

void control_free(struct control **c)
{
	if (!*c)
		return;
	http_server_free(&(*c)->server);
	if ((*c)->path[0])
		(void)unlink((*c)->path);
	free(*c);
	*c = NULL;
}
