/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools/bench_probe/nodes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 256
#define HEADER_MAX 256

struct nodes {
	pthread_t thread;
	int listen_fd;
	int epoll_fd;
	int stop_fd;
	uint16_t port;
	char health[HEADER_MAX];
	size_t health_len;
	char *metrics; /* header and page */
	size_t metrics_len;
	char *counter; /* digits in it that count up, so that no node looks hung; NULL: none */
	unsigned int count;
};

#define COUNTER        "iteration_tokens_total_count{"
#define COUNTER_DIGITS 5

static const char header[] = "HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
			     "server: uvicorn\r\ncontent-type: text/plain; version=0.0.4\r\n"
			     "content-length: %zu\r\n\r\n";

uint32_t nodes_address(uint32_t i)
{
	return 0x7f010001 + i / 250 * 256 + i % 250;
}

uint16_t nodes_port(const struct nodes *nodes)
{
	return nodes->port;
}

static void take_connections(struct nodes *nodes)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int on = 1;

	while ((ev.data.fd = accept4(nodes->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
	       0) {
		setsockopt(ev.data.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		epoll_ctl(nodes->epoll_fd, EPOLL_CTL_ADD, ev.data.fd, &ev);
	}
}

static void count_up(struct nodes *nodes)
{
	unsigned int n = ++nodes->count;

	for (int i = COUNTER_DIGITS; nodes->counter && i-- > 0; n /= 10)
		nodes->counter[i] = (char)('0' + n % 10);
}

/* A request comes in one piece, and an answer fits into the socket's buffer. */
static void answer(struct nodes *nodes, int fd)
{
	char request[2048];
	ssize_t n = read(fd, request, sizeof(request));
	bool metrics = n > 12 && memcmp(request, "GET /metrics", 12) == 0;
	const char *text = metrics ? nodes->metrics : nodes->health;
	size_t len = metrics ? nodes->metrics_len : nodes->health_len;

	if (metrics)
		count_up(nodes);
	if (n <= 0 || send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
		close(fd);
}

static void *serve(void *arg)
{
	struct epoll_event events[EVENTS_MAX];
	struct nodes *nodes = arg;
	int i, n;

	for (;;) {
		n = epoll_wait(nodes->epoll_fd, events, EVENTS_MAX, -1);
		for (i = 0; i < n; i++) {
			if (events[i].data.fd == nodes->stop_fd)
				return NULL;
			if (events[i].data.fd == nodes->listen_fd)
				take_connections(nodes);
			else
				answer(nodes, events[i].data.fd);
		}
	}
}

static int open_sockets(struct nodes *nodes, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
	int on = 1;
	struct epoll_event ev = {.events = EPOLLIN};
	socklen_t len = sizeof(sa);

	nodes->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	nodes->stop_fd = eventfd(0, EFD_CLOEXEC);
	nodes->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (nodes->epoll_fd < 0 || nodes->stop_fd < 0 || nodes->listen_fd < 0)
		return -errno;
	sa.sin_addr.s_addr = htonl(INADDR_ANY);
	(void)setsockopt(nodes->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(nodes->listen_fd, (struct sockaddr *)&sa, len) < 0 ||
	    listen(nodes->listen_fd, 4096) < 0 ||
	    getsockname(nodes->listen_fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	nodes->port = ntohs(sa.sin_port);
	ev.data.fd = nodes->stop_fd;
	epoll_ctl(nodes->epoll_fd, EPOLL_CTL_ADD, nodes->stop_fd, &ev);
	ev.data.fd = nodes->listen_fd;
	epoll_ctl(nodes->epoll_fd, EPOLL_CTL_ADD, nodes->listen_fd, &ev);
	return 0;
}

/* The value behind the first sample of that name. */
static void find_counter(struct nodes *nodes)
{
	char *end = nodes->metrics + nodes->metrics_len;
	char *p = memmem(nodes->metrics, nodes->metrics_len, COUNTER, strlen(COUNTER));

	p = p ? memchr(p, '}', (size_t)(end - p)) : NULL;
	if (p && p + 2 + COUNTER_DIGITS < end && strspn(p + 2, "0123456789") >= COUNTER_DIGITS)
		nodes->counter = p + 2;
}

static int make_answers(struct nodes *nodes, const char *page, size_t page_len)
{
	int n;

	nodes->health_len =
		(size_t)snprintf(nodes->health, sizeof(nodes->health), header, (size_t)0);
	nodes->metrics = malloc(HEADER_MAX + page_len);
	if (!nodes->metrics)
		return -ENOMEM;
	n = snprintf(nodes->metrics, HEADER_MAX, header, page_len);
	memcpy(nodes->metrics + n, page, page_len);
	nodes->metrics_len = (size_t)n + page_len;
	find_counter(nodes);
	return 0;
}

int nodes_start(uint16_t port, const char *page, size_t page_len, struct nodes **ret)
{
	struct nodes *nodes = calloc(1, sizeof(*nodes));
	int r;

	if (!nodes)
		return -ENOMEM;
	r = make_answers(nodes, page, page_len);
	if (r == 0)
		r = open_sockets(nodes, port);
	if (r == 0)
		r = -pthread_create(&nodes->thread, NULL, serve, nodes);
	if (r < 0) {
		free(nodes->metrics);
		free(nodes);
		return r;
	}
	*ret = nodes;
	return 0;
}

/* The connections end with the process, which is about to. */
void nodes_stop(struct nodes **nodesp)
{
	struct nodes *nodes = *nodesp;
	uint64_t one = 1;

	*nodesp = NULL;
	if (write(nodes->stop_fd, &one, sizeof(one)) != sizeof(one))
		abort();
	pthread_join(nodes->thread, NULL);
	close(nodes->listen_fd);
	close(nodes->epoll_fd);
	close(nodes->stop_fd);
	free(nodes->metrics);
	free(nodes);
}
