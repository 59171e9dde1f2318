// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/http_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "userspace/lib/log.h"

#define LOG_LINE_MAX 256

struct http_server {
	struct http_server_settings settings;
	struct MHD_Daemon *daemon;
	sd_event_source *io;
	sd_event_source *timer;
	bool again; /* a connection ended: it may accept again, which takes another run */
};

/* A request while its body comes in. */
struct body {
	size_t len;
	size_t size; /* of bytes */
	size_t max;
	bool too_long;
	char *bytes; /* NULL: nothing came so far */
};

#define BODY_FIRST 4096 /* bytes of room that a body begins with */

enum MHD_Result http_server_answer(struct MHD_Connection *conn, unsigned int status,
				   const char *type, char *text, size_t len)
{
	struct MHD_Response *resp;
	enum MHD_Result r;

	if (!text)
		return MHD_NO;
	resp = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
	if (!resp) {
		free(text);
		return MHD_NO;
	}
	(void)MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	r = MHD_queue_response(conn, status, resp);
	MHD_destroy_response(resp);
	return r;
}

/* --- requests --------------------------------------------------------------------------------- */

static struct body *begin_body(const struct http_server *s, const char *method, const char *path)
{
	struct body *body = calloc(1, sizeof(*body));

	if (!body)
		return NULL;
	body->max = s->settings.body_max;
	if (s->settings.body_max_of)
		body->max = s->settings.body_max_of(s->settings.userdata, method, path);
	return body;
}

static void end_body(struct body *body)
{
	if (body)
		free(body->bytes);
	free(body);
}

/* Returns 0 or -ENOMEM. */
static int make_room(struct body *body, size_t more)
{
	size_t size = body->size ? body->size : BODY_FIRST;
	char *bytes;

	while (size < body->len + more + 1)
		size *= 2;
	if (size == body->size)
		return 0;
	bytes = realloc(body->bytes, size);
	if (!bytes)
		return -ENOMEM;
	body->bytes = bytes;
	body->size = size;
	return 0;
}

/* Returns 0 or -ENOMEM. */
static int take(struct body *body, const char *data, size_t size)
{
	if (body->too_long || size > body->max - body->len) {
		body->too_long = true;
		return 0;
	}
	if (make_room(body, size) < 0)
		return -ENOMEM;
	memcpy(body->bytes + body->len, data, size);
	body->len += size;
	body->bytes[body->len] = '\0';
	return 0;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *size, void **con_cls)
{
	struct http_server *s = cls;
	struct body *body = *con_cls;
	struct http_request request = {.method = method, .path = url};

	(void)version;
	if (!body) {
		*con_cls = begin_body(s, method, url);
		return *con_cls ? MHD_YES : MHD_NO;
	}
	if (*size) {
		int r = take(body, data, *size);

		*size = 0;
		return r < 0 ? MHD_NO : MHD_YES;
	}
	request.too_long = body->too_long;
	request.body_max = body->max;
	request.body_len = body->too_long ? 0 : body->len;
	request.body = request.body_len ? body->bytes : "";
	return s->settings.on_request(s->settings.userdata, conn, &request);
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
			 enum MHD_RequestTerminationCode code)
{
	struct http_server *s = cls;

	(void)conn;
	(void)code;
	end_body(*con_cls);
	*con_cls = NULL;
	if (s->settings.on_answered)
		s->settings.on_answered(s->settings.userdata);
}

/*
 * With all connections taken, libmicrohttpd (0.9.75) stops to wait for new ones, and begins again
 * in a run after that in which one ended. Nothing would cause such a run.
 */
static void on_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http_server *s = cls;

	(void)conn;
	(void)socket_context;
	if (code == MHD_CONNECTION_NOTIFY_CLOSED)
		s->again = true;
}

/* What clients do wrong; none of it is worth more. */
__attribute__((format(printf, 2, 0))) static void on_log(void *cls, const char *fmt, va_list ap)
{
	char line[LOG_LINE_MAX];

	(void)cls;
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("http: %s", line);
}

/* --- the loop --------------------------------------------------------------------------------- */

static void run(struct http_server *s)
{
	MHD_UNSIGNED_LONG_LONG ms;

	s->again = false;
	(void)MHD_run(s->daemon);
	if (s->again) {
		ms = 0;
	} else if (MHD_get_timeout(s->daemon, &ms) != MHD_YES) {
		(void)sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time_relative(s->timer, ms * 1000);
	(void)sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)source;
	(void)fd;
	(void)revents;
	run(userdata);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	run(userdata);
	return 0;
}

/* --- start and stop --------------------------------------------------------------------------- */

static int start(struct http_server *s)
{
	s->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, s,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, s, MHD_OPTION_LISTEN_SOCKET, s->settings.fd,
		MHD_OPTION_CONNECTION_LIMIT, s->settings.connections_max, MHD_OPTION_CONNECTION_TIMEOUT, s->settings.timeout_s,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, s, MHD_OPTION_END);
	if (!s->daemon) {
		close(s->settings.fd);
		return -EIO;
	}
	return 0;
}

static int join_loop(struct http_server *s, sd_event *event)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int r;

	if (!info)
		return -EIO;
	r = sd_event_add_io(event, &s->io, info->epoll_fd, EPOLLIN, on_io, s);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &s->timer, CLOCK_MONOTONIC, 0, 1000, on_timer,
					       s);
	return r < 0 ? r : 0;
}

int http_server_new(sd_event *event, const struct http_server_settings *settings,
		    struct http_server **ret)
{
	struct http_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		close(settings->fd);
		return -ENOMEM;
	}
	s->settings = *settings;
	r = start(s);
	if (r == 0)
		r = join_loop(s, event);
	if (r < 0) {
		http_server_free(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void http_server_free(struct http_server **server)
{
	struct http_server *s = *server;

	if (!s)
		return;
	sd_event_source_disable_unref(s->io);
	sd_event_source_disable_unref(s->timer);
	if (s->daemon)
		MHD_stop_daemon(s->daemon);
	free(s);
	*server = NULL;
}
