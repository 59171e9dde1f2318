/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "userspace/lib/address.h"
#include "userspace/lib/cleanup.h"

static const struct {
	const char *text;
	sa_family_t family; /* 0: refused */
	const char *canonical;
} address_cases[] = {
	{"10.0.0.1", AF_INET, "10.0.0.1"},
	{"0.0.0.0", AF_INET, "0.0.0.0"},
	{"255.255.255.255", AF_INET, "255.255.255.255"},
	{"::", AF_INET6, "::"},
	{"::1", AF_INET6, "::1"},
	{"2001:DB8:0:0:0:0:0:1", AF_INET6, "2001:db8::1"},
	{"2001:db8:0:1:1:1:1:1", AF_INET6, "2001:db8:0:1:1:1:1:1"},
	{"2001:0:0:1:0:0:0:1", AF_INET6, "2001:0:0:1::1"},
	{"::ffff:10.0.0.1", AF_INET6, "::ffff:10.0.0.1"},
	{"", 0, NULL},
	{"10.1", 0, NULL},
	{"10.0.0", 0, NULL},
	{"10.0.0.256", 0, NULL},
	{"10.0.0.01", 0, NULL},
	{"10.0.0.1.", 0, NULL},
	{" 10.0.0.1", 0, NULL},
	{"10.0.0.1 ", 0, NULL},
	{"10.0.0.1/8", 0, NULL},
	{"10.0.0.1:80", 0, NULL},
	{"0x0a000001", 0, NULL},
	{"167772161", 0, NULL},
	{"localhost", 0, NULL},
	{":::", 0, NULL},
	{"1::2::3", 0, NULL},
	{"12345::", 0, NULL},
	{"fe80::1%eth0", 0, NULL},
	{"[::1]", 0, NULL},
	{"1:2:3:4:5:6:7:8:9", 0, NULL},
};

static void addresses_are_read_strictly_and_written_canonically(void **state)
{
	char buf[ADDRESS_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(address_cases); i++) {
		struct address a = {.family = 99};
		int r = address_parse(address_cases[i].text, &a);

		if (address_cases[i].family == 0) {
			if (r != -EINVAL || a.family != 99)
				fail_msg("'%s' was taken", address_cases[i].text);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(a.family, address_cases[i].family);
		assert_string_equal(address_format(&a, buf), address_cases[i].canonical);
	}
}

static void addresses_are_kept_in_network_byte_order(void **state)
{
	struct address a;

	(void)state;
	assert_int_equal(address_parse("10.1.2.3", &a), 0);
	assert_int_equal(ntohl(a.v4.s_addr), 0x0a010203);
	assert_memory_equal(a.bytes, "\x0a\x01\x02\x03\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(address_parse("2001:db8::1", &a), 0);
	assert_memory_equal(a.bytes, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
}

static const struct {
	const char *text;
	bool with_port;    /* endpoint_parse() takes it */
	bool without_port; /* endpoint_parse_optional_port() does */
	uint16_t port;
	const char *canonical;
} endpoint_cases[] = {
	{"10.0.0.1:80", true, true, 80, "10.0.0.1:80"},
	{"10.0.0.1:65535", true, true, 65535, "10.0.0.1:65535"},
	{"[2001:db8:0::1]:80", true, true, 80, "[2001:db8::1]:80"},
	{"10.0.0.1", false, true, 0, "10.0.0.1"},
	{"2001:db8::1", false, true, 0, "2001:db8::1"},
	{"10.0.0.1:0", false, false, 0, NULL},
	{"10.0.0.1:65536", false, false, 0, NULL},
	{"10.0.0.1:4294967376", false, false, 0, NULL},
	{"10.0.0.1:080", false, false, 0, NULL},
	{"10.0.0.1:+80", false, false, 0, NULL},
	{"10.0.0.1:80 ", false, false, 0, NULL},
	{"10.0.0.1:", false, false, 0, NULL},
	{"10.0.0.1:http", false, false, 0, NULL},
	{":80", false, false, 0, NULL},
	{"[::1]", false, false, 0, NULL},
	{"[::1]80", false, false, 0, NULL},
	{"[::1:80", false, false, 0, NULL},
	{"[10.0.0.1]:80", false, false, 0, NULL},
	{"::1]:80", false, false, 0, NULL},
	{"[]:80", false, false, 0, NULL},
	{"[1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111]:80", false, false, 0, NULL},
	{"localhost:80", false, false, 0, NULL},
	{"", false, false, 0, NULL},
};

static void endpoints_need_a_port_unless_it_is_optional(void **state)
{
	char buf[ENDPOINT_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(endpoint_cases); i++) {
		const char *text = endpoint_cases[i].text;
		struct endpoint a = {.port = 7}, b = {.port = 7};
		int r = endpoint_parse(text, &a);
		int s = endpoint_parse_optional_port(text, &b);

		if ((r == 0) != endpoint_cases[i].with_port ||
		    (s == 0) != endpoint_cases[i].without_port)
			fail_msg("'%s': %d and %d", text, r, s);
		if (r < 0)
			assert_int_equal(a.port, 7);
		if (s < 0) {
			assert_int_equal(b.port, 7);
			continue;
		}
		assert_int_equal(b.port, endpoint_cases[i].port);
		assert_string_equal(endpoint_format(&b, buf), endpoint_cases[i].canonical);
		if (r == 0)
			assert_true(endpoint_equal(&a, &b));
	}
}

static void the_longest_texts_fit(void **state)
{
	char addr[ADDRESS_TEXT_MAX], ep[ENDPOINT_TEXT_MAX];
	struct endpoint e;

	(void)state;
	assert_int_equal(endpoint_parse("[1111:2222:3333:4444:5555:6666:7777:8888]:65535", &e), 0);
	assert_string_equal(address_format(&e.addr, addr),
			    "1111:2222:3333:4444:5555:6666:7777:8888");
	assert_string_equal(endpoint_format(&e, ep),
			    "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
	e = (struct endpoint){0};
	assert_string_equal(endpoint_format(&e, ep), "none");
}

static void addresses_sort_by_family_bytes_and_port(void **state)
{
	static const char *const sorted[] = {"9.255.0.1:1",    "10.0.0.1:1", "10.0.0.1:2",
					     "10.0.0.2:1",     "[::1]:1",    "[2001:db8::]:9",
					     "[2001:db8::1]:1"};
	struct endpoint a, b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sorted); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(sorted); j++) {
			int r;

			assert_int_equal(endpoint_parse(sorted[i], &a), 0);
			assert_int_equal(endpoint_parse(sorted[j], &b), 0);
			r = endpoint_compare(&a, &b);
			assert_int_equal((r > 0) - (r < 0), (i > j) - (i < j));
			assert_int_equal(endpoint_equal(&a, &b), i == j);
		}
	}
}

static void kinds_of_addresses_are_told_apart(void **state)
{
	enum {
		LOOPBACK = 1,
		MULTICAST = 2,
		UNSPECIFIED = 4,
		BROADCAST = 8,
		LINK_LOCAL = 16,
		MAPPED = 32,
	};
	static const struct {
		const char *text;
		int kind;
	} cases[] = {
		{"10.0.0.1", 0},
		{"127.0.0.1", LOOPBACK},
		{"127.255.0.9", LOOPBACK},
		{"224.0.0.1", MULTICAST},
		{"239.1.2.3", MULTICAST},
		{"240.0.0.1", 0},
		{"0.0.0.0", UNSPECIFIED},
		{"0.0.0.1", 0},
		{"255.255.255.255", BROADCAST},
		{"169.254.1.1", LINK_LOCAL},
		{"::1", LOOPBACK},
		{"::2", 0},
		{"::", UNSPECIFIED},
		{"ff02::1", MULTICAST},
		{"fe80::1", LINK_LOCAL},
		{"::ffff:1.2.3.4", MAPPED},
		{"2001:db8::1", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct address a;
		int kind = 0;

		assert_int_equal(address_parse(cases[i].text, &a), 0);
		kind |= address_is_loopback(&a) ? LOOPBACK : 0;
		kind |= address_is_multicast(&a) ? MULTICAST : 0;
		kind |= address_is_unspecified(&a) ? UNSPECIFIED : 0;
		kind |= address_is_broadcast(&a) ? BROADCAST : 0;
		kind |= address_is_link_local(&a) ? LINK_LOCAL : 0;
		kind |= address_is_v4_mapped(&a) ? MAPPED : 0;
		if (kind != cases[i].kind)
			fail_msg("%s is of kind %d", cases[i].text, kind);
	}
}

static void socket_addresses_come_back_as_they_went(void **state)
{
	static const char *const texts[] = {"10.0.0.1:80", "[2001:db8::1]:443"};
	struct sockaddr_storage sa;
	struct sockaddr_in sin;
	struct endpoint a, b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		socklen_t len;

		assert_int_equal(endpoint_parse(texts[i], &a), 0);
		len = endpoint_to_sockaddr(&a, &sa);
		assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, len, &b), 0);
		assert_true(endpoint_equal(&a, &b));
		assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, len - 1, &b),
				 -EAFNOSUPPORT);
	}
	assert_int_equal(endpoint_parse("10.1.2.3:80", &a), 0);
	endpoint_to_sockaddr(&a, &sa);
	memcpy(&sin, &sa, sizeof(sin));
	assert_int_equal(sin.sin_port, htons(80));
	assert_int_equal(sin.sin_addr.s_addr, htonl(0x0a010203));
	sa.ss_family = AF_UNIX;
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, sizeof(sa), &b),
			 -EAFNOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_strictly_and_written_canonically),
		cmocka_unit_test(addresses_are_kept_in_network_byte_order),
		cmocka_unit_test(endpoints_need_a_port_unless_it_is_optional),
		cmocka_unit_test(the_longest_texts_fit),
		cmocka_unit_test(addresses_sort_by_family_bytes_and_port),
		cmocka_unit_test(kinds_of_addresses_are_told_apart),
		cmocka_unit_test(socket_addresses_come_back_as_they_went),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
