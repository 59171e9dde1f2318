// SPDX-License-Identifier: BSD-2-Clause
/* Questions to a server in the same loop, which answers from a table or does something worse. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#include "userspace/agent/discovery_dns.h"

enum { A = 1, AAAA = 28, SRV = 33 };
enum behaviour { ANSWER, SILENT, SERVFAIL, GARBAGE };

/* One record of the table; data is written as the record has it. */
struct record {
	const char *name;
	uint16_t type;
	uint8_t data[64];
	uint16_t len;
};

struct world {
	sd_event *event;
	int fd;
	enum behaviour behaviour;
	const struct record *records; /* up to one without a name */
	uint32_t n_asked;
	char server[32];
	struct discovery_dns *dns;
	/* what came of it */
	uint32_t n_calls;
	struct discovery_answer answer;
	int64_t ttl_ms;
	char error[DISCOVERY_ERROR_MAX];
};

static size_t put_name(uint8_t *at, const char *name)
{
	size_t n = 0;

	while (*name) {
		size_t len = strcspn(name, ".");

		at[n++] = (uint8_t)len;
		memcpy(at + n, name, len);
		n += len;
		name += len + (name[len] == '.');
	}
	at[n++] = 0;
	return n;
}

/* The name of a question as text. Returns the place behind it. */
static size_t get_name(const uint8_t *msg, char *ret_name)
{
	size_t at = 12, n = 0;

	while (msg[at]) {
		memcpy(ret_name + n, msg + at + 1, msg[at]);
		n += msg[at];
		ret_name[n++] = '.';
		at += 1u + msg[at];
	}
	ret_name[n ? n - 1 : 0] = '\0';
	return at + 1;
}

static size_t answer_from_table(struct world *w, uint8_t *msg)
{
	char name[256];
	size_t at = get_name(msg, name), len = at + 4;
	uint16_t type = (uint16_t)(msg[at] << 8 | msg[at + 1]);
	uint8_t n = 0;

	for (const struct record *r = w->records; r->name; r++) {
		const uint8_t head[10] = {(uint8_t)(r->type >> 8), (uint8_t)r->type, 0, 1, 0, 0, 0,
					  9, (uint8_t)(r->len >> 8), (uint8_t)r->len};

		if (strcmp(r->name, name) || r->type != type)
			continue;
		len += put_name(msg + len, r->name);
		memcpy(msg + len, head, sizeof(head));
		memcpy(msg + len + sizeof(head), r->data, r->len);
		len += sizeof(head) + r->len;
		n++;
	}
	msg[2] = 0x81;
	msg[3] = w->behaviour == SERVFAIL ? 0x82 : 0x80;
	memcpy(msg + 6, (uint8_t[]){0, n, 0, 0, 0, 0}, 6);
	return len;
}

static int on_question(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct world *w = userdata;
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	uint8_t msg[4096];
	ssize_t n = recvfrom(fd, msg, 1024, 0, (struct sockaddr *)&from, &from_len);
	size_t len;

	(void)s;
	(void)revents;
	assert_true(n > 12);
	w->n_asked++;
	if (w->behaviour == SILENT)
		return 0;
	len = answer_from_table(w, msg);
	if (w->behaviour == GARBAGE)
		memset(msg + 12, 0xff, len - 12);
	assert_int_equal(sendto(fd, msg, len, 0, (struct sockaddr *)&from, from_len), len);
	return 0;
}

static void set_up(struct world *w, const struct record *records)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);

	*w = (struct world){.records = records};
	w->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(w->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(w->fd, (struct sockaddr *)&sa, &len), 0);
	snprintf(w->server, sizeof(w->server), "127.0.0.1:%u", ntohs(sa.sin_port));
	assert_true(sd_event_new(&w->event) >= 0);
	assert_true(sd_event_add_io(w->event, NULL, w->fd, EPOLLIN, on_question, w) >= 0);
	assert_true(sd_event_run(w->event, 0) >= 0); /* fixes its time */
}

static void tear_down(struct world *w)
{
	discovery_dns_free(&w->dns);
	discovery_answer_free(&w->answer);
	sd_event_unref(w->event);
	close(w->fd);
}

static void on_done(void *userdata, struct discovery_answer *answer, int64_t ttl_ms,
		    const char *error)
{
	struct world *w = userdata;

	discovery_dns_free(&w->dns); /* what follows must not need it */
	w->n_calls++;
	w->ttl_ms = ttl_ms;
	if (answer)
		w->answer = *answer;
	snprintf(w->error, sizeof(w->error), "%s", error);
}

static struct config_discovery question(const struct world *w, enum config_dns_type type,
					const char *name)
{
	return (struct config_discovery){
		.type = CONFIG_DISCOVERY_DNS,
		.dns = {.name = name, .type = type, .server = w->server, .timeout_ms = 600},
		.max_nodes = 3,
	};
}

static void ask(struct world *w, const struct config_discovery *cfg, sa_family_t family)
{
	discovery_answer_free(&w->answer);
	w->n_calls = 0;
	assert_int_equal(discovery_dns_ask(w->event, cfg, family, on_done, w, &w->dns), 0);
	assert_int_equal(w->n_calls, 0); /* not from within */
	for (int i = 0; i < 400 && !w->n_calls; i++)
		assert_true(sd_event_run(w->event, 50000) >= 0);
	assert_int_equal(w->n_calls, 1);
}

static const struct discovery_target *find(const struct world *w, const char *text)
{
	struct endpoint ep;

	assert_int_equal(endpoint_parse_optional_port(text, &ep), 0);
	return discovery_answer_find(&w->answer, &ep);
}

static const struct record addresses[] = {
	{"gpu.test", A, {10, 0, 0, 2}, 4},
	{"gpu.test", A, {10, 0, 0, 1}, 4},
	{"gpu.test", A, {10, 0, 0, 1}, 4}, /* said twice */
	{"gpu.test", AAAA, {0x20, 1, 0xd, 0xb8, [15] = 1}, 16},
	{"many.test", A, {10, 0, 0, 1}, 4},
	{"many.test", A, {10, 0, 0, 2}, 4},
	{"many.test", A, {10, 0, 0, 3}, 4},
	{"many.test", A, {10, 0, 0, 4}, 4},
	{0},
};

static void addresses_come_with_port_and_ttl(void **state)
{
	struct config_discovery cfg;
	struct world w;

	(void)state;
	set_up(&w, addresses);
	cfg = question(&w, CONFIG_DNS_A, "gpu.test");
	ask(&w, &cfg, 0);
	assert_string_equal(w.error, "");
	assert_int_equal(w.answer.n, 2);
	assert_int_equal(w.ttl_ms, 9000);
	assert_non_null(find(&w, "10.0.0.1"));
	assert_non_null(find(&w, "10.0.0.2"));
	cfg = question(&w, CONFIG_DNS_AAAA, "gpu.test");
	cfg.dns.port = 8000;
	ask(&w, &cfg, 0);
	assert_int_equal(w.answer.n, 1);
	assert_non_null(find(&w, "[2001:db8::1]:8000"));
	tear_down(&w);
}

static void every_failure_is_told_once_with_its_reason(void **state)
{
	static const struct {
		enum behaviour behaviour;
		const char *name;
		const char *said;
	} cases[] = {
		{ANSWER, "none.test", "no record of that type"},
		{ANSWER, "many.test", "more records than max_nodes"},
		{SILENT, "gpu.test", "no answer in time"},
		{SERVFAIL, "gpu.test", "every server is unreachable, fails or refuses"},
	};
	struct config_discovery cfg;
	struct world w;

	(void)state;
	set_up(&w, addresses);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		w.behaviour = cases[i].behaviour;
		cfg = question(&w, CONFIG_DNS_A, cases[i].name);
		ask(&w, &cfg, 0);
		assert_int_equal(w.answer.n, 0);
		assert_string_equal(w.error, cases[i].said);
	}
	w.behaviour = GARBAGE;
	cfg = question(&w, CONFIG_DNS_A, "gpu.test");
	ask(&w, &cfg, 0);
	assert_true(w.error[0] && !w.answer.n);
	tear_down(&w);
}

static const struct record services[] = {
	{"_llm._tcp.test", SRV, "\0\x14\0\1\x1f\x41\4gpu1\4test", 17},
	{"_llm._tcp.test", SRV, "\0\x0a\0\3\x1f\x40\4gpu2\4test", 17},
	{"_llm._tcp.test", SRV, "\0\x0a\0\3\x1f\x40\4gpu3\4test", 17}, /* has no address */
	{"gpu1.test", A, {10, 0, 0, 1}, 4},
	{"gpu1.test", AAAA, {0x20, 1, 0xd, 0xb8, [15] = 1}, 16},
	{"gpu2.test", AAAA, {0x20, 1, 0xd, 0xb8, [15] = 2}, 16},
	{"_same._tcp.test", SRV, "\0\1\0\x21\x1f\x40\4gpu1\4test", 17},
	{"_same._tcp.test", SRV, "\0\1\0\x21\x1f\x40\4gpu2\4test", 17},
	{"_no._tcp.test", SRV, "\0\1\0\1\0\1\0", 7},
	{0},
};

static void services_give_ports_tiers_and_weights_that_differ(void **state)
{
	struct config_discovery cfg;
	const struct discovery_target *t;
	struct world w;

	(void)state;
	set_up(&w, services);
	cfg = question(&w, CONFIG_DNS_SRV, "_llm._tcp.test");
	cfg.tier = 1;
	ask(&w, &cfg, 0);
	assert_string_equal(w.error, "");
	assert_int_equal(w.answer.n, 2);
	t = find(&w, "10.0.0.1:8001"); /* IPv4 rather than IPv6 */
	assert_true(t && t->has_tier && t->tier == 2 && t->has_weight && t->weight == 1);
	t = find(&w, "[2001:db8::2]:8000");
	assert_true(t && t->has_tier && t->tier == 1 && t->has_weight && t->weight == 3);

	ask(&w, &cfg, AF_INET6);
	assert_int_equal(w.answer.n, 2);
	assert_non_null(find(&w, "[2001:db8::1]:8001"));

	cfg = question(&w, CONFIG_DNS_SRV, "_same._tcp.test");
	ask(&w, &cfg, 0);
	assert_int_equal(w.answer.n, 2);
	assert_false(w.answer.targets[0].has_weight || w.answer.targets[1].has_weight);

	cfg = question(&w, CONFIG_DNS_SRV, "_no._tcp.test");
	ask(&w, &cfg, 0);
	assert_string_equal(w.error, "none of its targets has an address");
	tear_down(&w);
}

static void a_question_may_be_freed_while_it_is_asked(void **state)
{
	struct config_discovery cfg;
	struct world w;

	(void)state;
	set_up(&w, services);
	for (int rounds = 0; rounds < 8; rounds++) {
		cfg = question(&w, CONFIG_DNS_SRV, "_llm._tcp.test");
		assert_int_equal(discovery_dns_ask(w.event, &cfg, 0, on_done, &w, &w.dns), 0);
		for (int i = 0; i < rounds; i++)
			assert_true(sd_event_run(w.event, 20000) >= 0);
		discovery_dns_free(&w.dns);
		discovery_answer_free(&w.answer);
	}
	tear_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_come_with_port_and_ttl),
		cmocka_unit_test(every_failure_is_told_once_with_its_reason),
		cmocka_unit_test(services_give_ports_tiers_and_weights_that_differ),
		cmocka_unit_test(a_question_may_be_freed_while_it_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
