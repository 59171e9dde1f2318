/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The way of a probe over a socket of its own: plain HTTP/1, and connect only.
 *
 * Why not libcurl, which is used for all else: a request over a kept connection costs it some
 * 50,000 instructions and a hundred allocations, 25 us of 40 in all; 4000 nodes checked every
 * second and scraped every two took a quarter of a core for that alone. Here it is send(), recv()
 * and http1.c. Limits and outcomes are the same, and so are the tests.
 */
#include "userspace/agent/files.h"
#include "userspace/agent/probe_internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "userspace/lib/cleanup.h"

#define READS_PER_EVENT 4 /* of PROBE_RECV_SIZE: others want their turn */

static void on_event(void *userdata, int fd, uint32_t events);
static void open_socket(struct probe *p);

/* The loop's time is that of its last wakeup, too coarse to measure a round trip by. */
static int64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

static bool socket_silent(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return false;
	return info.tcpi_state == TCP_SYN_SENT || (info.tcpi_unacked && info.tcpi_retransmits);
}

static void unsent_free(struct probe *p)
{
	free(p->unsent);
	p->unsent = NULL;
	p->unsent_len = 0;
	p->unsent_at = 0;
}

void probe_http1_drop(struct probe *p)
{
	unsent_free(p);
	if (p->fd < 0)
		return;
	poll_set_forget(p->engine->set, p->fd);
	close(p->fd);
	p->fd = -1;
}

static int64_t connect_limit_ms(const struct probe *p)
{
	const struct probe_spec *s = &p->pr.spec;

	return s->connect_timeout_ms < s->timeout_ms ? s->connect_timeout_ms : s->timeout_ms;
}

/* --- the end ------------------------------------------------------------------------------- */

static void finish(struct probe *p, struct probe_facts *facts)
{
	struct probe_result res = {
		.reused = p->reused,
		.framed = http1_framed(&p->http1),
		.connect_us = p->connect_us,
	};

	p->header_bytes = p->http1.header_bytes;
	facts->http_status = p->http1.status;
	if (facts->code == CURLE_OK)
		res.rtt_us =
			p->pr.way == PROBE_WAY_HTTP1 ? clock_us() - p->began_us : p->connect_us;
	else
		probe_http1_drop(p);
	probe_finish(p, facts, &res);
}

static void fail(struct probe *p, CURLcode code, int os_errno)
{
	struct probe_facts facts = {.code = code, .os_errno = os_errno, .connected = true};

	finish(p, &facts);
}

static void fail_stopped(struct probe *p, enum probe_outcome outcome, const char *error)
{
	p->stop = outcome;
	p->stop_error = error;
	fail(p, CURLE_WRITE_ERROR, 0);
}

/* A whole answer, or a connection where no more is wanted. */
static void succeed(struct probe *p, bool keep)
{
	struct probe_facts facts = {.code = CURLE_OK, .connected = true};

	if (!keep)
		probe_http1_drop(p);
	finish(p, &facts);
}

/*
 * The connection ended (err 0) or failed. One that was kept may have ended just before the
 * request came: that is asked again over a new one.
 */
static void broken(struct probe *p, int err)
{
	if (p->reused && !p->answered) {
		probe_http1_drop(p);
		open_socket(p);
	} else if (err) {
		fail(p, CURLE_RECV_ERROR, err);
	} else {
		fail(p, p->answered ? CURLE_PARTIAL_FILE : CURLE_GOT_NOTHING, 0);
	}
}

void probe_http1_deadline(struct probe *p)
{
	struct probe_facts facts = {.code = CURLE_OPERATION_TIMEDOUT, .connected = true};

	if (p->state == PROBE_CONNECTING) {
		fail(p, CURLE_COULDNT_CONNECT, ETIMEDOUT);
		return;
	}
	facts.silent = socket_silent(p->fd);
	finish(p, &facts);
}

/* --- the answer ---------------------------------------------------------------------------- */

static int on_body(void *userdata, const char *buf, size_t len)
{
	struct probe *p = userdata;

	return probe_take_body(p, p->http1.status, p->http1.encoded, buf, len);
}

static void answer_ends(struct probe *p, enum http1_result result, bool leftover, const char *error)
{
	switch (result) {
	case HTTP1_MORE:
		break;
	case HTTP1_COMPLETE:
		succeed(p, p->http1.keep_alive && !leftover);
		break;
	case HTTP1_BAD:
		fail_stopped(p, PROBE_BAD_RESPONSE, error);
		break;
	case HTTP1_TOO_LONG:
		fail_stopped(p, PROBE_BAD_RESPONSE, "header too long");
		break;
	case HTTP1_TOO_BIG:
		fail_stopped(p, PROBE_TOO_BIG, NULL);
		break;
	case HTTP1_STOPPED:
		fail(p, CURLE_WRITE_ERROR, 0);
		break;
	}
}

/* Returns whether the answer goes on; if not, p may be gone. */
static bool take(struct probe *p, const char *buf, size_t len)
{
	const struct http1_limits limits = {
		.header_max = PROBE_HEADER_MAX,
		.body_max = p->pr.spec.body_max,
	};
	enum http1_result result;
	const char *error = NULL;
	size_t used = 0;

	p->answered = true;
	probe_hold(p);
	result = http1_feed(&p->http1, buf, len, &limits, on_body, p, &used, &error);
	if (!probe_release(p) || p->state != PROBE_READING)
		return false; /* freed, paused or changed by on_body */
	answer_ends(p, result, used < len, error);
	return result == HTTP1_MORE;
}

static void receive(struct probe *p)
{
	char *buf = p->engine->recv;
	ssize_t n;
	int i;

	for (i = 0; i < READS_PER_EVENT; i++) {
		n = recv(p->fd, buf, PROBE_RECV_SIZE, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			broken(p, errno);
			return;
		}
		if (n == 0) {
			if (http1_closed(&p->http1))
				succeed(p, false);
			else
				broken(p, 0);
			return;
		}
		if (!take(p, buf, (size_t)n) || n < PROBE_RECV_SIZE)
			return;
	}
}

/* --- the request --------------------------------------------------------------------------- */

static void watch(struct probe *p, uint32_t events)
{
	int r = poll_set_watch(p->engine->set, p->fd, events, on_event, p);

	if (r < 0) {
		probe_http1_drop(p);
		probe_finish_local(p, "epoll", -r);
	}
}

static void sent(struct probe *p)
{
	unsent_free(p);
	p->state = PROBE_READING;
	watch(p, EPOLLIN | EPOLLRDHUP);
}

/* What the socket did not take at once is copied: the token may change meanwhile. */
static int unsent_keep(struct probe *p, const struct iovec *iov, int n_iov, size_t skip, size_t len)
{
	char *at;
	int i;

	at = p->unsent = malloc(len);
	if (!at)
		return -ENOMEM;
	for (i = 0; i < n_iov; i++) {
		size_t n = iov[i].iov_len;
		size_t from = skip < n ? skip : n;

		memcpy(at, (const char *)iov[i].iov_base + from, n - from);
		at += n - from;
		skip -= from;
	}
	assert((size_t)(at - p->unsent) == len);
	p->unsent_len = len;
	return 0;
}

static void send_request(struct probe *p)
{
	const char *token = NULL;
	struct iovec iov[4] = {{p->pr.request, p->pr.request_len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 1};
	size_t len = p->pr.request_len + 2;
	ssize_t n;

	if (p->pr.bearer) {
		int r = bearer_token(p->pr.bearer, p->started_ms, &token);

		if (r < 0) {
			probe_http1_drop(p);
			probe_finish_local(p, "bearer token", -r);
			return;
		}
		iov[1] = (struct iovec){"Authorization: Bearer ", 22};
		iov[2] = (struct iovec){(void *)(uintptr_t)token, strlen(token)};
		iov[3] = (struct iovec){"\r\n\r\n", 4};
		msg.msg_iovlen = 4;
		len = p->pr.request_len + 22 + strlen(token) + 4;
	} else {
		iov[1] = (struct iovec){"\r\n", 2};
		msg.msg_iovlen = 2;
	}
	p->began_us = clock_us();
	probe_due(p, p->started_ms + p->pr.spec.timeout_ms);
	n = sendmsg(p->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n == (ssize_t)len) {
		sent(p);
		return;
	}
	if (n < 0 && errno != EAGAIN) {
		broken(p, errno);
		return;
	}
	n = n < 0 ? 0 : n;
	if (unsent_keep(p, iov, (int)msg.msg_iovlen, (size_t)n, len - (size_t)n) < 0) {
		probe_http1_drop(p);
		probe_finish_local(p, "request", ENOMEM);
		return;
	}
	p->state = PROBE_SENDING;
	watch(p, EPOLLOUT);
}

static void send_more(struct probe *p)
{
	ssize_t n = send(p->fd, p->unsent + p->unsent_at, p->unsent_len - p->unsent_at,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN) {
		broken(p, errno);
		return;
	}
	if (n > 0)
		p->unsent_at += (size_t)n;
	if (p->unsent_at == p->unsent_len)
		sent(p);
}

/* --- the connection ------------------------------------------------------------------------ */

static void connected(struct probe *p)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err) {
		fail(p, CURLE_COULDNT_CONNECT, err);
		return;
	}
	p->connect_us = clock_us() - p->began_us;
	if (p->pr.way == PROBE_WAY_CONNECT)
		succeed(p, false);
	else
		send_request(p);
}

static void socket_options(struct probe *p, int fd)
{
	/* Closed with a reset: no TIME_WAIT here, and the server sees nothing half open. */
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	/* A host that went away is noticed on a kept connection as soon as on a new one. */
	unsigned int ms = (unsigned int)p->pr.spec.connect_timeout_ms;
	int on = 1;

	if (p->pr.way == PROBE_WAY_CONNECT) {
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void fail_local(struct probe *p, int err)
{
	struct probe_facts facts = {
		.code = CURLE_COULDNT_CONNECT,
		.os_errno = err,
		.local = true,
	};

	finish(p, &facts);
}

static void open_socket(struct probe *p)
{
	int64_t now_ms = probe_engine_now(p->engine);
	struct sockaddr_storage sa;
	socklen_t len = endpoint_to_sockaddr(&p->pr.spec.target, &sa);
	int64_t limit_ms = now_ms + connect_limit_ms(p);
	int64_t total_ms = p->started_ms + p->pr.spec.timeout_ms;

	p->state = PROBE_CONNECTING;
	p->reused = false;
	p->answered = false;
	p->began_us = clock_us();
	p->fd = files_admit(socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	if (p->fd < 0) {
		fail_local(p, errno);
		return;
	}
	socket_options(p, p->fd);
	p->engine->stats.connections++;
	if (connect(p->fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS) {
		fail(p, CURLE_COULDNT_CONNECT, errno);
		return;
	}
	probe_due(p, limit_ms < total_ms ? limit_ms : total_ms);
	watch(p, EPOLLOUT);
}

static void on_event(void *userdata, int fd, uint32_t events)
{
	struct probe *p = userdata;

	(void)events;
	assert(fd == p->fd);
	switch (p->state) {
	case PROBE_WAITING:
		/* The peer closed what was kept, or sent what nobody asked for. */
		probe_http1_drop(p);
		probe_wake(p);
		break;
	case PROBE_CONNECTING:
		connected(p);
		break;
	case PROBE_SENDING:
		send_more(p);
		break;
	case PROBE_READING:
		receive(p);
		break;
	default:
		assert(!"an event without a socket");
	}
}

void probe_http1_start(struct probe *p, int64_t now_ms)
{
	const char *token;
	int r;

	http1_begin(&p->http1);
	p->connect_us = 0;
	p->answered = false;
	if (p->pr.bearer) {
		r = bearer_token(p->pr.bearer, now_ms, &token);
		if (r < 0) {
			probe_finish_local(p, "bearer token", -r);
			return;
		}
	}
	p->reused = p->fd >= 0;
	if (p->reused)
		send_request(p);
	else
		open_socket(p);
}
