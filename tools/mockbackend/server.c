// SPDX-License-Identifier: BSD-2-Clause
#include "tools/mockbackend/server.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tools/mockbackend/request.h"
#include "userspace/lib/log.h"

#define ACCEPT_BATCH 256
#define HANGUP_BATCH 256
#define CONN_MEMORY  (16U << 10)
#define SPARE_FDS    64
#define STOP_ROUNDS  100
#define IDLE_S       300U /* for connections between requests, or that take no more bytes */
#define FILES_WANTED 1048576

uint64_t server_now_us(const struct server *s)
{
	uint64_t now = 0;

	(void)sd_event_now(s->event, CLOCK_MONOTONIC, &now); /* fails on a wrong clock only */
	return now;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *user)
{
	struct server *s = user;

	(void)source;
	(void)usec;
	engine_advance(&s->engine, server_now_us(s), request_wake, s);
	server_arm_tick(s);
	return 0;
}

void server_arm_tick(struct server *s)
{
	uint64_t next = engine_next_us(&s->engine);

	if (s->stopping || next == UINT64_MAX) {
		(void)sd_event_source_set_enabled(s->tick, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(s->tick, next);
	(void)sd_event_source_set_enabled(s->tick, SD_EVENT_ONESHOT);
}

void server_apply_settings(struct server *s)
{
	const struct fault_settings *w = &s->settings;
	uint64_t now_us = server_now_us(s);

	s->engine.config.queue_max = w->queue_max;
	if (w->tokens_per_s != s->engine.config.tokens_per_s ||
	    w->rate_factor != s->engine.rate_factor)
		engine_set_rate(&s->engine, w->tokens_per_s, w->rate_factor, now_us);
	engine_set_slots(&s->engine, w->slots, now_us);
	server_arm_tick(s);
}

/* ---- connections ---- */

static void watch_hangup(struct server *s, struct conn *conn)
{
	struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = conn};

	if (epoll_ctl(s->hangup_fd, EPOLL_CTL_ADD, conn->fd, &ev) < 0)
		log_warn("watching a connection: %s; its end will be seen late", strerror(errno));
}

static void conn_start(struct server *s, struct MHD_Connection *mhd, void **socket_context)
{
	const union MHD_ConnectionInfo *info;
	struct conn *conn;

	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return; /* requests without one are refused */
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	conn->fd = info->connect_fd;
	conn->mhd = mhd;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	listen_peer(info->client_addr, conn->address, sizeof(conn->address), &conn->port);
	watch_hangup(s, conn);
	*socket_context = conn;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct conn *conn = *socket_context;
	struct server *s = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		conn_start(s, mhd, socket_context);
		return;
	}
	if (!conn)
		return;
	(void)epoll_ctl(s->hangup_fd, EPOLL_CTL_DEL, conn->fd, NULL);
	free(conn);
	*socket_context = NULL;
}

/* The batch never holds a freed connection: they are freed by MHD_run() only. */
static int on_hangup(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct epoll_event events[HANGUP_BATCH];
	struct server *s = user;
	int n;

	(void)source;
	(void)revents;
	n = epoll_wait(fd, events, HANGUP_BATCH, 0);
	for (int i = 0; i < n; i++)
		request_hangup(events[i].data.ptr, s);
	return 0;
}

static int on_daemon(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct server *s = user;

	(void)source;
	(void)fd;
	(void)revents;
	s->run_daemon = true;
	return 0;
}

/* ---- listening ---- */

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct server *s = user;

	(void)source;
	(void)revents;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage addr = {0};
		socklen_t len = sizeof(addr);
		int c;

		c = accept4(fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (c < 0)
			break; /* none left; or no descriptors, and the next event tries again */
		/* Closes c if it fails. */
		(void)MHD_add_connection(s->daemon, c, (struct sockaddr *)&addr, len);
		s->run_daemon = true;
	}
	return 0;
}

static int open_listener(struct server *s, uint32_t i)
{
	struct listen_socket *l = &s->listeners[i];
	char text[LISTEN_TEXT_MAX];
	int r;

	r = listen_open(l);
	if (r < 0) {
		listen_text(l, text, sizeof(text));
		log_error("listening on %s: %s", text, strerror(-r));
		return r;
	}
	r = sd_event_add_io(s->event, &s->accept_sources[i], l->fd, EPOLLIN, on_accept, s);
	if (r < 0)
		log_error("watching a listening socket: %s", strerror(-r));
	return r;
}

static int open_listeners(struct server *s)
{
	for (uint32_t i = 0; i < s->n_listeners; i++) {
		int r = open_listener(s, i);

		if (r < 0)
			return r;
	}
	return 0;
}

static void close_listeners(struct server *s, bool also_unix)
{
	for (uint32_t i = 0; i < s->n_listeners; i++) {
		if (!also_unix && s->listeners[i].addr.ss_family == AF_UNIX)
			continue;
		s->accept_sources[i] = sd_event_source_disable_unref(s->accept_sources[i]);
		listen_close(&s->listeners[i]);
	}
}

static int on_reopen(sd_event_source *source, uint64_t usec, void *user)
{
	struct server *s = user;

	(void)source;
	(void)usec;
	for (uint32_t i = 0; i < s->n_listeners; i++)
		if (s->listeners[i].fd < 0)
			(void)open_listener(s, i); /* logged; the others go on */
	return 0;
}

void server_refuse(struct server *s, uint32_t refuse_ms)
{
	close_listeners(s, false);
	(void)sd_event_source_set_time_relative(s->reopen, refuse_ms * 1000ULL);
	(void)sd_event_source_set_enabled(s->reopen, SD_EVENT_ONESHOT);
}

/* ---- life ---- */

static unsigned int connection_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return 1024 - SPARE_FDS;
	if (lim.rlim_cur < FILES_WANTED) {
		struct rlimit more = {FILES_WANTED, FILES_WANTED};

		if (setrlimit(RLIMIT_NOFILE, &more) < 0) {
			more.rlim_cur = lim.rlim_max;
			more.rlim_max = lim.rlim_max;
			(void)setrlimit(RLIMIT_NOFILE, &more);
		}
		(void)getrlimit(RLIMIT_NOFILE, &lim);
	}
	return (unsigned int)lim.rlim_cur - SPARE_FDS;
}

static void daemon_log(void *cls, const char *fmt, va_list ap)
{
	(void)cls;
	log_writev(LOG_LEVEL_DEBUG, fmt, ap);
}

static int start_daemon(struct server *s)
{
	const union MHD_DaemonInfo *info;

	s->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET |
			MHD_USE_ERROR_LOG,
		0, NULL, NULL, request_access, s, MHD_OPTION_EXTERNAL_LOGGER, daemon_log, NULL,
		MHD_OPTION_NOTIFY_COMPLETED, request_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, s, MHD_OPTION_CONNECTION_LIMIT, connection_limit(),
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONN_MEMORY,
		MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_END);
	if (!s->daemon)
		return -ENOMEM;
	info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -ENOTSUP;
	return sd_event_add_io(s->event, NULL, info->epoll_fd, EPOLLIN, on_daemon, s);
}

static int add_signals(struct server *s)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	r = sd_event_add_signal(s->event, NULL, SIGTERM, NULL, NULL);
	if (r < 0)
		return r;
	return sd_event_add_signal(s->event, NULL, SIGINT, NULL, NULL);
}

static int add_timers(struct server *s)
{
	int r;

	r = sd_event_add_time(s->event, &s->tick, CLOCK_MONOTONIC, 0, 1000, on_tick, s);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(s->tick, SD_EVENT_OFF);
	if (r < 0)
		return r;
	r = sd_event_add_time(s->event, &s->reopen, CLOCK_MONOTONIC, 0, 1000, on_reopen, s);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(s->reopen, SD_EVENT_OFF);
}

static int add_hangup(struct server *s)
{
	s->hangup_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->hangup_fd < 0)
		return -errno;
	return sd_event_add_io(s->event, NULL, s->hangup_fd, EPOLLIN, on_hangup, s);
}

static int open_loop(struct server *s)
{
	int r;

	r = sd_event_new(&s->event);
	if (r < 0)
		return r;
	r = add_signals(s);
	if (r < 0)
		return r;
	r = add_timers(s);
	if (r < 0)
		return r;
	r = add_hangup(s);
	if (r < 0)
		return r;
	return start_daemon(s);
}

int server_open(struct server *s, const struct server_options *o)
{
	int r;

	memset(s, 0, sizeof(*s));
	s->hangup_fd = -1;
	s->name = o->name;
	s->model = o->model;
	s->started_s = (int64_t)time(NULL);
	memcpy(s->listeners, o->listeners, sizeof(s->listeners));
	s->n_listeners = o->n_listeners;
	r = open_loop(s);
	if (r < 0) {
		log_error("starting the server: %s", strerror(-r));
		return r;
	}
	s->base = o->settings;
	if (s->base.loading_until_us && s->base.loading_until_us != UINT64_MAX)
		s->base.loading_until_us += server_now_us(s);
	s->settings = s->base;
	engine_init(&s->engine, &o->engine, server_now_us(s));
	server_apply_settings(s);
	return open_listeners(s);
}

/* Whether libmicrohttpd has work that its epoll descriptor does not show. */
static bool daemon_due(struct server *s, uint64_t *ret_timeout_us)
{
	MHD_UNSIGNED_LONG_LONG ms;

	*ret_timeout_us = UINT64_MAX;
	if (MHD_get_timeout(s->daemon, &ms) != MHD_YES)
		return false;
	*ret_timeout_us = ms * 1000;
	return ms == 0;
}

int server_run(struct server *s)
{
	uint64_t timeout_us;
	int r;

	for (;;) {
		if (daemon_due(s, &timeout_us) || s->run_daemon) {
			s->run_daemon = false;
			(void)MHD_run(s->daemon);
			timeout_us = 0;
		}
		r = sd_event_run(s->event, timeout_us);
		if (r < 0)
			return r;
		if (sd_event_get_state(s->event) == SD_EVENT_FINISHED)
			return 0;
	}
}

void server_close(struct server *s)
{
	s->stopping = true;
	close_listeners(s, true);
	if (s->daemon) {
		request_end_all(s);
		for (int i = 0; i < STOP_ROUNDS && s->requests; i++)
			(void)MHD_run(s->daemon);
		MHD_stop_daemon(s->daemon);
	}
	sd_event_source_disable_unref(s->tick);
	sd_event_source_disable_unref(s->reopen);
	if (s->hangup_fd >= 0)
		close(s->hangup_fd);
	sd_event_unref(s->event);
}
