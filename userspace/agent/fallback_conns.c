// SPDX-License-Identifier: BSD-2-Clause
/* Connections of the fallback responder, and which of them have been open for long enough. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "userspace/agent/fallback_priv.h"

static int local_endpoint(int fd, struct endpoint *ret)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	return endpoint_from_sockaddr((struct sockaddr *)&sa, len, ret);
}

struct fallback_conn *fallback_conn_open(struct fallback_server *server, int fd)
{
	struct fallback_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->fd = fd;
	conn->began_ms = server->settings.now_ms();
	conn->look_ms = conn->began_ms + server->settings.silence_ms;
	(void)local_endpoint(fd, &conn->local);
	pthread_mutex_lock(&server->conns_lock);
	conn->prev = server->last;
	if (server->last)
		server->last->next = conn;
	else
		server->first = conn;
	server->last = conn;
	server->n_conns++;
	pthread_mutex_unlock(&server->conns_lock);
	return conn;
}

void fallback_conn_set_phase(struct fallback_conn *conn, enum fallback_phase phase)
{
	__atomic_store_n(&conn->phase, phase, __ATOMIC_RELAXED);
}

void fallback_conn_close(struct fallback_server *server, struct fallback_conn *conn)
{
	pthread_mutex_lock(&server->conns_lock);
	if (conn->prev)
		conn->prev->next = conn->next;
	else
		server->first = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	else
		server->last = conn->prev;
	server->n_conns--;
	pthread_mutex_unlock(&server->conns_lock);
	free(conn);
}

uint32_t fallback_conns_open(struct fallback_server *server)
{
	uint32_t n;

	pthread_mutex_lock(&server->conns_lock);
	n = server->n_conns;
	pthread_mutex_unlock(&server->conns_lock);
	return n;
}

/* --- who is silent ---------------------------------------------------------------------------- */

/*
 * It is for this host to go on: the client has said something that nobody has read yet, or all.
 * What it says after its request is no part of it, and is never read.
 */
static bool is_our_turn(const struct fallback_conn *conn)
{
	int n = 0;

	switch (__atomic_load_n(&conn->phase, __ATOMIC_RELAXED)) {
	case FALLBACK_READING:
		return ioctl(conn->fd, FIONREAD, &n) == 0 && n > 0;
	case FALLBACK_ANSWERING:
		return true;
	case FALLBACK_SENDING:
		break;
	}
	return false;
}

/* Since the last packet of the client that brought or took something. 0 if it cannot be asked. */
static int64_t silent_ms(const struct fallback_conn *conn)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return 0;
	return info.tcpi_last_data_recv < info.tcpi_last_ack_recv ? info.tcpi_last_data_recv
								   : info.tcpi_last_ack_recv;
}

static bool is_over(const struct fallback_server *server, struct fallback_conn *conn,
		    int64_t now_ms)
{
	int64_t silent;

	conn->look_ms = now_ms; /* at the next chance */
	if (is_our_turn(conn))
		return false;
	if (now_ms - conn->began_ms >= server->settings.lifetime_ms)
		return true;
	silent = silent_ms(conn);
	conn->look_ms = now_ms + server->settings.silence_ms - silent;
	return silent >= server->settings.silence_ms;
}

void fallback_conns_expire(struct fallback_server *server, int64_t now_ms)
{
	int64_t least_ms = server->settings.silence_ms < server->settings.lifetime_ms
				   ? server->settings.silence_ms
				   : server->settings.lifetime_ms;

	pthread_mutex_lock(&server->conns_lock);
	for (struct fallback_conn *c = server->first; c; c = c->next) {
		int64_t end_ms = c->began_ms + server->settings.lifetime_ms;

		if (now_ms - c->began_ms < least_ms)
			break;
		if (c->expired || (now_ms < c->look_ms && now_ms < end_ms) ||
		    !is_over(server, c, now_ms))
			continue;
		c->expired = true;
		/* Before the client can know. */
		__atomic_fetch_add(&server->stats.expired, 1, __ATOMIC_SEQ_CST);
		(void)shutdown(c->fd, SHUT_RDWR);
	}
	pthread_mutex_unlock(&server->conns_lock);
}
