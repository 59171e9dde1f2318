// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/export_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "userspace/agent/export.h"
#include "userspace/agent/export_text.h"
#include "userspace/agent/http_server.h"
#include "userspace/agent/status_page.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define CHUNK_BYTES 16384 /* of a page of metrics, at once */

struct export_server {
	struct agent *agent;
	struct http_server *http; /* NULL: nothing listens */
	struct endpoint endpoint; /* that it listens on */
	struct endpoint failed;	  /* that could not be listened on; port 0: none */
	sd_event_source *timer;
	int64_t retry_ms;
};

/* --- pages ------------------------------------------------------------------------------------ */

static ssize_t read_page(void *cls, uint64_t pos, char *buf, size_t max)
{
	ssize_t n = export_page_read(cls, buf, max);

	(void)pos;
	if (n == 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : n;
}

static void free_page(void *cls)
{
	struct export_page *page = cls;

	export_page_free(&page);
}

enum MHD_Result export_server_answer(const struct agent *agent, struct MHD_Connection *conn)
{
	struct export_page *page = NULL;
	struct MHD_Response *resp;
	enum MHD_Result r;

	if (export_page_new(agent, &page) < 0)
		return MHD_NO;
	resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, CHUNK_BYTES, read_page, page,
						 free_page);
	if (!resp) {
		export_page_free(&page);
		return MHD_NO;
	}
	(void)MHD_add_response_header(resp, MHD_HTTP_HEADER_CONTENT_TYPE, EXPORT_TEXT_TYPE);
	r = MHD_queue_response(conn, MHD_HTTP_OK, resp);
	MHD_destroy_response(resp);
	return r;
}

static enum MHD_Result say(struct MHD_Connection *conn, unsigned int status, const char *text)
{
	return http_server_answer(conn, status, "text/plain", strdup(text), strlen(text));
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *conn,
				  const struct http_request *request)
{
	struct export_server *s = userdata;
	size_t len = 0;
	char *page;

	if (strcmp(request->method, "GET") && strcmp(request->method, "HEAD"))
		return say(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "GET only\n");
	if (!strcmp(request->path, "/metrics"))
		return export_server_answer(s->agent, conn);
	if (!strcmp(request->path, "/healthy"))
		return say(conn, MHD_HTTP_OK, "ok\n");
	if (strcmp(request->path, "/"))
		return say(conn, MHD_HTTP_NOT_FOUND, "there are /, /metrics and /healthy\n");
	page = status_page(s->agent, agent_now_ms(s->agent), &len);
	return http_server_answer(conn, MHD_HTTP_OK, STATUS_PAGE_TYPE, page, len);
}

/* --- the socket ------------------------------------------------------------------------------- */

static socklen_t sockaddr_of(const struct endpoint *ep, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	ret->ss_family = ep->addr.family;
	if (ep->addr.family == AF_INET) {
		in->sin_port = htons(ep->port);
		memcpy(&in->sin_addr, ep->addr.bytes, sizeof(in->sin_addr));
		return sizeof(*in);
	}
	in6->sin6_port = htons(ep->port);
	memcpy(&in6->sin6_addr, ep->addr.bytes, sizeof(in6->sin6_addr));
	return sizeof(*in6);
}

static int listen_on(const struct endpoint *ep, int *ret_fd)
{
	const int on = 1;
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_of(ep, &sa);
	_cleanup_close_ int fd = -1;

	fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (sa.ss_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, 64) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int start(struct export_server *s, const struct endpoint *ep)
{
	struct http_server_settings settings = {
		.connections_max = EXPORT_CONNECTIONS_MAX,
		.timeout_s = EXPORT_TIMEOUT_S,
		.on_request = on_request,
		.userdata = s,
	};
	int r = listen_on(ep, &settings.fd);

	return r < 0 ? r : http_server_new(s->agent->event, &settings, &s->http);
}

static bool same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && address_equal(&a->addr, &b->addr);
}

/* Bring what listens to what the configuration says. */
static void follow(struct export_server *s, int64_t now_ms)
{
	const struct config *cfg = s->agent->cfg;
	const struct endpoint *ep = &cfg->metrics_listen;
	char text[ENDPOINT_TEXT_MAX];
	int r;

	if (s->http && (!cfg->metrics_enabled || !same_endpoint(ep, &s->endpoint)))
		http_server_free(&s->http);
	if (s->http || !cfg->metrics_enabled)
		return;
	if (same_endpoint(ep, &s->failed) && now_ms < s->retry_ms)
		return;
	r = start(s, ep);
	if (r < 0 && !same_endpoint(ep, &s->failed))
		log_error("metrics on %s: %s; trying again, without them meanwhile",
			  endpoint_format(ep, text), strerror(-r));
	else if (r == 0)
		log_info("metrics on %s", endpoint_format(ep, text));
	s->endpoint = *ep;
	s->failed = r < 0 ? *ep : (struct endpoint){};
	s->retry_ms = now_ms + EXPORT_RETRY_MS;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct export_server *s = userdata;
	int r;

	(void)usec;
	follow(s, agent_now_ms(s->agent));
	r = sd_event_source_set_time_relative(source, EXPORT_FOLLOW_MS * 1000);
	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int export_server_new(struct agent *agent, struct export_server **ret, struct attach_error *err)
{
	struct export_server *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (s) {
		s->agent = agent;
		r = sd_event_add_time_relative(agent->event, &s->timer, CLOCK_MONOTONIC,
					       EXPORT_FOLLOW_MS * 1000, 1000, on_timer, s);
	}
	if (r < 0) {
		snprintf(err->text, sizeof(err->text), "metrics: %s", strerror(-r));
		free(s);
		return r;
	}
	follow(s, agent_now_ms(agent));
	*ret = s;
	return 0;
}

void export_server_free(struct export_server **server)
{
	if (!*server)
		return;
	http_server_free(&(*server)->http);
	sd_event_source_disable_unref((*server)->timer);
	free(*server);
	*server = NULL;
}
