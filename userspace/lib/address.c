/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/lib/address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int address_parse(const char *text, struct address *ret_addr)
{
	struct address a = {0};

	assert(text);
	assert(ret_addr);

	if (inet_pton(AF_INET, text, a.bytes) == 1)
		a.family = AF_INET;
	else if (inet_pton(AF_INET6, text, a.bytes) == 1)
		a.family = AF_INET6;
	else
		return -EINVAL;
	*ret_addr = a;
	return 0;
}

/* Decimal digits alone, 1..65535, no leading zero. */
static int port_parse(const char *text, uint16_t *ret_port)
{
	uint32_t v = 0;
	size_t i;

	if (text[0] == '0')
		return -EINVAL;
	for (i = 0; text[i] >= '0' && text[i] <= '9' && i < 5; i++)
		v = v * 10 + (uint32_t)(text[i] - '0');
	if (i == 0 || text[i] || v > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t)v;
	return 0;
}

/* The first len bytes of text as an address of the family wanted. */
static int address_parse_part(const char *text, size_t len, sa_family_t family,
			      struct address *ret_addr)
{
	char buf[ADDRESS_TEXT_MAX];
	struct address a;

	if (len >= sizeof(buf))
		return -EINVAL;
	memcpy(buf, text, len);
	buf[len] = '\0';
	if (address_parse(buf, &a) < 0 || a.family != family)
		return -EINVAL;
	*ret_addr = a;
	return 0;
}

int endpoint_parse(const char *text, struct endpoint *ret_endpoint)
{
	struct endpoint ep = {0};
	const char *end;
	int r;

	assert(text);
	assert(ret_endpoint);

	if (text[0] == '[') {
		end = strchr(text, ']');
		if (!end || end[1] != ':')
			return -EINVAL;
		r = address_parse_part(text + 1, (size_t)(end - text - 1), AF_INET6, &ep.addr);
		end++;
	} else {
		end = strchr(text, ':');
		if (!end)
			return -EINVAL;
		r = address_parse_part(text, (size_t)(end - text), AF_INET, &ep.addr);
	}
	if (r < 0)
		return r;
	r = port_parse(end + 1, &ep.port);
	if (r < 0)
		return r;
	*ret_endpoint = ep;
	return 0;
}

int endpoint_parse_optional_port(const char *text, struct endpoint *ret_endpoint)
{
	struct endpoint ep = {0};

	assert(text);
	assert(ret_endpoint);

	if (address_parse(text, &ep.addr) < 0)
		return endpoint_parse(text, ret_endpoint);
	*ret_endpoint = ep;
	return 0;
}

const char *address_format(const struct address *addr, char buf[ADDRESS_TEXT_MAX])
{
	assert(addr);
	assert(buf);

	if (addr->family != AF_INET && addr->family != AF_INET6)
		return strcpy(buf, "none");
	return inet_ntop(addr->family, addr->bytes, buf, ADDRESS_TEXT_MAX);
}

const char *endpoint_format(const struct endpoint *ep, char buf[ENDPOINT_TEXT_MAX])
{
	char addr[ADDRESS_TEXT_MAX];

	assert(ep);
	assert(buf);

	address_format(&ep->addr, addr);
	if (ep->port == 0)
		snprintf(buf, ENDPOINT_TEXT_MAX, "%s", addr);
	else if (ep->addr.family == AF_INET6)
		snprintf(buf, ENDPOINT_TEXT_MAX, "[%s]:%u", addr, ep->port);
	else
		snprintf(buf, ENDPOINT_TEXT_MAX, "%s:%u", addr, ep->port);
	return buf;
}

int address_compare(const struct address *a, const struct address *b)
{
	assert(a);
	assert(b);

	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

int endpoint_compare(const struct endpoint *a, const struct endpoint *b)
{
	int r;

	assert(a);
	assert(b);

	r = address_compare(&a->addr, &b->addr);
	return r ? r : (int)a->port - (int)b->port;
}

bool address_equal(const struct address *a, const struct address *b)
{
	return address_compare(a, b) == 0;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return endpoint_compare(a, b) == 0;
}

bool address_is_set(const struct address *addr)
{
	return addr->family == AF_INET || addr->family == AF_INET6;
}

bool address_is_loopback(const struct address *addr)
{
	if (addr->family == AF_INET)
		return addr->bytes[0] == 127;
	return addr->family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&addr->v6);
}

bool address_is_multicast(const struct address *addr)
{
	if (addr->family == AF_INET)
		return (addr->bytes[0] & 0xf0) == 0xe0;
	return addr->family == AF_INET6 && IN6_IS_ADDR_MULTICAST(&addr->v6);
}

bool address_is_unspecified(const struct address *addr)
{
	if (addr->family == AF_INET)
		return addr->v4.s_addr == htonl(INADDR_ANY);
	return addr->family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&addr->v6);
}

bool address_is_broadcast(const struct address *addr)
{
	return addr->family == AF_INET && addr->v4.s_addr == htonl(INADDR_BROADCAST);
}

bool address_is_link_local(const struct address *addr)
{
	if (addr->family == AF_INET)
		return addr->bytes[0] == 169 && addr->bytes[1] == 254;
	return addr->family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr->v6);
}

bool address_is_v4_mapped(const struct address *addr)
{
	return addr->family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr->v6);
}

socklen_t endpoint_to_sockaddr(const struct endpoint *ep, struct sockaddr_storage *ret_sa)
{
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(ep->port)};
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(ep->port)};

	assert(address_is_set(&ep->addr));
	assert(ret_sa);

	memset(ret_sa, 0, sizeof(*ret_sa));
	if (ep->addr.family == AF_INET) {
		sin.sin_addr = ep->addr.v4;
		memcpy(ret_sa, &sin, sizeof(sin));
		return sizeof(sin);
	}
	sin6.sin6_addr = ep->addr.v6;
	memcpy(ret_sa, &sin6, sizeof(sin6));
	return sizeof(sin6);
}

int endpoint_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct endpoint *ret_endpoint)
{
	struct endpoint ep = {0};
	struct sockaddr_in6 sin6;
	struct sockaddr_in sin;

	assert(sa);
	assert(ret_endpoint);

	if (len >= sizeof(sin) && sa->sa_family == AF_INET) {
		memcpy(&sin, sa, sizeof(sin));
		ep.addr.family = AF_INET;
		ep.addr.v4 = sin.sin_addr;
		ep.port = ntohs(sin.sin_port);
	} else if (len >= sizeof(sin6) && sa->sa_family == AF_INET6) {
		memcpy(&sin6, sa, sizeof(sin6));
		ep.addr.family = AF_INET6;
		ep.addr.v6 = sin6.sin6_addr;
		ep.port = ntohs(sin6.sin6_port);
	} else {
		return -EAFNOSUPPORT;
	}
	*ret_endpoint = ep;
	return 0;
}
