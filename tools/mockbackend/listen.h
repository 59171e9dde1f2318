/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses -> listening sockets that can be closed and opened again on the same port. */
#ifndef SLUICE_MOCKBACKEND_LISTEN_H
#define SLUICE_MOCKBACKEND_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define LISTEN_MAX      16
#define LISTEN_TEXT_MAX 128

struct listen_socket {
	struct sockaddr_storage addr;
	socklen_t addr_len;
	int fd;         /* -1: closed */
	bool dual;      /* the IPv6 any-address that takes IPv4 as well */
	bool free_bind; /* the address may be missing from this host */
};

/*
 * ADDR is an IPv4 or IPv6 address ("[::1]" too), "unix:PATH", or NULL for any address of both
 * families. port: host order, 0 lets the kernel choose. Opens nothing.
 * Returns 0, or -EINVAL when the text is not an address.
 */
int listen_parse(const char *text, uint16_t port, struct listen_socket *ret);

/* Bind and listen. The port that the kernel chose stays for the next open. Returns 0 or -errno. */
int listen_open(struct listen_socket *l);

/* Close; waiting connections are reset. Removes the path of a Unix socket. */
void listen_close(struct listen_socket *l);

/* Host order; 0 for a Unix socket. */
uint16_t listen_port(const struct listen_socket *l);

/* "192.0.2.1:8000", "[2001:db8::1]:8000" or "unix:PATH". */
void listen_text(const struct listen_socket *l, char *buf, size_t size);

/* The address of a peer without its port; IPv4 in IPv6 is shown as IPv4. */
void listen_peer(const struct sockaddr *addr, char *buf, size_t size, uint16_t *ret_port);

#endif
