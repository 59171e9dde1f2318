// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/fallback_server.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

#include "userspace/agent/fallback_priv.h"
#include "userspace/agent/files.h"
#include "userspace/lib/cleanup.h"

#define BACKLOG	     65535 /* as much as net.core.somaxconn allows */
#define BATCH	     64	   /* accepted while the lock is held */
#define EXPIRE_MS    500
#define NO_FILE_MS   50	   /* wait when there is no descriptor for a connection */
#define IPV6_MSS     1220  /* fits 1280, the least MTU of IPv6 */

void fallback_be_nice(void)
{
	static __thread bool done;

	if (!done)
		(void)setpriority(PRIO_PROCESS, 0, FALLBACK_NICE); /* Linux: of the thread */
	done = true;
}

/* --- accepting -------------------------------------------------------------------------------- */

static void reset(int fd)
{
	static const struct linger at_once = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

/* One connection: 0; -EAGAIN when none waits; -errno. */
static int accept_one(struct fallback_server *server, const struct fallback_listener *l)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct endpoint peer;
	int fd = files_admit(
		accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC));

	if (fd < 0)
		return -errno;
	if (!l->gate) {
		reset(fd);
		return 0;
	}
	if (fallback_conns_open(server) >= server->settings.connections ||
	    endpoint_from_sockaddr((struct sockaddr *)&sa, len, &peer) < 0) {
		__atomic_fetch_add(&server->stats.refused, 1, __ATOMIC_RELAXED);
		close(fd);
		return 0;
	}
	fallback_gate_enter(server, l->gate, fd, &peer);
	return 0;
}

/* Up to BATCH of them. Returns 0; -EAGAIN; -errno when this host has no room for one. */
static int accept_batch(struct fallback_server *server, const struct fallback_listener *l)
{
	int r = 0;

	for (int i = 0; i < BATCH; i++) {
		r = accept_one(server, l);
		/* A client that went away before it was accepted says nothing about the next. */
		if (r == -ECONNABORTED || r == -EINTR || r == -EPROTO || r == -EPERM)
			r = 0;
		if (r < 0)
			break;
	}
	return r;
}

static const struct fallback_listener *find_id(const struct fallback_server *server, uint64_t id)
{
	for (uint32_t i = 0; i < server->n_listeners; i++)
		if (server->listeners[i].id == id)
			return &server->listeners[i];
	return NULL;
}

static void on_listener(struct fallback_server *server, uint64_t id)
{
	static const struct timespec pause = {.tv_nsec = NO_FILE_MS * 1000000};
	const struct fallback_listener *l;
	int r = -EAGAIN;

	pthread_mutex_lock(&server->lock);
	l = find_id(server, id);
	if (l)
		r = accept_batch(server, l);
	pthread_mutex_unlock(&server->lock);
	if (r < 0 && r != -EAGAIN) {
		__atomic_fetch_add(&server->stats.refused, 1, __ATOMIC_RELAXED);
		(void)nanosleep(&pause, NULL);
	}
}

static void *run_acceptor(void *userdata)
{
	struct fallback_server *server = userdata;
	struct epoll_event events[BATCH];
	int64_t now_ms, expire_ms = 0;

	(void)prctl(PR_SET_NAME, "fallback");
	fallback_be_nice();
	while (!__atomic_load_n(&server->stop, __ATOMIC_ACQUIRE)) {
		int n = epoll_wait(server->epoll_fd, events, BATCH, EXPIRE_MS);

		for (int i = 0; i < n; i++)
			if (events[i].data.u64)
				on_listener(server, events[i].data.u64);
		now_ms = server->settings.now_ms();
		if (now_ms - expire_ms < EXPIRE_MS)
			continue;
		expire_ms = now_ms;
		fallback_conns_expire(server, now_ms);
	}
	return NULL;
}

/* --- listening -------------------------------------------------------------------------------- */

static int set(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/*
 * Transparent: the kernel lets it bind to, and answer from, an address that is not this host's
 * (local_delivery.h). Without the privilege for that the address must be on a device, now or later.
 */
static int set_foreign(int fd, sa_family_t family)
{
	bool v4 = family == AF_INET;

	if (set(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1) == 0)
		return 0;
	return set(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_FREEBIND : IPV6_FREEBIND, 1);
}

/* ICMP errors for the VIP need not reach this host: packets that always fit need none. */
static int set_packet_size(int fd, sa_family_t family)
{
	if (family == AF_INET)
		return set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
	return set(fd, IPPROTO_TCP, TCP_MAXSEG, IPV6_MSS);
}

static int open_socket(const struct endpoint *ep, int *ret_fd)
{
	_cleanup_close_ int fd = socket(ep->addr.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
					IPPROTO_TCP);
	struct sockaddr_storage sa;
	socklen_t len = endpoint_to_sockaddr(ep, &sa);
	int r;

	if (fd < 0)
		return -errno;
	r = set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0 && ep->addr.family == AF_INET6)
		r = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (r == 0)
		r = set_foreign(fd, ep->addr.family);
	if (r == 0)
		r = set_packet_size(fd, ep->addr.family);
	if (r == 0 && (bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, BACKLOG) < 0))
		r = -errno;
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static struct fallback_listener *find_listener(const struct fallback_server *server,
					       const struct endpoint *ep)
{
	for (uint32_t i = 0; i < server->n_listeners; i++)
		if (endpoint_equal(&server->listeners[i].ep, ep))
			return &server->listeners[i];
	return NULL;
}

/* Under the lock. */
static int add_listener(struct fallback_server *server, const struct endpoint *ep,
			struct fallback_gate *gate)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = ++server->next_id};
	struct fallback_listener *listeners =
		reallocarray(server->listeners, server->n_listeners + 1, sizeof(*listeners));
	_cleanup_close_ int fd = -1;
	int r;

	if (!listeners)
		return -ENOMEM;
	server->listeners = listeners;
	r = open_socket(ep, &fd);
	if (r < 0)
		return r;
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	listeners[server->n_listeners++] = (struct fallback_listener){
		.ep = *ep, .id = ev.data.u64, .fd = TAKE_FD(fd), .gate = gate};
	if (gate)
		gate->n_listeners++;
	return 0;
}

static bool same_tls(const struct fallback_gate *gate, const struct fallback_tls *tls)
{
	if (!tls || !gate->certificate)
		return !tls && !gate->certificate;
	return !strcmp(gate->certificate, tls->certificate) && !strcmp(gate->key, tls->key);
}

/* Only the loop changes the list of gates, so it may read it without the lock. */
static int get_gate(struct fallback_server *server, const struct fallback_tls *tls,
		    struct fallback_gate **ret_gate)
{
	struct fallback_gate *gate;
	int r;

	for (gate = server->gates; gate; gate = gate->next) {
		if (!same_tls(gate, tls))
			continue;
		*ret_gate = gate;
		return 0;
	}
	r = fallback_gate_new(server, tls, &gate);
	if (r < 0)
		return r;
	pthread_mutex_lock(&server->lock);
	gate->next = server->gates;
	server->gates = gate;
	pthread_mutex_unlock(&server->lock);
	*ret_gate = gate;
	return 0;
}

/* gate: NULL to reset connections. */
static int lead_to(struct fallback_server *server, const struct endpoint *ep,
		   struct fallback_gate *gate)
{
	struct fallback_listener *l;
	int r = 0;

	pthread_mutex_lock(&server->lock);
	l = find_listener(server, ep);
	if (!l) {
		r = add_listener(server, ep, gate);
	} else if (l->gate != gate) {
		if (l->gate)
			l->gate->n_listeners--;
		if (gate)
			gate->n_listeners++;
		l->gate = gate;
	}
	pthread_mutex_unlock(&server->lock);
	return r;
}

int fallback_server_listen(struct fallback_server *server, const struct endpoint *ep,
			   const struct fallback_tls *tls)
{
	struct fallback_gate *gate = NULL;
	int r;

	r = get_gate(server, tls, &gate);
	return r < 0 ? r : lead_to(server, ep, gate);
}

int fallback_server_refuse(struct fallback_server *server, const struct endpoint *ep)
{
	return lead_to(server, ep, NULL);
}

void fallback_server_unlisten(struct fallback_server *server, const struct endpoint *ep)
{
	struct fallback_listener *l;

	pthread_mutex_lock(&server->lock);
	l = find_listener(server, ep);
	if (l) {
		(void)epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
		(void)accept_batch(server, l);
		close(l->fd);
		if (l->gate)
			l->gate->n_listeners--;
		*l = server->listeners[--server->n_listeners];
	}
	pthread_mutex_unlock(&server->lock);
}

bool fallback_server_listens(struct fallback_server *server, const struct endpoint *ep)
{
	/* Only the loop changes the list. */
	return find_listener(server, ep) != NULL;
}

void fallback_server_sweep(struct fallback_server *server)
{
	struct fallback_gate **at = &server->gates;

	while (*at) {
		struct fallback_gate *gate = *at;

		if (gate->n_listeners || fallback_gate_connections(gate)) {
			at = &gate->next;
			continue;
		}
		pthread_mutex_lock(&server->lock);
		*at = gate->next;
		pthread_mutex_unlock(&server->lock);
		fallback_gate_free(&gate);
	}
}

void fallback_server_stats(struct fallback_server *server, struct fallback_server_stats *ret_stats)
{
	const struct fallback_server_stats *s = &server->stats;

	ret_stats->open = fallback_conns_open(server);
	ret_stats->accepted = __atomic_load_n(&s->accepted, __ATOMIC_RELAXED);
	ret_stats->refused = __atomic_load_n(&s->refused, __ATOMIC_RELAXED);
	ret_stats->expired = __atomic_load_n(&s->expired, __ATOMIC_RELAXED);
}

/* --- start and stop --------------------------------------------------------------------------- */

/* A signal meant for the loop must not end up in a thread that knows nothing of it. */
static int start_acceptor(struct fallback_server *server)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&server->acceptor, NULL, run_acceptor, server);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	server->acceptor_runs = r == 0;
	return -r;
}

static int open_wake(struct fallback_server *server)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0};

	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	server->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (server->epoll_fd < 0 || server->wake_fd < 0 ||
	    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->wake_fd, &ev) < 0)
		return -errno;
	return 0;
}

int fallback_server_new(const struct fallback_server_settings *settings,
			struct fallback_server **ret)
{
	struct fallback_server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	server->settings = *settings;
	if (!settings->lifetime_ms)
		server->settings.lifetime_ms = FALLBACK_LIFETIME_MS;
	if (!settings->silence_ms)
		server->settings.silence_ms = FALLBACK_SILENCE_MS;
	server->epoll_fd = server->wake_fd = -1;
	pthread_mutex_init(&server->lock, NULL);
	pthread_mutex_init(&server->conns_lock, NULL);
	(void)getrandom(&server->random, sizeof(server->random), GRND_NONBLOCK);
	r = open_wake(server);
	if (r == 0)
		r = start_acceptor(server);
	if (r < 0) {
		fallback_server_free(&server);
		return r;
	}
	*ret = server;
	return 0;
}

static void stop_acceptor(struct fallback_server *server)
{
	uint64_t one = 1;

	__atomic_store_n(&server->stop, true, __ATOMIC_RELEASE);
	(void)!write(server->wake_fd, &one, sizeof(one));
	pthread_join(server->acceptor, NULL);
}

void fallback_server_free(struct fallback_server **server)
{
	struct fallback_server *s = *server;

	if (!s)
		return;
	if (s->acceptor_runs)
		stop_acceptor(s);
	while (s->gates) {
		struct fallback_gate *gate = s->gates;

		s->gates = gate->next;
		fallback_gate_free(&gate);
	}
	for (uint32_t i = 0; i < s->n_listeners; i++)
		close(s->listeners[i].fd);
	free(s->listeners);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->conns_lock);
	free(s);
	*server = NULL;
}
