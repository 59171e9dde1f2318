/* SPDX-License-Identifier: BSD-2-Clause */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "userspace/agent/curl_loop_internal.h"
#include "userspace/agent/files.h"
#include "userspace/lib/cleanup.h"

static void on_event(void *userdata, int fd, uint32_t events);

static int slots_reserve(struct curl_loop *loop, int fd)
{
	size_t n = loop->n_slots ? loop->n_slots : 64;
	struct slot *slots;

	if ((size_t)fd < loop->n_slots)
		return 0;
	while (n <= (size_t)fd)
		n *= 2;
	slots = reallocarray(loop->slots, n, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memset(slots + loop->n_slots, 0, (n - loop->n_slots) * sizeof(*slots));
	loop->slots = slots;
	loop->n_slots = n;
	return 0;
}

static void slot_watch(struct curl_loop *loop, int fd, uint32_t events)
{
	/* It fails for want of memory or watches only. The request then ends by its timeout. */
	(void)poll_set_watch(loop->set, fd, events, on_event, loop);
}

static void keeper_attach(struct curl_loop *loop, int fd, struct curl_keeper *keeper)
{
	struct slot *slot = &loop->slots[fd];

	if (slot->keeper == keeper)
		return;
	if (slot->keeper)
		curl_keeper_forget(slot->keeper);
	if (keeper) {
		curl_keeper_forget(keeper);
		keeper->loop = loop;
		keeper->fd = fd;
	}
	slot->keeper = keeper;
}

void curl_keeper_forget(struct curl_keeper *keeper)
{
	assert(keeper);
	if (!keeper->loop)
		return;
	keeper->loop->slots[keeper->fd].keeper = NULL;
	keeper->loop = NULL;
	keeper->fd = -1;
}

/* With HTTP/2 several may use it at once; it is the latest's. */
void curl_slot_lend(struct slot *slot, int fd, struct curl_request *req)
{
	if (slot->req && slot->req != req)
		slot->req->fd = -1;
	slot->req = req;
	if (req)
		req->fd = fd;
}

/* The socket is closed, or about to be. */
static void slot_forget(struct curl_loop *loop, int fd)
{
	struct slot *slot = &loop->slots[fd];

	curl_slot_lend(slot, fd, NULL);
	keeper_attach(loop, fd, NULL);
	poll_set_forget(loop->set, fd);
	*slot = (struct slot){0};
	loop->stats.open--;
}

static bool socket_silent(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return false;
	return info.tcpi_state == TCP_SYN_SENT || (info.tcpi_unacked && info.tcpi_retransmits);
}

/*
 * libcurl lets go of a socket: its connection is kept, or about to be closed. One whose connection
 * was not complete (TLS included) it has closed already, without curl_slot_on_close().
 */
static void slot_leave(struct curl_loop *loop, int fd)
{
	struct slot *slot = &loop->slots[fd];

	slot->active = false;
	if (!slot->proven && fcntl(fd, F_GETFD) < 0) {
		if (slot->req)
			slot->req->silent = !slot->answered;
		slot_forget(loop, fd);
		return;
	}
	slot_watch(loop, fd, EPOLLIN | EPOLLRDHUP);
}

/* libcurl wants to hear of a socket, or no more. An idle one stays watched: see slot_idle(). */
int curl_slot_on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *unused)
{
	struct curl_loop *loop = userdata;
	struct slot *slot = &loop->slots[fd];
	struct curl_request *req = NULL;
	uint32_t events = EPOLLIN | EPOLLRDHUP;

	(void)unused;
	assert((size_t)fd < loop->n_slots && slot->shard);

	if (what == CURL_POLL_REMOVE) {
		slot_leave(loop, fd);
		return 0;
	}
	(void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&req);
	assert(req);
	slot->active = true;
	curl_slot_lend(slot, fd, req);
	keeper_attach(loop, fd, req->keeper);
	if (what == CURL_POLL_OUT)
		events = EPOLLOUT;
	else
		slot->answered = true;
	if (what == CURL_POLL_INOUT)
		events |= EPOLLOUT;
	slot_watch(loop, fd, events);
	return 0;
}

curl_socket_t curl_slot_on_open(void *userdata, curlsocktype purpose, struct curl_sockaddr *sa)
{
	struct curl_request *req = userdata;
	struct curl_loop *loop = req->loop;
	_cleanup_close_ int fd = -1;
	struct slot *slot;

	(void)purpose;
	fd = files_admit(
		socket(sa->family, sa->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, sa->protocol));
	if (fd < 0) {
		req->open_errno = errno;
		return CURL_SOCKET_BAD;
	}
	if (slots_reserve(loop, fd) < 0) {
		req->open_errno = ENOMEM;
		return CURL_SOCKET_BAD;
	}
	if (req->user_timeout_ms)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &req->user_timeout_ms,
				 sizeof(req->user_timeout_ms));
	if (loop->slots[fd].shard)
		slot_forget(loop, fd);
	slot = &loop->slots[fd];
	slot->shard = req->shard;
	loop->stats.connections++;
	loop->stats.open++;
	return TAKE_FD(fd);
}

int curl_slot_on_close(void *userdata, curl_socket_t fd)
{
	struct curl_loop *loop = userdata;
	struct slot *slot = &loop->slots[fd];

	assert((size_t)fd < loop->n_slots && slot->shard);
	if (slot->req)
		slot->req->silent = socket_silent(fd);
	slot_forget(loop, fd);
	return close(fd);
}

/*
 * A connection that nobody uses: its peer closed it, or sent what nobody asked for. With TLS and
 * HTTP/2 that may be in order and is left for libcurl to read; with plain HTTP/1 the next request
 * would take it for its answer, so the connection is ended.
 */
static void slot_idle(struct curl_loop *loop, int fd, uint32_t events)
{
	struct slot *slot = &loop->slots[fd];
	struct curl_keeper *keeper = slot->keeper;
	char buf[4096];
	ssize_t n;

	if (!(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) && !(keeper && keeper->plain)) {
		slot_watch(loop, fd, EPOLLRDHUP);
		return;
	}
	if (!(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
		do {
			n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		} while (n == (ssize_t)sizeof(buf));
		(void)shutdown(fd, SHUT_RDWR);
	}
	slot_watch(loop, fd, 0);
	if (keeper && keeper->on_closed) {
		curl_keeper_forget(keeper);
		keeper->on_closed(keeper);
	}
}

static void on_event(void *userdata, int fd, uint32_t events)
{
	struct curl_loop *loop = userdata;
	struct slot *slot = &loop->slots[fd];
	int what = 0;

	if (!slot->active) {
		slot_idle(loop, fd, events);
		return;
	}
	if (events & ~(uint32_t)EPOLLOUT)
		what |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	curl_shard_run(slot->shard, fd, what);
}
