// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "userspace/agent/dns_answer.h"

enum { A = 1, CNAME = 5, AAAA = 28, SRV = 33, TXT = 16 };
enum section { ANSWER = 6, ADDITIONAL = 10 }; /* where the header counts them */

/* An answer while it is written. */
struct message {
	uint8_t bytes[4096];
	size_t len;
};

static void put(struct message *m, const void *bytes, size_t len)
{
	assert_true(m->len + len <= sizeof(m->bytes));
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
}

static void put16(struct message *m, uint16_t v)
{
	v = htons(v);
	put(m, &v, sizeof(v));
}

static void put_name(struct message *m, const char *name)
{
	while (*name) {
		uint8_t len = (uint8_t)strcspn(name, ".");

		put(m, &len, 1);
		put(m, name, len);
		name += len + (name[len] == '.');
	}
	put(m, "", 1);
}

static void begin(struct message *m, const char *question, uint16_t type)
{
	static const uint8_t header[12] = {0x12, 0x34, 0x81, 0x80, 0, 1};

	m->len = 0;
	put(m, header, sizeof(header));
	put_name(m, question);
	put16(m, type);
	put16(m, 1);
}

static void record(struct message *m, enum section section, const char *owner, uint16_t type,
		   uint32_t ttl, const void *data, size_t len)
{
	m->bytes[section + 1]++;
	put_name(m, owner);
	put16(m, type);
	put16(m, 1);
	put16(m, (uint16_t)(ttl >> 16));
	put16(m, (uint16_t)ttl);
	put16(m, (uint16_t)len);
	put(m, data, len);
}

static void address(struct message *m, enum section section, const char *owner, uint32_t ttl,
		    const char *text)
{
	struct address a;

	assert_int_equal(address_parse(text, &a), 0);
	record(m, section, owner, a.family == AF_INET ? A : AAAA, ttl, a.bytes,
	       a.family == AF_INET ? 4 : 16);
}

static void alias(struct message *m, const char *owner, uint32_t ttl, const char *target)
{
	struct message data = {0};

	put_name(&data, target);
	record(m, ANSWER, owner, CNAME, ttl, data.bytes, data.len);
}

static void service(struct message *m, const char *owner, uint16_t priority, uint16_t weight,
		    uint16_t port, const char *target)
{
	struct message data = {0};

	put16(&data, priority);
	put16(&data, weight);
	put16(&data, port);
	put_name(&data, target);
	record(m, ANSWER, owner, SRV, 30, data.bytes, data.len);
}

static int parse(const struct message *m, enum config_dns_type type, sa_family_t family,
		 struct dns_records *ret)
{
	uint8_t *copy = malloc(m->len);
	int r;

	memcpy(copy, m->bytes, m->len);
	r = dns_answer_parse(copy, m->len, type, family, 16, ret);
	free(copy);
	return r;
}

static void expect_address(const struct dns_record *rec, const char *text)
{
	char buf[ADDRESS_TEXT_MAX];

	assert_string_equal(address_format(&rec->address, buf), text);
}

static void addresses_of_the_name_are_read_with_the_least_ttl(void **state)
{
	struct dns_records recs = {0};
	struct message m;

	(void)state;
	begin(&m, "gpu.test", A);
	address(&m, ANSWER, "gpu.test", 60, "10.0.0.1");
	address(&m, ANSWER, "GPU.Test", 20, "10.0.0.2");
	address(&m, ANSWER, "other.test", 1, "10.0.0.3"); /* of another name */
	address(&m, ANSWER, "gpu.test", 1, "2001:db8::1"); /* of another type */
	record(&m, ANSWER, "gpu.test", TXT, 1, "\3abc", 4);
	assert_int_equal(parse(&m, CONFIG_DNS_A, 0, &recs), 0);
	assert_int_equal(recs.n, 2);
	expect_address(&recs.items[0], "10.0.0.1");
	expect_address(&recs.items[1], "10.0.0.2");
	assert_int_equal(recs.ttl_s, 20);
	dns_records_free(&recs);
	assert_int_equal(parse(&m, CONFIG_DNS_AAAA, 0, &recs), 0);
	assert_int_equal(recs.n, 1);
	expect_address(&recs.items[0], "2001:db8::1");
	dns_records_free(&recs);
}

static void aliases_are_followed_in_any_order_and_their_ttl_counts(void **state)
{
	struct dns_records recs = {0};
	struct message m;

	(void)state;
	begin(&m, "gpu.test", A);
	address(&m, ANSWER, "end.test", 60, "10.0.0.1");
	alias(&m, "middle.test", 50, "end.test");
	alias(&m, "gpu.test", 7, "middle.test");
	assert_int_equal(parse(&m, CONFIG_DNS_A, 0, &recs), 0);
	assert_int_equal(recs.n, 1);
	assert_int_equal(recs.ttl_s, 7);
	dns_records_free(&recs);

	begin(&m, "gpu.test", A);
	alias(&m, "gpu.test", 7, "middle.test");
	alias(&m, "middle.test", 7, "gpu.test"); /* a circle */
	assert_int_equal(parse(&m, CONFIG_DNS_A, 0, &recs), -EBADMSG);

	begin(&m, "gpu.test", A);
	alias(&m, "gpu.test", 7, "nowhere.test");
	assert_int_equal(parse(&m, CONFIG_DNS_A, 0, &recs), -ENODATA);
}

static void services_are_read_with_the_addresses_that_came_along(void **state)
{
	struct dns_records recs = {0};
	struct message m;

	(void)state;
	begin(&m, "_llm._tcp.test", SRV);
	service(&m, "_llm._tcp.test", 10, 3, 8000, "gpu1.test");
	service(&m, "_llm._tcp.test", 20, 1, 8001, "gpu2.test");
	service(&m, "_llm._tcp.test", 0, 0, 0, "");
	address(&m, ADDITIONAL, "gpu1.test", 5, "2001:db8::1");
	address(&m, ADDITIONAL, "gpu1.test", 5, "10.0.0.1"); /* rather than IPv6 */
	address(&m, ADDITIONAL, "gpu1.test", 5, "10.0.0.9"); /* a second one is not taken */
	address(&m, ADDITIONAL, "gpu3.test", 1, "10.0.0.3");
	assert_int_equal(parse(&m, CONFIG_DNS_SRV, 0, &recs), 0);
	assert_int_equal(recs.n, 3);
	assert_int_equal(recs.ttl_s, 5);
	assert_string_equal(recs.items[0].name, "gpu1.test");
	assert_int_equal(recs.items[0].priority, 10);
	assert_int_equal(recs.items[0].weight, 3);
	assert_int_equal(recs.items[0].port, 8000);
	expect_address(&recs.items[0], "10.0.0.1");
	assert_int_equal(recs.items[1].port, 8001);
	assert_int_equal(recs.items[1].address.family, 0);
	assert_string_equal(recs.items[2].name, "");
	dns_records_free(&recs);
	assert_int_equal(parse(&m, CONFIG_DNS_SRV, AF_INET6, &recs), 0);
	expect_address(&recs.items[0], "2001:db8::1");
	dns_records_free(&recs);
}

static void what_is_no_such_answer_is_refused(void **state)
{
	struct dns_records recs = {.n = 77};
	struct message m, bad;

	(void)state;
	begin(&m, "gpu.test", A);
	assert_int_equal(parse(&m, CONFIG_DNS_A, 0, &recs), -ENODATA);
	address(&m, ANSWER, "gpu.test", 60, "10.0.0.1");
	address(&m, ANSWER, "gpu.test", 0x80000001, "10.0.0.2");

	for (size_t len = 0; len < m.len; len++) {
		bad = m;
		bad.len = len;
		assert_int_equal(parse(&bad, CONFIG_DNS_A, 0, &recs), -EBADMSG);
	}
	bad = m;
	bad.bytes[2] &= 0x7f; /* a question */
	assert_int_equal(parse(&bad, CONFIG_DNS_A, 0, &recs), -EBADMSG);
	bad = m;
	bad.bytes[3] |= 3; /* no such name */
	assert_int_equal(parse(&bad, CONFIG_DNS_A, 0, &recs), -EBADMSG);
	bad = m;
	bad.bytes[7] = 200; /* more records than there are */
	assert_int_equal(parse(&bad, CONFIG_DNS_A, 0, &recs), -EBADMSG);

	begin(&bad, "gpu.test", A);
	record(&bad, ANSWER, "gpu.test", A, 1, "\1\2\3\4\5", 5);
	assert_int_equal(parse(&bad, CONFIG_DNS_A, 0, &recs), -EBADMSG);
	begin(&bad, "gpu.test", SRV);
	record(&bad, ANSWER, "gpu.test", SRV, 1, "\0\1\0\1\0\1", 6);
	assert_int_equal(parse(&bad, CONFIG_DNS_SRV, 0, &recs), -EBADMSG);
	begin(&bad, "gpu.test", SRV);
	record(&bad, ANSWER, "gpu.test", SRV, 1, "\0\1\0\1\0\1\xc0\xff", 8); /* a name behind it */
	assert_int_equal(parse(&bad, CONFIG_DNS_SRV, 0, &recs), -EBADMSG);
	assert_int_equal(recs.n, 77); /* untouched */

	assert_int_equal(parse(&m, CONFIG_DNS_A, 0, &recs), 0);
	assert_int_equal(recs.ttl_s, 0); /* one that is too large is none */
	dns_records_free(&recs);
}

static void more_records_than_allowed_are_refused(void **state)
{
	struct dns_records recs = {0};
	struct message m;

	(void)state;
	begin(&m, "gpu.test", A);
	for (int i = 0; i < 17; i++)
		record(&m, ANSWER, "gpu.test", A, 1, (uint8_t[]){10, 0, 0, (uint8_t)i}, 4);
	assert_int_equal(parse(&m, CONFIG_DNS_A, 0, &recs), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_of_the_name_are_read_with_the_least_ttl),
		cmocka_unit_test(aliases_are_followed_in_any_order_and_their_ttl_counts),
		cmocka_unit_test(services_are_read_with_the_addresses_that_came_along),
		cmocka_unit_test(what_is_no_such_answer_is_refused),
		cmocka_unit_test(more_records_than_allowed_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
