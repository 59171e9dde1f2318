// SPDX-License-Identifier: BSD-2-Clause
#include "tools/mockbackend/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "userspace/lib/cleanup.h"

#define BACKLOG 4096

static int parse_unix(const char *path, struct listen_socket *l)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&l->addr;

	if (!*path || strlen(path) >= sizeof(un->sun_path))
		return -EINVAL;
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	l->addr_len = sizeof(*un);
	return 0;
}

static void set_in6(struct listen_socket *l, const struct in6_addr *addr, uint16_t port)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&l->addr;

	in6->sin6_family = AF_INET6;
	in6->sin6_addr = *addr;
	in6->sin6_port = htons(port);
	l->addr_len = sizeof(*in6);
}

static int parse_ip(const char *text, uint16_t port, struct listen_socket *l)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&l->addr;
	char bare[INET6_ADDRSTRLEN];
	struct in6_addr in6;
	size_t len = strlen(text);

	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		l->addr_len = sizeof(*in);
		return 0;
	}
	if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len >= sizeof(bare))
		return -EINVAL;
	memcpy(bare, text, len);
	bare[len] = '\0';
	if (inet_pton(AF_INET6, bare, &in6) != 1)
		return -EINVAL;
	set_in6(l, &in6, port);
	return 0;
}

int listen_parse(const char *text, uint16_t port, struct listen_socket *ret)
{
	struct listen_socket l = {.fd = -1};
	int r = 0;

	if (!text) {
		set_in6(&l, &in6addr_any, port);
		l.dual = true;
	} else if (!strncmp(text, "unix:", 5)) {
		r = parse_unix(text + 5, &l);
	} else {
		r = parse_ip(text, port, &l);
	}
	if (r < 0)
		return r;
	*ret = l;
	return 0;
}

/* Errors show when the address is bound. */
static void set_options(int fd, const struct listen_socket *l)
{
	int v6only = l->dual ? 0 : 1;
	int one = 1;

	if (l->addr.ss_family == AF_UNIX)
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (l->addr.ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only));
	if (l->free_bind)
		(void)setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
}

/* A socket file nobody listens on is left over from a process that was killed. */
static void remove_stale(const struct listen_socket *l)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&l->addr;
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)un, l->addr_len) < 0 &&
	    errno == ECONNREFUSED)
		(void)unlink(un->sun_path);
}

int listen_open(struct listen_socket *l)
{
	_cleanup_close_ int fd = -1;

	fd = socket(l->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	set_options(fd, l);
	if (l->addr.ss_family == AF_UNIX)
		remove_stale(l);
	if (bind(fd, (struct sockaddr *)&l->addr, l->addr_len) < 0)
		return -errno;
	if (listen(fd, BACKLOG) < 0)
		return -errno;
	l->addr_len = sizeof(l->addr);
	if (getsockname(fd, (struct sockaddr *)&l->addr, &l->addr_len) < 0)
		return -errno;
	l->fd = TAKE_FD(fd);
	return 0;
}

void listen_close(struct listen_socket *l)
{
	if (l->fd < 0)
		return;
	close(l->fd);
	l->fd = -1;
	if (l->addr.ss_family == AF_UNIX)
		(void)unlink(((struct sockaddr_un *)&l->addr)->sun_path);
}

uint16_t listen_port(const struct listen_socket *l)
{
	if (l->addr.ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)&l->addr)->sin_port);
	if (l->addr.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)&l->addr)->sin6_port);
	return 0;
}

void listen_text(const struct listen_socket *l, char *buf, size_t size)
{
	char addr[INET6_ADDRSTRLEN] = "?";

	if (l->addr.ss_family == AF_UNIX) {
		snprintf(buf, size, "unix:%s", ((const struct sockaddr_un *)&l->addr)->sun_path);
	} else if (l->addr.ss_family == AF_INET) {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)&l->addr)->sin_addr, addr,
			  sizeof(addr));
		snprintf(buf, size, "%s:%u", addr, listen_port(l));
	} else {
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&l->addr)->sin6_addr, addr,
			  sizeof(addr));
		snprintf(buf, size, "[%s]:%u", addr, listen_port(l));
	}
}

void listen_peer(const struct sockaddr *addr, char *buf, size_t size, uint16_t *ret_port)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;

	*ret_port = 0;
	snprintf(buf, size, "local");
	if (addr->sa_family == AF_INET) {
		inet_ntop(AF_INET, &in->sin_addr, buf, (socklen_t)size);
		*ret_port = ntohs(in->sin_port);
	} else if (addr->sa_family == AF_INET6) {
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
			inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], buf, (socklen_t)size);
		else
			inet_ntop(AF_INET6, &in6->sin6_addr, buf, (socklen_t)size);
		*ret_port = ntohs(in6->sin6_port);
	}
}
