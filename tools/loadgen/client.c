// SPDX-License-Identifier: BSD-2-Clause
#include "tools/loadgen/client.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_BATCH    512
#define BODY_MAX        (4U << 20)
#define CLOSING_TIME_US 1000000ULL

struct conn {
	struct client_link link;
	int fd;
	enum stats_stage stage;
	const struct options_target *target;
	struct sockaddr_storage local;
	struct output_time started;
	uint64_t last_us; /* the last byte, or the connect */
	uint32_t sent;
	uint32_t backend;
	bool got_body;
	struct http_reader http;
	struct check_stream stream;
	char *body; /* whole answers only */
	size_t body_len;
	size_t body_size;
};

static void link_init(struct client_link *l)
{
	l->next = l;
	l->prev = l;
}

static void link_del(struct client_link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	link_init(l);
}

static void link_move_tail(struct client_link *head, struct client_link *l)
{
	link_del(l);
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

static struct conn *link_conn(struct client_link *l)
{
	return (struct conn *)((char *)l - offsetof(struct conn, link));
}

int client_init(struct client *c, const struct options *o, struct stats *s, struct output *out)
{
	memset(c, 0, sizeof(*c));
	c->options = o;
	c->stats = s;
	c->output = out;
	link_init(&c->connecting);
	link_init(&c->waiting);
	link_init(&c->closing);
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return c->epoll_fd < 0 ? -errno : 0;
}

static void conn_free(struct conn *conn)
{
	link_del(&conn->link);
	if (conn->fd >= 0)
		close(conn->fd);
	free(conn->body);
	free(conn);
}

static struct stats_backend *backend_of(struct client *c, const struct conn *conn)
{
	return conn->backend < c->stats->n_backends ? &c->stats->backends[conn->backend] : NULL;
}

static void tell_end(struct client *c, const struct conn *conn, enum check_cause cause)
{
	struct output_end end = {
		.started = conn->started,
		.ended = c->now,
		.local = &conn->local,
		.backend = stats_backend_name(c->stats, conn->backend),
		.stage = conn->stage,
		.cause = cause,
		.status = conn->http.status,
		.tokens = conn->stream.tokens,
		.silent_us = c->now.mono_us - conn->last_us,
	};

	output_end(c->output, &end);
}

/* Leave the counts of open connections. */
static void leave_active(struct client *c, const struct conn *conn)
{
	struct stats_backend *b = backend_of(c, conn);

	c->stats->active--;
	if (b && conn->stage == STAGE_BODY)
		b->active--;
}

/*
 * The connection ended with this cause, which is counted and told once. A good one stays until the
 * server closes it, so that the server's side and not ours keeps the port in TIME_WAIT.
 */
static void conn_end(struct client *c, struct conn *conn, enum check_cause cause)
{
	stats_end(c->stats, conn->stage, cause, conn->backend);
	tell_end(c, conn, cause);
	leave_active(c, conn);
	if (cause != CAUSE_OK) {
		conn_free(conn);
		return;
	}
	stats_latency_add(&c->stats->whole, c->now.mono_us - conn->started.mono_us);
	conn->stage = STAGE_CLOSING;
	conn->last_us = c->now.mono_us;
	link_move_tail(&c->closing, &conn->link);
}

void client_fini(struct client *c)
{
	struct client_link *lists[] = {&c->connecting, &c->waiting, &c->closing};

	for (size_t i = 0; i < 3; i++) {
		while (lists[i]->next != lists[i]) {
			struct conn *conn = link_conn(lists[i]->next);

			if (conn->stage != STAGE_CLOSING) {
				c->stats->unfinished++;
				leave_active(c, conn);
			}
			conn_free(conn);
		}
	}
	if (c->epoll_fd >= 0)
		close(c->epoll_fd);
	c->epoll_fd = -1;
}

static enum check_cause connect_cause(int err)
{
	switch (err) {
	case ECONNREFUSED:
		return CAUSE_REFUSED;
	case EHOSTUNREACH:
	case ENETUNREACH:
		return CAUSE_UNREACHABLE;
	case ETIMEDOUT:
		return CAUSE_CONNECT_TIMEOUT;
	case EADDRNOTAVAIL:
	case EADDRINUSE:
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		return CAUSE_LOCAL;
	case ECONNRESET:
		return CAUSE_RESET;
	}
	return CAUSE_CONNECT_ERROR;
}

static enum check_cause read_cause(int err)
{
	switch (err) {
	case EHOSTUNREACH:
	case ENETUNREACH:
		return CAUSE_UNREACHABLE;
	case ETIMEDOUT:
		return CAUSE_SILENCE;
	}
	return CAUSE_RESET;
}

/* ---- opening ---- */

/* The next source of the family, in turn; NULL: let the kernel choose. */
static const struct sockaddr_storage *next_source(const struct client *c, sa_family_t family)
{
	const struct options *o = c->options;
	uint64_t turn = c->n_opened / o->n_targets;

	for (uint32_t i = 0; i < o->n_sources; i++) {
		const struct sockaddr_storage *s = &o->sources[(turn + i) % o->n_sources];

		if (s->ss_family == family)
			return s;
	}
	return NULL;
}

/* Returns 0 or a positive errno. */
static int start_connect(struct client *c, struct conn *conn)
{
	const struct sockaddr *to = (const struct sockaddr *)&conn->target->addr;
	const struct sockaddr_storage *from = next_source(c, to->sa_family);
	socklen_t len = conn->target->addr_len;
	int one = 1;

	conn->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		return errno;
	/* The port is chosen by connect(), which sees that only the whole tuple must be free. */
	if (setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) < 0)
		return errno;
	if (from && bind(conn->fd, (const struct sockaddr *)from, len) < 0)
		return errno;
	if (connect(conn->fd, to, len) < 0 && errno != EINPROGRESS)
		return errno;
	len = sizeof(conn->local);
	if (getsockname(conn->fd, (struct sockaddr *)&conn->local, &len) < 0)
		return errno;
	return 0;
}

static int watch(struct client *c, struct conn *conn)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = conn,
	};

	return epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, conn->fd, &ev) < 0 ? errno : 0;
}

static void count_start(struct client *c)
{
	c->stats->started++;
	c->stats->active++;
	if (c->stats->active > c->stats->active_max)
		c->stats->active_max = c->stats->active;
}

void client_open(struct client *c, struct output_time now)
{
	struct conn *conn = calloc(1, sizeof(*conn));
	int err;

	c->now = now;
	count_start(c);
	if (!conn) {
		c->stats->active--;
		stats_end(c->stats, STAGE_CONNECT, CAUSE_LOCAL, STATS_NO_BACKEND);
		return;
	}
	link_init(&conn->link);
	conn->fd = -1;
	conn->stage = STAGE_CONNECT;
	conn->started = now;
	conn->last_us = now.mono_us;
	conn->backend = STATS_NO_BACKEND;
	conn->target = &c->options->targets[c->n_opened % c->options->n_targets];
	http_init(&conn->http);
	check_stream_init(&conn->stream, c->options->tokens, c->options->order);
	link_move_tail(&c->connecting, &conn->link);
	err = start_connect(c, conn);
	if (!err)
		err = watch(c, conn);
	c->n_opened++;
	if (err)
		conn_end(c, conn, connect_cause(err));
}

/* ---- reading: these return false when the connection ended and conn is gone ---- */

static bool add_body(struct conn *conn, const char *data, size_t len)
{
	size_t need = conn->body_len + len;

	if (need > BODY_MAX)
		return false;
	if (need > conn->body_size) {
		char *bigger = realloc(conn->body, need * 2);

		if (!bigger)
			return false;
		conn->body = bigger;
		conn->body_size = need * 2;
	}
	memcpy(conn->body + conn->body_len, data, len);
	conn->body_len = need;
	return true;
}

/* Does the server see the address that we sent from? */
static void count_peer(struct client *c, const struct conn *conn)
{
	const struct http_reader *h = &conn->http;
	char local[INET6_ADDRSTRLEN + 10];
	char seen[HTTP_PEER_MAX + 10];

	if (!h->peer_port)
		return;
	output_address(&conn->local, local, sizeof(local));
	snprintf(seen, sizeof(seen), conn->local.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u",
		 h->peer, h->peer_port);
	if (!strcmp(local, seen))
		c->stats->peer_same++;
	else
		c->stats->peer_different++;
}

static bool on_head(struct client *c, struct conn *conn)
{
	struct http_reader *h = &conn->http;
	struct stats_backend *b;

	if (h->status < STATS_HTTP_MAX)
		c->stats->http[h->status]++;
	conn->backend = stats_backend_id(c->stats, h->backend);
	if (h->status != 200) {
		conn_end(c, conn, CAUSE_STATUS);
		return false;
	}
	conn->stage = STAGE_BODY;
	count_peer(c, conn);
	b = backend_of(c, conn);
	if (b) {
		b->started++;
		b->active++;
	}
	return true;
}

static bool on_body(struct client *c, struct conn *conn, const char *data, size_t len)
{
	struct stats_backend *b = backend_of(c, conn);
	uint32_t before = conn->stream.tokens;
	enum check_cause cause = CAUSE_OK;

	if (!conn->got_body)
		stats_latency_add(&c->stats->first_byte, c->now.mono_us - conn->started.mono_us);
	conn->got_body = true;
	if (c->options->mode == MODE_STREAM)
		cause = check_stream_feed(&conn->stream, data, len, conn->http.backend);
	else if (!add_body(conn, data, len))
		cause = CAUSE_WRONG_BODY;
	c->stats->bytes += len;
	c->stats->tokens += conn->stream.tokens - before;
	if (b) {
		b->bytes += len;
		b->tokens += conn->stream.tokens - before;
	}
	if (cause == CAUSE_OK)
		return true;
	conn_end(c, conn, cause);
	return false;
}

static bool on_answer_end(struct client *c, struct conn *conn)
{
	const struct options *o = c->options;
	enum check_cause cause;

	if (o->mode == MODE_STREAM)
		cause = check_stream_end(&conn->stream);
	else
		cause = check_answer(conn->body ? conn->body : "", conn->body_len, o->tokens,
				     o->order, conn->http.backend);
	conn_end(c, conn, cause);
	return cause == CAUSE_OK;
}

/* Bytes came in. */
static bool on_bytes(struct client *c, struct conn *conn, const char *data, size_t len)
{
	while (conn->stage != STAGE_CLOSING) {
		const char *body = NULL;
		size_t body_len = 0;
		size_t used = 0;
		int r = http_read(&conn->http, data, len, &used, &body, &body_len);

		data += used;
		len -= used;
		if (r == HTTP_MORE)
			return true;
		if (r == HTTP_HEAD && !on_head(c, conn))
			return false;
		if (r == HTTP_BODY && !on_body(c, conn, body, body_len))
			return false;
		if (r == HTTP_END && !on_answer_end(c, conn))
			return false;
		if (r < 0) {
			conn_end(c, conn, CAUSE_BAD_HTTP);
			return false;
		}
	}
	return true; /* whatever follows the answer is not ours */
}

/* The connection ended, in order (err = 0) or not. */
static void on_close(struct client *c, struct conn *conn, int err)
{
	if (conn->stage == STAGE_CLOSING) {
		conn_free(conn);
		return;
	}
	if (err) {
		conn_end(c, conn, read_cause(err));
		return;
	}
	if (conn->stage == STAGE_BODY && http_eof(&conn->http)) {
		if (on_answer_end(c, conn))
			conn_free(conn);
		return;
	}
	conn_end(c, conn, CAUSE_EOF);
}

static void on_readable(struct client *c, struct conn *conn, uint32_t events)
{
	for (;;) {
		ssize_t n = recv(conn->fd, c->received, sizeof(c->received), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			on_close(c, conn, n < 0 ? errno : 0);
			return;
		}
		if (conn->stage != STAGE_CLOSING) {
			conn->last_us = c->now.mono_us;
			link_move_tail(&c->waiting, &conn->link);
		}
		if (!on_bytes(c, conn, c->received, (size_t)n))
			return;
		/* Edge-triggered: more bytes make a new event, but an end was told by this one. */
		if ((size_t)n < sizeof(c->received) &&
		    !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
			return;
	}
}

/* ---- writing ---- */

static void send_request(struct client *c, struct conn *conn)
{
	const struct options_target *t = conn->target;
	ssize_t n;

	n = send(conn->fd, t->request + conn->sent, t->request_len - conn->sent, MSG_NOSIGNAL);
	if (n >= 0)
		conn->sent += (uint32_t)n;
	(void)c; /* an error is told by the next event, with what was received before it */
}

/* Returns false when conn is gone. */
static bool on_connected(struct client *c, struct conn *conn)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err) {
		conn_end(c, conn, connect_cause(err));
		return false;
	}
	conn->stage = STAGE_HEAD;
	conn->last_us = c->now.mono_us;
	stats_latency_add(&c->stats->connect, c->now.mono_us - conn->started.mono_us);
	link_move_tail(&c->waiting, &conn->link);
	return true;
}

static void on_event(struct client *c, struct conn *conn, uint32_t events)
{
	if (conn->stage == STAGE_CONNECT && !on_connected(c, conn))
		return;
	if (conn->stage == STAGE_HEAD && conn->sent < conn->target->request_len)
		send_request(c, conn);
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		on_readable(c, conn, events);
}

void client_wait(struct client *c, int timeout_ms, struct output_time (*clock)(void))
{
	struct epoll_event events[EVENTS_BATCH];
	int n;

	n = epoll_wait(c->epoll_fd, events, EVENTS_BATCH, timeout_ms);
	c->now = clock();
	for (int i = 0; i < n; i++)
		on_event(c, events[i].data.ptr, events[i].events);
}

/* ---- deadlines ---- */

/* The first connection of a list if its time is over, else NULL and its deadline. */
static struct conn *overdue(const struct client *c, struct client_link *list, uint64_t limit_us,
			    uint64_t *deadline_us)
{
	struct conn *conn;

	if (list->next == list)
		return NULL;
	conn = link_conn(list->next);
	if (conn->last_us + limit_us <= c->now.mono_us)
		return conn;
	if (conn->last_us + limit_us < *deadline_us)
		*deadline_us = conn->last_us + limit_us;
	return NULL;
}

uint64_t client_expire(struct client *c, struct output_time now)
{
	uint64_t connect_us = (uint64_t)(c->options->connect_s * 1e6);
	uint64_t silence_us = (uint64_t)(c->options->silence_s * 1e6);
	uint64_t next = UINT64_MAX;
	struct conn *conn;

	c->now = now;
	while ((conn = overdue(c, &c->connecting, connect_us, &next)))
		conn_end(c, conn, CAUSE_CONNECT_TIMEOUT);
	while ((conn = overdue(c, &c->waiting, silence_us, &next)))
		conn_end(c, conn, CAUSE_SILENCE);
	while ((conn = overdue(c, &c->closing, CLOSING_TIME_US, &next)))
		conn_free(conn);
	return next;
}
