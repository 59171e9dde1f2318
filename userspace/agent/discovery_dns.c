// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/discovery_dns.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "userspace/agent/dns_answer.h"

#define SOCKETS_MAX 64
#define TRIES	    2
#define TRIES_SHARE 3	 /* the second try waits twice as long as the first */
#define EDNS_SIZE   1232 /* passes without fragments; the rest comes by TCP */

/* One question of one type to one name. */
struct query {
	struct discovery_dns *dns;
	enum config_dns_type type;
	uint32_t srv; /* index of the record whose target it is about */
	int result;   /* 0: records; -errno of dns_answer_parse(); -ECONNABORTED: error is set */
	struct dns_records records;
};

struct discovery_dns {
	sd_event *event;
	sd_event_source *timer;
	ares_channel channel;
	struct {
		int fd;
		sd_event_source *io;
	} sockets[SOCKETS_MAX];
	uint32_t n_sockets;
	char name[256];
	struct config_discovery cfg; /* its strings are not to be used */
	sa_family_t family;
	uint64_t deadline_us;
	struct query first;
	struct query *more; /* for targets of SRV: [2 * first.records.n] */
	uint32_t n_more;
	uint32_t pending;
	char error[DISCOVERY_ERROR_MAX];
	discovery_dns_fn done;
	void *userdata;
};

/* what: it is about, if not the question itself: "". The first one counts. */
static void fail(struct discovery_dns *d, const char *what, const char *why)
{
	if (!d->error[0])
		snprintf(d->error, sizeof(d->error), "%.140s%s%.100s", what, *what ? ": " : "",
			 why);
}

/* --- answers ---------------------------------------------------------------------------------- */

static const char *why_of(int status)
{
	switch (status) {
	case ARES_ENODATA:
		return "no record of that type";
	case ARES_ENOTFOUND:
		return "no such name";
	case ARES_ESERVFAIL:
		return "the server fails";
	case ARES_EREFUSED:
		return "the server refuses";
	case ARES_ETIMEOUT:
	case ARES_ECANCELLED:
		return "no answer in time";
	case ARES_ECONNREFUSED:
		/* c-ares goes on to the next one as long as there is one. */
		return "every server is unreachable, fails or refuses";
	default:
		return ares_strerror(status);
	}
}

static const char *name_of(const struct query *q)
{
	struct discovery_dns *d = q->dns;

	return q == &d->first ? d->name : d->first.records.items[q->srv].name;
}

/* Whether an answer says that there is nothing: for an SRV target that is no failure. */
static bool is_nothing(int status)
{
	return status == ARES_ENODATA || status == ARES_ENOTFOUND;
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
	struct query *q = arg;
	struct discovery_dns *d = q->dns;
	const char *about = q == &d->first ? "" : name_of(q);

	(void)timeouts;
	d->pending--;
	if (status == ARES_EDESTRUCTION)
		return;
	if (status == ARES_SUCCESS)
		q->result = dns_answer_parse(msg, (size_t)len, q->type, d->family,
					     q == &d->first ? d->cfg.max_nodes : DNS_RECORDS_MAX,
					     &q->records);
	else
		q->result = is_nothing(status) ? -ENODATA : -ECONNABORTED;
	if (q->result == 0 || (q->result == -ENODATA && q != &d->first))
		return;
	switch (q->result) {
	case -ENODATA:
		fail(d, about, why_of(status == ARES_SUCCESS ? ARES_ENODATA : status));
		break;
	case -ECONNABORTED:
		fail(d, about, why_of(status));
		break;
	case -EBADMSG:
		fail(d, about, "the answer cannot be read");
		break;
	case -E2BIG:
		fail(d, about, "more records than max_nodes");
		break;
	default:
		fail(d, about, strerror(-q->result));
	}
}

static void ask(struct discovery_dns *d, struct query *q)
{
	static const int types[] = {[CONFIG_DNS_A] = ns_t_a,
				    [CONFIG_DNS_AAAA] = ns_t_aaaa,
				    [CONFIG_DNS_SRV] = ns_t_srv};

	d->pending++;
	ares_query(d->channel, name_of(q), ns_c_in, types[q->type], on_answer, q);
}

/* Addresses of SRV targets that did not come with the answer. */
static void ask_more(struct discovery_dns *d)
{
	const struct dns_records *srv = &d->first.records;

	d->more = calloc(2 * (size_t)srv->n, sizeof(*d->more));
	if (!d->more) {
		fail(d, "", "out of memory");
		return;
	}
	for (uint32_t i = 0; i < srv->n; i++) {
		if (!srv->items[i].name[0] || srv->items[i].address.family)
			continue;
		if (d->family != AF_INET6)
			d->more[d->n_more++] =
				(struct query){.dns = d, .type = CONFIG_DNS_A, .srv = i};
		if (d->family != AF_INET)
			d->more[d->n_more++] =
				(struct query){.dns = d, .type = CONFIG_DNS_AAAA, .srv = i};
	}
	for (uint32_t i = 0; i < d->n_more; i++)
		ask(d, &d->more[i]);
}

/* --- records -> targets ----------------------------------------------------------------------- */

/* The tier of a priority: how many lower ones there are. */
static uint32_t tier_of(const struct discovery_dns *d, uint16_t priority)
{
	const struct dns_records *srv = &d->first.records;
	uint32_t tier = d->cfg.tier;
	int32_t last = -1;

	while (tier < CONFIG_TIER_MAX) {
		int32_t next = priority;

		for (uint32_t i = 0; i < srv->n; i++)
			if (srv->items[i].priority > last && srv->items[i].priority < next)
				next = srv->items[i].priority;
		if (next == priority)
			break;
		last = next;
		tier++;
	}
	return tier;
}

static bool weights_differ(const struct dns_records *srv)
{
	for (uint32_t i = 1; i < srv->n; i++)
		if (srv->items[i].weight != srv->items[0].weight)
			return true;
	return false;
}

static int add(struct discovery_dns *d, const struct dns_record *rec, const struct address *addr,
	       bool weights, struct discovery_answer *answer)
{
	struct discovery_target t = {.endpoint = {.addr = *addr, .port = d->cfg.dns.port}};

	if (d->cfg.dns.type == CONFIG_DNS_SRV) {
		t.endpoint.port = rec->port;
		t.has_tier = true;
		t.tier = tier_of(d, rec->priority);
		t.has_weight = weights;
		t.weight = rec->weight < CONFIG_WEIGHT_MAX ? rec->weight : CONFIG_WEIGHT_MAX;
	}
	return discovery_answer_add(answer, &t);
}

/* The target that was looked up: its IPv4 addresses, or else the others. */
static int add_looked_up(struct discovery_dns *d, uint32_t srv, bool weights, uint32_t *ttl_s,
			 struct discovery_answer *answer)
{
	const struct dns_record *rec = &d->first.records.items[srv];
	int r = 0;

	for (uint32_t i = 0; i < d->n_more; i++) {
		const struct query *q = &d->more[i];

		if (q->srv != srv || !q->records.n)
			continue;
		if (q->records.ttl_s < *ttl_s)
			*ttl_s = q->records.ttl_s;
		for (uint32_t k = 0; k < q->records.n && r == 0; k++)
			r = add(d, rec, &q->records.items[k].address, weights, answer);
		break;
	}
	return r;
}

static int collect(struct discovery_dns *d, struct discovery_answer *answer, uint32_t *ret_ttl_s)
{
	const struct dns_records *first = &d->first.records;
	bool weights = weights_differ(first);
	uint32_t ttl_s = first->ttl_s;
	int r = 0;

	for (uint32_t i = 0; i < first->n && r == 0; i++) {
		const struct dns_record *rec = &first->items[i];

		if (rec->address.family)
			r = add(d, rec, &rec->address, weights, answer);
		else
			r = add_looked_up(d, i, weights, &ttl_s, answer);
	}
	(void)discovery_answer_finish(answer);
	*ret_ttl_s = ttl_s;
	return r;
}

static void finish(struct discovery_dns *d)
{
	struct discovery_answer answer = {0};
	char error[sizeof(d->error)];
	uint32_t ttl_s = 0;

	(void)sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
	if (!d->error[0] && collect(d, &answer, &ttl_s) < 0)
		fail(d, "", "out of memory");
	if (!d->error[0] && !answer.n)
		fail(d, "", "none of its targets has an address");
	if (d->error[0])
		discovery_answer_free(&answer);
	memcpy(error, d->error, sizeof(error)); /* d may go before it is read */
	d->done(d->userdata, error[0] ? NULL : &answer, (int64_t)ttl_s * 1000, error);
}

/* --- the loop --------------------------------------------------------------------------------- */

static uint64_t now_us(const struct discovery_dns *d)
{
	uint64_t us = 0;

	(void)sd_event_now(d->event, CLOCK_MONOTONIC, &us);
	return us;
}

static void wait_more(struct discovery_dns *d)
{
	uint64_t at = d->deadline_us;
	struct timeval tv;

	if (ares_timeout(d->channel, NULL, &tv)) {
		uint64_t next = now_us(d) + (uint64_t)tv.tv_sec * 1000000 + (uint64_t)tv.tv_usec;

		at = next < at ? next : at;
	}
	(void)sd_event_source_set_time(d->timer, at);
	(void)sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

/* After whatever may have brought answers. d may be gone afterwards. */
static void go_on(struct discovery_dns *d)
{
	if (!d->pending && !d->error[0] && !d->more && d->cfg.dns.type == CONFIG_DNS_SRV)
		ask_more(d);
	if (d->pending)
		wait_more(d);
	else
		finish(d);
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct discovery_dns *d = userdata;
	bool in = revents & (EPOLLIN | EPOLLERR | EPOLLHUP), out = revents & EPOLLOUT;

	(void)s;
	ares_process_fd(d->channel, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
	go_on(d);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct discovery_dns *d = userdata;

	(void)s;
	(void)usec;
	if (now_us(d) >= d->deadline_us)
		ares_cancel(d->channel);
	else
		ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	go_on(d);
	return 0;
}

/* c-ares opens, wants, closes a socket. One that finds no place here is answered by the deadline. */
static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
	struct discovery_dns *d = data;
	uint32_t events = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0), i = 0;

	while (i < d->n_sockets && d->sockets[i].fd != fd)
		i++;
	if (!events) {
		if (i == d->n_sockets)
			return;
		sd_event_source_disable_unref(d->sockets[i].io);
		d->sockets[i] = d->sockets[--d->n_sockets];
		return;
	}
	if (i < d->n_sockets) {
		(void)sd_event_source_set_io_events(d->sockets[i].io, events);
		return;
	}
	if (i == SOCKETS_MAX ||
	    sd_event_add_io(d->event, &d->sockets[i].io, fd, events, on_io, d) < 0)
		return;
	d->sockets[d->n_sockets++].fd = fd;
}

/* --- start and end ---------------------------------------------------------------------------- */

static int use_server(struct discovery_dns *d, const char *server)
{
	struct ares_addr_port_node node = {0};
	struct endpoint ep;

	if (!server)
		return 0;
	if (endpoint_parse_optional_port(server, &ep) < 0)
		return -EINVAL;
	node.family = ep.addr.family;
	if (ep.addr.family == AF_INET6)
		memcpy(&node.addr.addr6, ep.addr.bytes, 16);
	else
		memcpy(&node.addr.addr4, ep.addr.bytes, 4);
	node.udp_port = node.tcp_port = ep.port ? ep.port : 53;
	return ares_set_servers_ports(d->channel, &node) == ARES_SUCCESS ? 0 : -ENOMEM;
}

static int open_channel(struct discovery_dns *d, const struct config_dns *cfg)
{
	struct ares_options options = {
		.flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
		.timeout = (int)(cfg->timeout_ms / TRIES_SHARE) + 1,
		.tries = TRIES,
		.ednspsz = EDNS_SIZE,
		.sock_state_cb = on_socket,
		.sock_state_cb_data = d,
	};
	int status = ares_init_options(&d->channel, &options,
				       ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
					       ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB);

	if (status != ARES_SUCCESS) {
		d->channel = NULL;
		fail(d, "resolver", ares_strerror(status));
		return 0;
	}
	return use_server(d, cfg->server);
}

int discovery_dns_ask(sd_event *event, const struct config_discovery *cfg, sa_family_t family,
		      discovery_dns_fn done, void *userdata, struct discovery_dns **ret)
{
	struct discovery_dns *d;
	int r;

	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return -ENOMEM;
	d = calloc(1, sizeof(*d));
	if (!d) {
		ares_library_cleanup();
		return -ENOMEM;
	}
	d->event = sd_event_ref(event);
	d->cfg = *cfg;
	snprintf(d->name, sizeof(d->name), "%s", cfg->dns.name);
	d->family = family;
	d->done = done;
	d->userdata = userdata;
	d->first = (struct query){.dns = d, .type = cfg->dns.type};
	d->deadline_us = now_us(d) + (uint64_t)cfg->dns.timeout_ms * 1000;
	/* Due at once: whatever c-ares finds without waiting is told from the loop. */
	r = sd_event_add_time(event, &d->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, d);
	if (r >= 0)
		r = open_channel(d, &cfg->dns);
	if (r < 0) {
		discovery_dns_free(&d);
		return r;
	}
	if (d->channel)
		ask(d, &d->first);
	*ret = d;
	return 0;
}

void discovery_dns_free(struct discovery_dns **dns)
{
	struct discovery_dns *d = *dns;

	if (!d)
		return;
	if (d->channel)
		ares_destroy(d->channel);
	for (uint32_t i = 0; i < d->n_sockets; i++)
		sd_event_source_disable_unref(d->sockets[i].io);
	sd_event_source_disable_unref(d->timer);
	sd_event_unref(d->event);
	dns_records_free(&d->first.records);
	for (uint32_t i = 0; i < d->n_more; i++)
		dns_records_free(&d->more[i].records);
	free(d->more);
	free(d);
	*dns = NULL;
	ares_library_cleanup();
}
