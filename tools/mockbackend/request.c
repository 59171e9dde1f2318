// SPDX-License-Identifier: BSD-2-Clause
#include "tools/mockbackend/request.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLOW_BYTE_US   100000ULL
#define GARBAGE_BYTES  777U
#define READER_BLOCK   4096U
#define PAD_LINE       "# padding padding padding padding padding padding padding paddin\n"
#define RETRY_AFTER_MS 1500

enum request_stage {
	STAGE_BODY = 1, /* the body is still coming */
	STAGE_READY,    /* to be answered */
	STAGE_DELAYED,  /* to be answered when its timer ends */
	STAGE_HUNG,     /* to be answered when the fault is taken back */
	STAGE_ENGINE,   /* a job of the engine */
	STAGE_ANSWERED, /* the answer is with libmicrohttpd */
};

enum stream_step {
	STREAM_ROLE = 1,
	STREAM_TOKENS,
	STREAM_USAGE,
	STREAM_DONE,
	STREAM_END,
};

/* A page that is not simply sent: slow, truncated, huge. */
struct odd_page {
	char *text;
	size_t len;
	enum fault_mode mode;
	uint64_t padding;
};

struct request {
	struct engine_job job;
	struct request *next;
	struct request **pprev;
	struct server *server;
	struct conn *conn;
	struct MHD_Connection *mhd;
	const struct route *route;
	enum request_stage stage;
	bool suspended;
	bool delay_done;
	enum fault_mode broken; /* 0: not */
	sd_event_source *timer;
	char *body;
	size_t body_len;
	size_t body_size;
	bool body_too_big;
	struct openai_request ask;
	struct page_completion completion;
	enum stream_step step;
	uint32_t told; /* tokens already in the stream */
	struct odd_page odd;
	size_t out_len;
	size_t out_pos;
	char out[PAGE_EVENT_MAX];
};

struct route {
	const char *path;
	const char *method;
	enum fault_page page; /* FAULT_PAGE_N: never faulty */
	enum MHD_Result (*answer)(struct request *req);
};

static struct request *job_request(struct engine_job *job)
{
	return (struct request *)((char *)job - offsetof(struct request, job));
}

static struct page_peer peer_of(const struct request *req)
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

static void suspend(struct request *req)
{
	assert(!req->suspended);
	req->suspended = true;
	MHD_suspend_connection(req->mhd);
}

static void resume(struct request *req)
{
	if (!req->suspended)
		return;
	req->suspended = false;
	req->server->run_daemon = true;
	MHD_resume_connection(req->mhd);
}

/* Send a TCP reset now; libmicrohttpd finds the socket dead and tidies up. */
static void reset_socket(int fd)
{
	struct sockaddr unspec = {.sa_family = AF_UNSPEC};

	if (connect(fd, &unspec, sizeof(unspec)) < 0)
		(void)shutdown(fd, SHUT_RDWR); /* not TCP */
}

static void break_request(struct request *req, enum fault_mode how)
{
	if (req->broken)
		return;
	req->broken = how;
	engine_cancel(&req->server->engine, &req->job, server_now_us(req->server));
	server_arm_tick(req->server);
	if (how == FAULT_RESET)
		reset_socket(req->conn->fd);
	else
		(void)shutdown(req->conn->fd, SHUT_RDWR);
	resume(req);
}

/* ---- answers ---- */

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
	(void)MHD_add_response_header(response, name, value); /* fails for lack of memory only */
}

static void add_identity(struct request *req, struct MHD_Response *response, const char *type)
{
	char port[8];

	snprintf(port, sizeof(port), "%" PRIu16, req->conn->port);
	add_header(response, "content-type", type);
	add_header(response, "x-backend", req->server->name);
	add_header(response, "x-peer-address", req->conn->address);
	add_header(response, "x-peer-port", port);
}

/* Queue and drop our reference. */
static enum MHD_Result queue(struct request *req, unsigned int status,
			     struct MHD_Response *response)
{
	enum MHD_Result r;

	req->stage = STAGE_ANSWERED;
	r = MHD_queue_response(req->mhd, status, response);
	MHD_destroy_response(response);
	return r;
}

/* text is taken; NULL closes the connection. */
static enum MHD_Result send_text(struct request *req, unsigned int status, char *text,
				 const char *type)
{
	struct MHD_Response *response;

	if (!text)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
		return MHD_NO;
	}
	add_identity(req, response, type);
	return queue(req, status, response);
}

static enum MHD_Result send_error(struct request *req, unsigned int status, const char *type,
				  const char *code, const char *message)
{
	struct page_peer peer = peer_of(req);

	return send_text(req, status, page_error(req->server->name, &peer, type, code, message),
			 "application/json");
}

static enum MHD_Result send_bad_request(struct request *req, const char *message)
{
	return send_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", "bad_request",
			  message);
}

/* The answer of a server that has no room: the SDKs of OpenAI's clients retry it. */
static enum MHD_Result send_overloaded(struct request *req, unsigned int status,
				       const char *message)
{
	const char *type = status == 429 ? "rate_limit_error" : "server_error";
	struct page_peer peer = peer_of(req);
	struct MHD_Response *response;
	char ms[16];
	char *text;

	text = page_error(req->server->name, &peer, type, "server_overloaded", message);
	if (!text)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
		return MHD_NO;
	}
	snprintf(ms, sizeof(ms), "%d", RETRY_AFTER_MS);
	add_identity(req, response, "application/json");
	add_header(response, "retry-after", "2");
	add_header(response, "retry-after-ms", ms);
	add_header(response, "x-should-retry", "true");
	add_header(response, "connection", "close");
	return queue(req, status, response);
}

/* ---- odd pages ---- */

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct request *req = user;

	(void)source;
	(void)usec;
	if (req->stage == STAGE_DELAYED) {
		req->stage = STAGE_READY;
		req->delay_done = true;
	}
	resume(req);
	return 0;
}

static int set_timer(struct request *req, uint64_t delay_us)
{
	int r;

	if (!req->timer)
		return sd_event_add_time_relative(req->server->event, &req->timer, CLOCK_MONOTONIC,
						  delay_us, 1000, on_timer, req);
	r = sd_event_source_set_time_relative(req->timer, delay_us);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(req->timer, SD_EVENT_ONESHOT);
}

static ssize_t read_padding(struct request *req, uint64_t pos, char *buf, size_t max)
{
	uint64_t end = req->odd.len + req->odd.padding;

	if (pos >= end)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (max > end - pos)
		max = (size_t)(end - pos);
	for (size_t i = 0; i < max; i++)
		buf[i] = PAD_LINE[(pos + i) % (sizeof(PAD_LINE) - 1)];
	return (ssize_t)max;
}

static ssize_t read_odd(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct request *req = cls;
	const struct odd_page *odd = &req->odd;
	size_t end = odd->mode == FAULT_TRUNCATED ? odd->len / 2 : odd->len;

	if (req->broken || req->conn->gone)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (pos >= end && odd->mode == FAULT_HUGE)
		return read_padding(req, pos, buf, max);
	if (pos >= end)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (odd->mode == FAULT_SLOW && pos > 0 && !req->delay_done) {
		if (set_timer(req, SLOW_BYTE_US) < 0)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		req->delay_done = true; /* the next call comes after the timer */
		suspend(req);
		return 0;
	}
	req->delay_done = false;
	if (odd->mode == FAULT_SLOW || max > end - pos)
		max = odd->mode == FAULT_SLOW ? 1 : end - (size_t)pos;
	memcpy(buf, odd->text + pos, max);
	return (ssize_t)max;
}

/* text is taken. */
static enum MHD_Result send_odd(struct request *req, unsigned int status, char *text,
				const char *type, enum fault_mode mode)
{
	struct MHD_Response *response;
	uint64_t size;

	if (!text)
		return MHD_NO;
	req->odd.text = text;
	req->odd.len = strlen(text);
	req->odd.mode = mode;
	req->odd.padding = (uint64_t)req->server->settings.huge_mb << 20;
	req->delay_done = false;
	size = mode == FAULT_HUGE ? MHD_SIZE_UNKNOWN : req->odd.len;
	response = MHD_create_response_from_callback(size, READER_BLOCK, read_odd, req, NULL);
	if (!response)
		return MHD_NO;
	add_identity(req, response, type);
	return queue(req, status, response);
}

/* Bytes that are neither text nor numbers, the same each time. */
static enum MHD_Result send_garbage(struct request *req, const char *type)
{
	struct MHD_Response *response;
	uint64_t x = 0x9e3779b97f4a7c15ULL;
	char bytes[GARBAGE_BYTES];

	for (size_t i = 0; i < sizeof(bytes); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		bytes[i] = (char)x;
	}
	response = MHD_create_response_from_buffer(sizeof(bytes), bytes, MHD_RESPMEM_MUST_COPY);
	if (!response)
		return MHD_NO;
	add_identity(req, response, type);
	return queue(req, MHD_HTTP_OK, response);
}

static enum MHD_Result hang(struct request *req)
{
	if (req->conn->gone)
		return MHD_NO;
	req->stage = STAGE_HUNG;
	suspend(req);
	return MHD_YES;
}

/* Answer as the fault of the page says. text, the true page, is taken. */
static enum MHD_Result send_page(struct request *req, unsigned int status, char *text,
				 const char *type)
{
	enum fault_page page = req->route->page;
	enum fault_mode mode;

	mode = page == FAULT_PAGE_N ? FAULT_OK : req->server->settings.page[page];
	switch (mode) {
	case FAULT_OK:
		return send_text(req, status, text, type);
	case FAULT_HUGE:
	case FAULT_SLOW:
	case FAULT_TRUNCATED:
		return send_odd(req, status, text, type, mode);
	default:
		break;
	}
	free(text);
	switch (mode) {
	case FAULT_HANG:
		return hang(req);
	case FAULT_GARBAGE:
		return send_garbage(req, type);
	case FAULT_EMPTY:
		return send_text(req, MHD_HTTP_OK, strdup(""), type);
	case FAULT_STATUS:
		return send_error(req, req->server->settings.page_status[page], "server_error",
				  "fault", "this page was told to fail");
	case FAULT_RESET:
		reset_socket(req->conn->fd);
		return MHD_NO;
	default:
		return MHD_NO; /* FAULT_CLOSE */
	}
}

/* ---- pages ---- */

/* Returns true, and the result of suspending, when the request has to wait first. */
static bool delayed(struct request *req, uint32_t delay_ms, enum MHD_Result *ret)
{
	if (!delay_ms || req->delay_done)
		return false;
	*ret = MHD_NO;
	if (!req->conn->gone && set_timer(req, delay_ms * 1000ULL) >= 0) {
		req->stage = STAGE_DELAYED;
		suspend(req);
		*ret = MHD_YES;
	}
	return true;
}

static enum MHD_Result answer_health(struct request *req)
{
	struct page_node node = node_of(req);
	struct page_peer peer = peer_of(req);
	enum MHD_Result r;
	bool ok;

	if (delayed(req, req->server->settings.health_delay_ms, &r))
		return r;
	ok = !strcmp(page_status(&node), "ok");
	return send_page(req, ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
			 page_health(&node, &peer), "application/json");
}

static bool is_loading(const struct request *req)
{
	return req->server->settings.loading_until_us > server_now_us(req->server);
}

static enum MHD_Result answer_metrics(struct request *req)
{
	struct page_node node = node_of(req);
	enum MHD_Result r;

	if (delayed(req, req->server->settings.metrics_delay_ms, &r))
		return r;
	if (is_loading(req))
		return send_error(req, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable_error", "loading",
				  "Loading model");
	return send_page(req, MHD_HTTP_OK, page_metrics(&node),
			 "text/plain; version=0.0.4; charset=utf-8");
}

static enum MHD_Result answer_models(struct request *req)
{
	struct page_node node = node_of(req);
	struct page_peer peer = peer_of(req);

	if (is_loading(req))
		return send_error(req, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable_error", "loading",
				  "Loading model");
	return send_page(req, MHD_HTTP_OK, page_models(&node, &peer), "application/json");
}

static enum MHD_Result answer_root(struct request *req)
{
	struct page_peer peer = peer_of(req);

	return send_page(req, MHD_HTTP_OK, page_identity(req->server->name, &peer),
			 "application/json");
}

/* ---- completions ---- */

/* Write the next event of the stream to req->out. Returns false when there is none yet, or no more.
 */
static bool next_event(struct request *req)
{
	const struct page_completion *c = &req->completion;

	req->out_len = 0;
	req->out_pos = 0;
	switch (req->step) {
	case STREAM_ROLE:
		req->out_len = page_event_role(req->out, c);
		req->step = STREAM_TOKENS;
		return true;
	case STREAM_TOKENS:
		if (req->told == req->job.made)
			return false;
		req->out_len = page_event_token(req->out, c, req->told++);
		if (req->told == c->tokens)
			req->step = req->ask.include_usage ? STREAM_USAGE : STREAM_DONE;
		return true;
	case STREAM_USAGE:
		req->out_len = page_event_usage(req->out, c);
		req->step = STREAM_DONE;
		return true;
	case STREAM_DONE:
		req->out_len = page_event_done(req->out);
		req->step = STREAM_END;
		return true;
	case STREAM_END:
		break;
	}
	return false;
}

static bool abrupt_now(const struct request *req)
{
	uint32_t after = req->server->settings.abrupt_after;

	return after && req->told >= after;
}

static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct request *req = cls;
	size_t n = 0;

	(void)pos;
	if (req->broken || req->conn->gone)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	while (n < max) {
		size_t part = req->out_len - req->out_pos;

		if (!part && (abrupt_now(req) || !next_event(req)))
			break;
		part = req->out_len - req->out_pos;
		if (part > max - n)
			part = max - n;
		memcpy(buf + n, req->out + req->out_pos, part);
		req->out_pos += part;
		n += part;
	}
	if (n)
		return (ssize_t)n;
	if (req->step == STREAM_END)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (abrupt_now(req)) {
		break_request(req, FAULT_RESET);
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	suspend(req);
	return 0;
}

static enum MHD_Result start_stream(struct request *req)
{
	struct MHD_Response *response;

	req->step = req->ask.kind == OPENAI_CHAT ? STREAM_ROLE : STREAM_TOKENS;
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, READER_BLOCK, read_stream,
						     req, NULL);
	if (!response)
		return MHD_NO;
	add_identity(req, response, "text/event-stream; charset=utf-8");
	add_header(response, "cache-control", "no-cache");
	return queue(req, MHD_HTTP_OK, response);
}

static void describe_completion(struct request *req)
{
	req->completion = (struct page_completion){
		.name = req->server->name,
		.model = req->server->model,
		.peer = peer_of(req),
		.kind = req->ask.kind,
		.id = ++req->server->next_id,
		.created_s = (int64_t)time(NULL),
		.prompt_tokens = req->ask.prompt_tokens,
		.tokens = req->ask.max_tokens,
	};
}

static enum MHD_Result submit(struct request *req)
{
	struct server *s = req->server;

	engine_job_init(&req->job, req->ask.prompt_tokens, req->ask.max_tokens);
	if (engine_submit(&s->engine, &req->job, server_now_us(s)) < 0)
		return send_overloaded(
			req, s->settings.queue_status,
			"The engine is currently overloaded, please try again later");
	server_arm_tick(s);
	describe_completion(req);
	if (req->ask.stream)
		return start_stream(req);
	req->stage = STAGE_ENGINE;
	suspend(req);
	return MHD_YES;
}

static enum MHD_Result answer_completion(struct request *req)
{
	const struct fault_settings *settings = &req->server->settings;
	enum openai_kind kind;
	char err[160];

	if (req->conn->gone)
		return MHD_NO;
	kind = strstr(req->route->path, "/chat/") ? OPENAI_CHAT : OPENAI_COMPLETION;
	if (settings->page[FAULT_PAGE_API] != FAULT_OK)
		return answer_root(req); /* as the fault says */
	if (openai_parse(req->body ? req->body : "", req->body_len, kind, &req->ask, err,
			 sizeof(err)) < 0)
		return send_bad_request(req, err);
	if (is_loading(req))
		return send_overloaded(req, MHD_HTTP_SERVICE_UNAVAILABLE, "Loading model");
	if (settings->draining)
		return send_overloaded(req, MHD_HTTP_SERVICE_UNAVAILABLE,
				       "This server takes no new requests");
	return submit(req);
}

/* A request without a stream was woken: its job ended, or its connection. */
static enum MHD_Result answer_finished(struct request *req)
{
	if (req->broken || req->conn->gone)
		return MHD_NO;
	if (req->job.state != ENGINE_JOB_DONE) {
		suspend(req);
		return MHD_YES;
	}
	return send_text(req, MHD_HTTP_OK, page_answer(&req->completion), "application/json");
}

/* ---- control ---- */

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
	struct page_peer peer = peer_of(req);
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
		return send_bad_request(req, err);
	server_apply_settings(s);
	if (actions.break_with)
		request_break_all(s, actions.break_with);
	if (actions.refuse_ms)
		server_refuse(s, actions.refuse_ms);
	request_retry_hung(s);
	node = node_of(req);
	return send_text(req, MHD_HTTP_OK, page_control(&node, &peer), "application/json");
}

/* ---- routing and life ---- */

static const struct route routes[] = {
	{"/", "GET", FAULT_PAGE_API, answer_root},
	{"/health", "GET", FAULT_PAGE_HEALTH, answer_health},
	{"/metrics", "GET", FAULT_PAGE_METRICS, answer_metrics},
	{"/v1/models", "GET", FAULT_PAGE_API, answer_models},
	{"/v1/completions", "POST", FAULT_PAGE_API, answer_completion},
	{"/v1/chat/completions", "POST", FAULT_PAGE_API, answer_completion},
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
		return send_error(req, MHD_HTTP_CONTENT_TOO_LARGE, "invalid_request_error",
				  "too_large", "the body is too large");
	req->route = find_route(url, method, &path_known);
	if (req->route)
		return req->route->answer(req);
	if (path_known)
		return send_error(req, MHD_HTTP_METHOD_NOT_ALLOWED, "invalid_request_error",
				  "method_not_allowed", "not with this method");
	return send_error(req, MHD_HTTP_NOT_FOUND, "invalid_request_error", "not_found",
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
		return answer_finished(req);
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
		resume(req);
}

void request_hangup(struct conn *conn, struct server *s)
{
	conn->gone = true;
	if (!conn->request)
		return;
	engine_cancel(&s->engine, &conn->request->job, server_now_us(s));
	server_arm_tick(s);
	resume(conn->request);
}

void request_break_all(struct server *s, enum fault_mode how)
{
	for (struct request *req = s->requests; req; req = req->next)
		if (req->job.state == ENGINE_JOB_QUEUED || req->job.state == ENGINE_JOB_RUNNING)
			break_request(req, how);
}

void request_retry_hung(struct server *s)
{
	for (struct request *req = s->requests; req; req = req->next) {
		if (req->stage != STAGE_HUNG)
			continue;
		req->stage = STAGE_READY;
		resume(req);
	}
}

void request_end_all(struct server *s)
{
	for (struct request *req = s->requests; req; req = req->next)
		break_request(req, FAULT_CLOSE);
}
