// SPDX-License-Identifier: BSD-2-Clause
/* The life of a request: routed, read, answered, woken, ended; and the plain pages. */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mockbackend/request_internal.h"

static struct request *job_request(struct engine_job *job)
{
	return (struct request *)((char *)job - offsetof(struct request, job));
}

struct page_peer request_peer(const struct request *req)
{
	return (struct page_peer){.address = req->conn->address, .port = req->conn->port};
}

static struct page_node node_of(const struct request *req)
{
	const struct server *s = req->server;

	return (struct page_node){
		.name = s->name,
		.model = s->model,
		.engine = &s->engine,
		.settings = &s->settings,
		.now_us = server_now_us(s),
		.started_s = s->started_s,
	};
}

void request_suspend(struct request *req)
{
	assert(!req->suspended);
	req->suspended = true;
	MHD_suspend_connection(req->mhd);
}

void request_resume(struct request *req)
{
	if (!req->suspended)
		return;
	req->suspended = false;
	req->server->run_daemon = true;
	MHD_resume_connection(req->mhd);
}

void request_reset_socket(int fd)
{
	struct sockaddr unspec = {.sa_family = AF_UNSPEC};

	if (connect(fd, &unspec, sizeof(unspec)) < 0)
		(void)shutdown(fd, SHUT_RDWR); /* not TCP */
}

void request_break(struct request *req, enum fault_mode how)
{
	if (req->broken)
		return;
	req->broken = how;
	engine_cancel(&req->server->engine, &req->job, server_now_us(req->server));
	server_arm_tick(req->server);
	if (how == FAULT_RESET)
		request_reset_socket(req->conn->fd);
	else
		(void)shutdown(req->conn->fd, SHUT_RDWR);
	request_resume(req);
}

/* ---- pages ---- */

static enum MHD_Result answer_health(struct request *req)
{
	struct page_node node = node_of(req);
	struct page_peer peer = request_peer(req);
	enum MHD_Result r;
	bool ok;

	if (reply_delayed(req, req->server->settings.health_delay_ms, &r))
		return r;
	ok = !strcmp(page_status(&node), "ok");
	return reply_page(req, ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
			  page_health(&node, &peer), "application/json");
}

bool request_is_loading(const struct request *req)
{
	return req->server->settings.loading_until_us > server_now_us(req->server);
}

static enum MHD_Result answer_metrics(struct request *req)
{
	struct page_node node = node_of(req);
	enum MHD_Result r;

	if (reply_delayed(req, req->server->settings.metrics_delay_ms, &r))
		return r;
	if (request_is_loading(req))
		return reply_error(req, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable_error",
				   "loading", "Loading model");
	return reply_page(req, MHD_HTTP_OK, page_metrics(&node),
			  "text/plain; version=0.0.4; charset=utf-8");
}

static enum MHD_Result answer_models(struct request *req)
{
	struct page_node node = node_of(req);
	struct page_peer peer = request_peer(req);

	if (request_is_loading(req))
		return reply_error(req, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable_error",
				   "loading", "Loading model");
	return reply_page(req, MHD_HTTP_OK, page_models(&node, &peer), "application/json");
}

enum MHD_Result request_answer_root(struct request *req)
{
	struct page_peer peer = request_peer(req);

	return reply_page(req, MHD_HTTP_OK, page_identity(req->server->name, &peer),
			  "application/json");
}

/* ---- control ---- */

/* End all live completions: FAULT_RESET or FAULT_CLOSE. */
static void break_all(struct server *s, enum fault_mode how)
{
	for (struct request *req = s->requests; req; req = req->next)
		if (req->job.state == ENGINE_JOB_QUEUED || req->job.state == ENGINE_JOB_RUNNING)
			request_break(req, how);
}

/* Let requests that hang look at the settings again. */
static void retry_hung(struct server *s)
{
	for (struct request *req = s->requests; req; req = req->next) {
		if (req->stage != STAGE_HUNG)
			continue;
		req->stage = STAGE_READY;
		request_resume(req);
	}
}

static enum MHD_Result add_argument(void *cls, enum MHD_ValueKind kind, const char *key,
				    const char *value)
{
	(void)kind;
	return json_object_set_new(cls, key, fault_query_value(value ? value : "")) < 0 ? MHD_NO
											: MHD_YES;
}

/* The JSON body, or else the query. NULL: the body is not JSON. */
static json_t *control_object(struct request *req)
{
	json_t *object;

	if (req->body_len)
		return json_loadb(req->body, req->body_len, 0, NULL);
	object = json_object();
	MHD_get_connection_values(req->mhd, MHD_GET_ARGUMENT_KIND, add_argument, object);
	return object;
}

static enum MHD_Result answer_control(struct request *req)
{
	struct server *s = req->server;
	struct fault_actions actions = {0};
	struct page_peer peer = request_peer(req);
	struct page_node node;
	json_t *object;
	char err[512];
	int r = 0;

	if (!strcmp(req->route->method, "POST")) {
		object = control_object(req);
		r = fault_apply(&s->settings, &s->base, object, server_now_us(s), &actions, err,
				sizeof(err));
		json_decref(object);
	}
	if (r < 0)
		return reply_bad_request(req, err);
	server_apply_settings(s);
	if (actions.break_with)
		break_all(s, actions.break_with);
	if (actions.refuse_ms)
		server_refuse(s, actions.refuse_ms);
	retry_hung(s);
	node = node_of(req);
	return reply_text(req, MHD_HTTP_OK, page_control(&node, &peer), "application/json");
}

/* ---- routing and life ---- */

static const struct route routes[] = {
	{"/", "GET", FAULT_PAGE_API, request_answer_root},
	{"/health", "GET", FAULT_PAGE_HEALTH, answer_health},
	{"/metrics", "GET", FAULT_PAGE_METRICS, answer_metrics},
	{"/v1/models", "GET", FAULT_PAGE_API, answer_models},
	{"/v1/completions", "POST", FAULT_PAGE_API, completion_answer},
	{"/v1/chat/completions", "POST", FAULT_PAGE_API, completion_answer},
	{"/control", "GET", FAULT_PAGE_N, answer_control},
	{"/control", "POST", FAULT_PAGE_N, answer_control},
};

static bool method_fits(const struct route *route, const char *method)
{
	if (!strcmp(method, "HEAD"))
		method = "GET";
	return !strcmp(route->method, method);
}

/* NULL: no such path, or not with this method (*ret_path_known). */
static const struct route *find_route(const char *url, const char *method, bool *ret_path_known)
{
	*ret_path_known = false;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (strcmp(routes[i].path, url))
			continue;
		*ret_path_known = true;
		if (method_fits(&routes[i], method))
			return &routes[i];
	}
	return NULL;
}

static enum MHD_Result answer(struct request *req, const char *url, const char *method)
{
	bool path_known;

	if (req->body_too_big)
		return reply_error(req, MHD_HTTP_CONTENT_TOO_LARGE, "invalid_request_error",
				   "too_large", "the body is too large");
	req->route = find_route(url, method, &path_known);
	if (req->route)
		return req->route->answer(req);
	if (path_known)
		return reply_error(req, MHD_HTTP_METHOD_NOT_ALLOWED, "invalid_request_error",
				   "method_not_allowed", "not with this method");
	return reply_error(req, MHD_HTTP_NOT_FOUND, "invalid_request_error", "not_found",
			   "no such path");
}

static struct request *request_new(struct server *s, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info;
	struct request *req;

	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	if (!info || !info->socket_context)
		return NULL;
	req = calloc(1, sizeof(*req));
	if (!req)
		return NULL;
	req->server = s;
	req->conn = info->socket_context;
	req->conn->request = req;
	req->mhd = mhd;
	req->stage = STAGE_BODY;
	engine_job_init(&req->job, 0, 1);
	req->next = s->requests;
	req->pprev = &s->requests;
	if (req->next)
		req->next->pprev = &req->next;
	s->requests = req;
	return req;
}

/* Keep what fits; a larger body is read to its end and refused then. */
static void add_body(struct request *req, const char *data, size_t size)
{
	size_t need = req->body_len + size;
	char *bigger;

	if (req->body_too_big || need > SERVER_BODY_MAX) {
		req->body_too_big = true;
		return;
	}
	if (need > req->body_size) {
		bigger = realloc(req->body, need * 2);
		if (!bigger) {
			req->body_too_big = true;
			return;
		}
		req->body = bigger;
		req->body_size = need * 2;
	}
	memcpy(req->body + req->body_len, data, size);
	req->body_len = need;
}

enum MHD_Result request_access(void *cls, struct MHD_Connection *mhd, const char *url,
			       const char *method, const char *version, const char *upload,
			       size_t *upload_size, void **con_cls)
{
	struct request *req = *con_cls;

	(void)version;
	if (!req) {
		*con_cls = request_new(cls, mhd);
		return *con_cls ? MHD_YES : MHD_NO;
	}
	if (*upload_size) {
		add_body(req, upload, *upload_size);
		*upload_size = 0;
		return MHD_YES;
	}
	if (req->stage == STAGE_ENGINE)
		return completion_finished(req);
	if (req->broken || (req->stage != STAGE_BODY && req->conn->gone))
		return MHD_NO;
	req->stage = STAGE_READY;
	return answer(req, url, method);
}

void request_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
		       enum MHD_RequestTerminationCode toe)
{
	struct request *req = *con_cls;
	struct server *s = cls;

	(void)mhd;
	(void)toe;
	if (!req)
		return;
	*con_cls = NULL;
	engine_cancel(&s->engine, &req->job, server_now_us(s));
	server_arm_tick(s);
	*req->pprev = req->next;
	if (req->next)
		req->next->pprev = req->pprev;
	if (req->conn->request == req)
		req->conn->request = NULL;
	sd_event_source_disable_unref(req->timer);
	free(req->odd.text);
	free(req->body);
	free(req);
}

void request_wake(struct engine_job *job, void *user)
{
	struct request *req = job_request(job);

	(void)user;
	if (req->ask.stream || job->state == ENGINE_JOB_DONE)
		request_resume(req);
}

void request_hangup(struct conn *conn, struct server *s)
{
	conn->gone = true;
	if (!conn->request)
		return;
	engine_cancel(&s->engine, &conn->request->job, server_now_us(s));
	server_arm_tick(s);
	request_resume(conn->request);
}

void request_end_all(struct server *s)
{
	for (struct request *req = s->requests; req; req = req->next)
		request_break(req, FAULT_CLOSE);
}
