// SPDX-License-Identifier: BSD-2-Clause
/* Requests read, answers sent: libmicrohttpd's side of the fallback responder. */
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "userspace/agent/fallback_answer.h"
#include "userspace/agent/fallback_priv.h"
#include "userspace/lib/log.h"

#define TARGET_MAX     1024 /* longer ones are cached for nobody */
#define TLS_PRIORITIES "NORMAL:-VERS-TLS1.0:-VERS-TLS1.1"

/* A request while it comes in. */
struct request {
	bool begun;
	uint64_t body_bytes;
	char target[TARGET_MAX]; /* as written, with its query; "" if too long */
};

/* splitmix64 (Vigna): a sequence of good numbers from a counter that threads share. */
static uint64_t next_random(struct fallback_server *server)
{
	uint64_t z = __atomic_add_fetch(&server->random, 0x9e3779b97f4a7c15, __ATOMIC_RELAXED);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void add_header(struct MHD_Response *resp, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void add_header(struct MHD_Response *resp, const char *name, const char *fmt, ...)
{
	char value[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	(void)MHD_add_response_header(resp, name, value);
}

static void on_blob_sent(void *blob)
{
	struct fallback_blob *b = blob;

	fallback_blob_unref(&b);
}

static struct MHD_Response *make_response(const struct fallback_answer *a)
{
	struct fallback_blob *blob = a->body;
	struct MHD_Response *resp;

	if (!blob)
		return MHD_create_response_from_buffer(strlen(a->text), (void *)a->text,
						       MHD_RESPMEM_PERSISTENT);
	fallback_blob_ref(blob);
	resp = MHD_create_response_from_buffer_with_free_callback_cls(blob->len, blob->data,
								      on_blob_sent, blob);
	if (!resp)
		fallback_blob_unref(&blob);
	return resp;
}

static void add_headers(struct MHD_Response *resp, const struct fallback_answer *a)
{
	add_header(resp, "Content-Type", "%s", a->type);
	add_header(resp, "Connection", "close");
	add_header(resp, "X-Sluice-Answer", "%s", a->cached ? "cached" : "degraded");
	if (a->cached) {
		add_header(resp, "Age", "%" PRId64, a->age_s);
		return;
	}
	add_header(resp, "Retry-After-Ms", "%" PRId64, a->retry_ms);
	add_header(resp, "Retry-After", "%" PRId64, fallback_retry_after_s(a->retry_ms));
	add_header(resp, "X-Should-Retry", "true");
	add_header(resp, "Cache-Control", "no-store");
}

static void count(const struct fallback_site *site, const struct fallback_answer *a)
{
	if (site)
		__atomic_fetch_add(a->cached ? &site->counters->cached : &site->counters->degraded,
				   1, __ATOMIC_RELAXED);
}

static enum MHD_Result answer(struct fallback_server *server, struct MHD_Connection *mhd,
			      const char *method, const struct request *req)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct fallback_conn *conn = info ? info->socket_context : NULL;
	struct fallback_site *site = NULL;
	enum MHD_Result r = MHD_NO;
	struct fallback_answer a;
	struct MHD_Response *resp;

	if (conn) {
		fallback_conn_set_phase(conn, FALLBACK_ANSWERING);
		site = fallback_board_find(server->settings.board, &conn->local);
	}
	fallback_answer(site, method, req->target, server->settings.now_ms(), next_random(server),
			&a);
	resp = make_response(&a);
	if (resp) {
		add_headers(resp, &a);
		r = MHD_queue_response(mhd, a.status, resp);
		MHD_destroy_response(resp);
	}
	if (r == MHD_YES)
		count(site, &a);
	if (conn)
		fallback_conn_set_phase(conn, FALLBACK_SENDING);
	fallback_site_unref(&site);
	return r;
}

/* --- requests --------------------------------------------------------------------------------- */

/* The client waits for leave to send its body; or it would be too long. No need to read it. */
static bool answer_without_body(struct MHD_Connection *mhd)
{
	const char *expect = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Expect");
	const char *length = MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, "Content-Length");

	return (expect && !strcasecmp(expect, "100-continue")) ||
	       (length && strtoull(length, NULL, 10) > FALLBACK_DROP_MAX);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
				  const char *method, const char *version, const char *body,
				  size_t *body_size, void **state)
{
	struct request *req = *state;

	(void)url;
	(void)version;
	(void)body;
	if (!req)
		return MHD_NO;
	if (!req->begun) {
		req->begun = true;
		return answer_without_body(mhd) ? answer(cls, mhd, method, req) : MHD_YES;
	}
	if (!*body_size)
		return answer(cls, mhd, method, req);
	req->body_bytes += *body_size;
	*body_size = 0;
	return req->body_bytes <= FALLBACK_DROP_MAX ? MHD_YES : MHD_NO;
}

/* The request line is in. What this returns is the request's state. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
	struct request *req = calloc(1, sizeof(*req));

	(void)cls;
	(void)mhd;
	if (req && strlen(target) < sizeof(req->target))
		strcpy(req->target, target);
	return req;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **state,
			 enum MHD_RequestTerminationCode code)
{
	(void)cls;
	(void)mhd;
	(void)code;
	free(*state);
	*state = NULL;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (*context)
			fallback_conn_close(cls, *context);
		*context = NULL;
		return;
	}
	fallback_be_nice();
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	*context = info ? fallback_conn_open(cls, info->connect_fd) : NULL;
}

/* --- gates ------------------------------------------------------------------------------------ */

static void on_message(void *cls, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

/* Mostly clients that went away or speak no HTTP. */
static void on_message(void *cls, const char *fmt, va_list ap)
{
	char text[256];

	(void)cls;
	if (log_get_level() < LOG_LEVEL_DEBUG)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	log_debug("fallback: %s", text);
}

static struct MHD_Daemon *start(struct fallback_server *server, const struct fallback_gate *gate)
{
	unsigned int flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET |
			     MHD_USE_ITC | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, gate->certificate},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, gate->key},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, TLS_PRIORITIES},
		{MHD_OPTION_END, 0, NULL},
	};
	struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};

	if (gate->certificate)
		flags |= MHD_USE_TLS;
	return MHD_start_daemon(
		flags, 0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_message,
		NULL, MHD_OPTION_URI_LOG_CALLBACK, on_target, server, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, server, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
		MHD_OPTION_THREAD_POOL_SIZE, (unsigned int)FALLBACK_THREADS,
		MHD_OPTION_CONNECTION_LIMIT,
		(unsigned int)(server->settings.connections + FALLBACK_THREADS),
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)FALLBACK_MEMORY, MHD_OPTION_ARRAY,
		gate->certificate ? tls : plain, MHD_OPTION_END);
}

int fallback_gate_new(struct fallback_server *server, const struct fallback_tls *tls,
		      struct fallback_gate **ret_gate)
{
	struct fallback_gate *gate = calloc(1, sizeof(*gate));

	if (!gate)
		return -ENOMEM;
	if (tls) {
		gate->certificate = strdup(tls->certificate);
		gate->key = strdup(tls->key);
		if (!gate->certificate || !gate->key) {
			fallback_gate_free(&gate);
			return -ENOMEM;
		}
	}
	gate->daemon = start(server, gate);
	if (!gate->daemon) {
		fallback_gate_free(&gate);
		return tls ? -EKEYREJECTED : -EIO;
	}
	*ret_gate = gate;
	return 0;
}

void fallback_gate_free(struct fallback_gate **gate)
{
	struct fallback_gate *g = *gate;

	if (!g)
		return;
	if (g->daemon)
		MHD_stop_daemon(g->daemon);
	if (g->key)
		explicit_bzero(g->key, strlen(g->key));
	free(g->certificate);
	free(g->key);
	free(g);
	*gate = NULL;
}

void fallback_gate_enter(struct fallback_server *server, struct fallback_gate *gate, int fd,
			 const struct endpoint *peer)
{
	struct sockaddr_storage sa;
	socklen_t len = endpoint_to_sockaddr(peer, &sa);

	/* It closes fd if it does not take it. */
	if (MHD_add_connection(gate->daemon, fd, (struct sockaddr *)&sa, len) == MHD_YES)
		__atomic_fetch_add(&server->stats.accepted, 1, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add(&server->stats.refused, 1, __ATOMIC_RELAXED);
}

uint32_t fallback_gate_connections(const struct fallback_gate *gate)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(gate->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

	return info ? info->num_connections : 0;
}
