/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A TCP server on loopback whose answers a test writes byte by byte, one thread per connection.
 *
 * For tests of clients: it does what no server library would do. Times in milliseconds.
 */
#ifndef SLUICE_TESTS_RAW_SERVER_H
#define SLUICE_TESTS_RAW_SERVER_H

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RAW_CONNECTIONS_MAX 4096

struct raw_server;

struct raw_conn {
	struct raw_server *server;
	pthread_t thread;
	int fd;
	unsigned int nth;   /* from 0 */
	char request[4096]; /* the latest, NUL-terminated */
};

struct raw_server {
	/* Returns when the connection is to be closed. */
	void (*serve)(struct raw_conn *conn);
	const void *arg;
	int fd;
	uint16_t port;
	pthread_t thread;
	atomic_bool stopping;
	atomic_uint n_conns;
	atomic_uint n_requests;
	struct raw_conn *conns[RAW_CONNECTIONS_MAX];
};

static inline void *raw_conn_main(void *arg)
{
	struct raw_conn *conn = arg;

	conn->server->serve(conn);
	/* The descriptor stays open for raw_server_stop(), which may be shutting it down. */
	shutdown(conn->fd, SHUT_RDWR);
	return NULL;
}

static inline void *raw_server_main(void *arg)
{
	struct raw_server *server = arg;
	int on = 1;

	for (;;) {
		struct raw_conn *conn;
		unsigned int n = atomic_load(&server->n_conns);
		int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			return NULL;
		assert(n < RAW_CONNECTIONS_MAX);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		conn = calloc(1, sizeof(*conn));
		assert(conn);
		conn->server = server;
		conn->fd = fd;
		conn->nth = n;
		server->conns[n] = conn;
		atomic_store(&server->n_conns, n + 1);
		if (pthread_create(&conn->thread, NULL, raw_conn_main, conn))
			abort();
	}
}

static inline void raw_server_start_at(struct raw_server *server, void (*serve)(struct raw_conn *),
				       const void *arg, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int on = 1;

	*server = (struct raw_server){.serve = serve, .arg = arg};
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (server->fd < 0 || bind(server->fd, (struct sockaddr *)&sa, len) < 0 ||
	    listen(server->fd, 128) < 0 ||
	    getsockname(server->fd, (struct sockaddr *)&sa, &len) < 0) {
		perror("raw_server");
		abort();
	}
	server->port = ntohs(sa.sin_port);
	if (pthread_create(&server->thread, NULL, raw_server_main, server))
		abort();
}

static inline void raw_server_start(struct raw_server *server, void (*serve)(struct raw_conn *),
				    const void *arg)
{
	raw_server_start_at(server, serve, arg, 0);
}

/* Closes the port and all connections, as the end of a process does. */
static inline void raw_server_stop(struct raw_server *server)
{
	unsigned int i, n;

	atomic_store(&server->stopping, true);
	shutdown(server->fd, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->fd);
	n = atomic_load(&server->n_conns);
	for (i = 0; i < n; i++)
		shutdown(server->conns[i]->fd, SHUT_RDWR);
	for (i = 0; i < n; i++) {
		pthread_join(server->conns[i]->thread, NULL);
		close(server->conns[i]->fd);
		free(server->conns[i]);
	}
}

/* Reads up to the end of a request's header. False if the peer closed or reset instead. */
static inline bool raw_read_request(struct raw_conn *conn)
{
	char buf[sizeof(conn->request)] = "";
	size_t len = 0;

	while (!strstr(buf, "\r\n\r\n")) {
		ssize_t n = recv(conn->fd, buf + len, sizeof(buf) - 1 - len, 0);

		if (n <= 0)
			return false;
		len += (size_t)n;
		buf[len] = '\0';
	}
	memcpy(conn->request, buf, len + 1);
	atomic_fetch_add(&conn->server->n_requests, 1);
	return true;
}

/* False if the peer is gone. */
static inline bool raw_write(struct raw_conn *conn, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = send(conn->fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static inline bool raw_print(struct raw_conn *conn, const char *text)
{
	return raw_write(conn, text, strlen(text));
}

/* Waits; false if the peer closed meanwhile. */
static inline bool raw_sleep(struct raw_conn *conn, int ms)
{
	struct pollfd p = {.fd = conn->fd, .events = POLLRDHUP};

	return poll(&p, 1, ms) == 0;
}

static inline void raw_wait_closed(struct raw_conn *conn)
{
	while (raw_sleep(conn, 1000))
		;
}

/* Ends the connection with a reset. */
static inline void raw_reset(struct raw_conn *conn)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	int fd = conn->fd;

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	conn->fd = -1;
	close(fd);
}

#endif
