/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text <-> IPv4 and IPv6 addresses and "address:port" endpoints.
 *
 * Strict and free of the locale and of any resolver: "10.0.0.1" and "2001:db8::1" are addresses;
 * "10.1", "010.0.0.1", "fe80::1%eth0" and host names are not. Text: RFC 4291 in, RFC 5952 out.
 */
#ifndef SLUICE_LIB_ADDRESS_H
#define SLUICE_LIB_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Compare with address_equal(), never with memcmp(): unused bytes are zero, padding may not be. */
struct address {
	sa_family_t family; /* AF_INET, AF_INET6; 0: no address */
	union {             /* network byte order; bytes past the family's length are zero */
		struct in_addr v4;
		struct in6_addr v6;
		uint8_t bytes[16];
	};
};

struct endpoint {
	struct address addr;
	uint16_t port; /* host byte order; 0: no port */
};

/* Room for the longest text with its final NUL: "ffff:…:255.255.255.255" and "[…]:65535". */
#define ADDRESS_TEXT_MAX  46
#define ENDPOINT_TEXT_MAX 56

/* Returns 0; -EINVAL if text is not exactly one address. ret_addr is untouched on failure. */
int address_parse(const char *text, struct address *ret_addr);

/*
 * "10.0.0.1:80", "[2001:db8::1]:80". The port is required and in 1..65535, decimal, without sign.
 * Returns 0; -EINVAL if text is anything else. ret_endpoint is untouched on failure.
 */
int endpoint_parse(const char *text, struct endpoint *ret_endpoint);

/* As endpoint_parse(), but an address alone (without brackets) is accepted too; port is then 0. */
int endpoint_parse_optional_port(const char *text, struct endpoint *ret_endpoint);

/* Write the text and its NUL; returns buf. "none" for family 0. */
const char *address_format(const struct address *addr, char buf[ADDRESS_TEXT_MAX]);

/* "10.0.0.1:80" or "[2001:db8::1]:80"; with port 0 the address alone. Returns buf. */
const char *endpoint_format(const struct endpoint *ep, char buf[ENDPOINT_TEXT_MAX]);

bool address_equal(const struct address *a, const struct address *b);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

/* Order for sorting: IPv4 before IPv6, then bytes, then port. Less than, equal to or more than 0.
 */
int address_compare(const struct address *a, const struct address *b);
int endpoint_compare(const struct endpoint *a, const struct endpoint *b);

bool address_is_set(const struct address *addr);
bool address_is_loopback(const struct address *addr);    /* 127.0.0.0/8, ::1 */
bool address_is_multicast(const struct address *addr);   /* 224.0.0.0/4, ff00::/8 */
bool address_is_unspecified(const struct address *addr); /* 0.0.0.0, :: */
bool address_is_broadcast(const struct address *addr);   /* 255.255.255.255 */
bool address_is_link_local(const struct address *addr);  /* 169.254.0.0/16, fe80::/10 */

/* ::ffff:a.b.c.d, which is an IPv4 address in disguise and never seen on the wire. */
bool address_is_v4_mapped(const struct address *addr);

/* Fill a socket address; returns its length. endpoint's family must be set. */
socklen_t endpoint_to_sockaddr(const struct endpoint *ep, struct sockaddr_storage *ret_sa);

/* Returns 0; -EAFNOSUPPORT unless sa is AF_INET or AF_INET6 and at least as long as its kind. */
int endpoint_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct endpoint *ret_endpoint);

#endif
