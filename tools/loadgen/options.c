// SPDX-License-Identifier: BSD-2-Clause
#include "tools/loadgen/options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/lib/option_value.h"
#include "userspace/lib/log.h"

#define COUNT_MAX       100000000.0
#define CONCURRENCY_MAX 500000.0
#define RATE_MAX        1000000.0
#define SECONDS_MAX     86400.0
#define HOST_MAX        256

const char options_help[] =
	"Usage: loadgen spread|steady|stream URL... [OPTION]...\n"
	"An honest HTTP client: every connection is real, every answer is checked.\n"
	"\n"
	"  spread   one short request on each of --count connections\n"
	"  steady   the same at --rate a second, one line for each connection\n"
	"  stream   hold --concurrency token streams, starting a new one when one ends\n"
	"\n"
	"URL is http://HOST[:PORT][/PATH]; several are used in turn. A POST of a completion goes "
	"to\n"
	"/v1/completions, or to the path if there is one; without --tokens the page is read by "
	"GET.\n"
	"\n"
	"  --count N            connections in all (spread 1000; steady, stream: no bound but "
	"time)\n"
	"  --concurrency N      connections at once (spread 64; steady 10000; stream 100)\n"
	"  --rate R             new connections a second (steady 100; stream 1000; spread: no "
	"bound)\n"
	"  --duration S         start no new connection after this (spread 60; else 10)\n"
	"  --grace S            then wait so long for the open ones (default 30)\n"
	"  --tokens N           tokens of each completion (stream 100; else 0: GET)\n"
	"  --any-text           the server does not number its tokens, or the page is not JSON\n"
	"  --source A,B,...     local addresses, in turn\n"
	"  --connect-timeout S  time to connect (default 5)\n"
	"  --silence S          time without a byte (default 30)\n"
	"  --allow N            failed and broken connections that are still a success (default "
	"0)\n"
	"  --json FILE          the report; - is standard output here and below\n"
	"  --progress FILE      the counters, one JSON line a second\n"
	"  --events FILE        one JSON line for each failed or broken connection\n"
	"  --series FILE        one JSON line for each connection, with its backend (steady: -)\n"
	"  --quiet              no summary\n"
	"  --help               this text\n"
	"\n"
	"SIGINT and SIGTERM end the run and print the report so far; SIGUSR1 starts no new\n"
	"connections and lets the open ones finish.\n"
	"Exit status: 0 all well; 1 more than --allow failed or broke; 2 wrong usage; 3 cannot "
	"run.\n";

enum option_id {
	OPT_COUNT = 256,
	OPT_CONCURRENCY,
	OPT_RATE,
	OPT_DURATION,
	OPT_GRACE,
	OPT_TOKENS,
	OPT_ANY_TEXT,
	OPT_SOURCE,
	OPT_CONNECT_TIMEOUT,
	OPT_SILENCE,
	OPT_ALLOW,
	OPT_JSON,
	OPT_PROGRESS,
	OPT_EVENTS,
	OPT_SERIES,
	OPT_QUIET,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"count", required_argument, NULL, OPT_COUNT},
	{"concurrency", required_argument, NULL, OPT_CONCURRENCY},
	{"rate", required_argument, NULL, OPT_RATE},
	{"duration", required_argument, NULL, OPT_DURATION},
	{"grace", required_argument, NULL, OPT_GRACE},
	{"tokens", required_argument, NULL, OPT_TOKENS},
	{"any-text", no_argument, NULL, OPT_ANY_TEXT},
	{"source", required_argument, NULL, OPT_SOURCE},
	{"connect-timeout", required_argument, NULL, OPT_CONNECT_TIMEOUT},
	{"silence", required_argument, NULL, OPT_SILENCE},
	{"allow", required_argument, NULL, OPT_ALLOW},
	{"json", required_argument, NULL, OPT_JSON},
	{"progress", required_argument, NULL, OPT_PROGRESS},
	{"events", required_argument, NULL, OPT_EVENTS},
	{"series", required_argument, NULL, OPT_SERIES},
	{"quiet", no_argument, NULL, OPT_QUIET},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static int add_source(struct options *o, const char *text)
{
	struct sockaddr_storage ss = {0};
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;
	struct sockaddr_in *in = (struct sockaddr_in *)&ss;

	if (o->n_sources == OPTIONS_SOURCES_MAX) {
		log_error("--source: at most %d addresses", OPTIONS_SOURCES_MAX);
		return -EINVAL;
	}
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
	} else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
	} else {
		log_error("--source: \"%s\" is not an address", text);
		return -EINVAL;
	}
	o->sources[o->n_sources++] = ss;
	return 0;
}

static int read_sources(struct options *o, char *list)
{
	char *save = NULL;

	for (char *p = strtok_r(list, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		int r = add_source(o, p);

		if (r < 0)
			return r;
	}
	return 0;
}

static int read_number_option(struct options *o, int id, const char *name, const char *arg)
{
	uint64_t n = 0;
	int r;

	switch (id) {
	case OPT_COUNT:
		return option_count(name, arg, 1, COUNT_MAX, &o->count);
	case OPT_CONCURRENCY:
		r = option_count(name, arg, 1, CONCURRENCY_MAX, &n);
		o->concurrency = (uint32_t)n;
		return r;
	case OPT_RATE:
		return option_number(name, arg, 0.001, RATE_MAX, &o->rate);
	case OPT_DURATION:
		return option_number(name, arg, 0.001, SECONDS_MAX, &o->duration_s);
	case OPT_GRACE:
		return option_number(name, arg, 0, SECONDS_MAX, &o->grace_s);
	case OPT_TOKENS:
		r = option_count(name, arg, 0, 1000000, &n);
		o->tokens = (uint32_t)n;
		return r;
	case OPT_CONNECT_TIMEOUT:
		return option_number(name, arg, 0.001, SECONDS_MAX, &o->connect_s);
	case OPT_SILENCE:
		return option_number(name, arg, 0.001, SECONDS_MAX, &o->silence_s);
	case OPT_ALLOW:
		return option_count(name, arg, 0, COUNT_MAX, &o->allow);
	}
	return -EINVAL;
}

static int read_option(struct options *o, int id, const char *name, char *arg)
{
	switch (id) {
	case OPT_ANY_TEXT:
		o->order = CHECK_ANY_TEXT;
		return 0;
	case OPT_SOURCE:
		return read_sources(o, arg);
	case OPT_JSON:
		o->json = arg;
		return 0;
	case OPT_PROGRESS:
		o->progress = arg;
		return 0;
	case OPT_EVENTS:
		o->events = arg;
		return 0;
	case OPT_SERIES:
		o->series = arg;
		return 0;
	case OPT_QUIET:
		o->quiet = true;
		return 0;
	case OPT_HELP:
		o->help = true;
		return 0;
	}
	return read_number_option(o, id, name, arg);
}

struct url {
	char host[HOST_MAX];
	char port[8];
	const char *path;
};

/* http://HOST[:PORT][/PATH]; HOST may be an IPv6 address in brackets. */
static int split_url(const char *text, struct url *ret)
{
	const char *p = text;
	const char *host_end;
	size_t len;

	if (strncmp(p, "http://", 7))
		return -EINVAL;
	p += 7;
	host_end = *p == '[' ? strchr(p, ']') : p + strcspn(p, ":/");
	if (!host_end)
		return -EINVAL;
	if (*p == '[')
		p++;
	len = (size_t)(host_end - p);
	if (!len || len >= sizeof(ret->host))
		return -EINVAL;
	memcpy(ret->host, p, len);
	ret->host[len] = '\0';
	p = host_end + (*host_end == ']');
	strcpy(ret->port, "80");
	if (*p == ':') {
		len = strspn(p + 1, "0123456789");
		if (!len || len >= sizeof(ret->port) || atoi(p + 1) > 65535)
			return -EINVAL;
		memcpy(ret->port, p + 1, len);
		ret->port[len] = '\0';
		p += 1 + len;
	}
	if (*p && *p != '/')
		return -EINVAL;
	ret->path = p;
	return 0;
}

static int build_request(const struct options *o, const struct url *u, struct options_target *t)
{
	const char *path = *u->path ? u->path : o->tokens ? "/v1/completions" : "/";
	const char *host_format = strchr(u->host, ':') ? "[%s]:%s" : "%s:%s";
	char host[HOST_MAX + 16];
	char body[256] = "";
	int n;

	snprintf(host, sizeof(host), host_format, u->host, u->port);
	if (!o->tokens) {
		n = snprintf(t->request, sizeof(t->request),
			     "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path,
			     host);
	} else {
		int len = snprintf(body, sizeof(body),
				   "{\"model\":\"mock-model\",\"prompt\":\"count\","
				   "\"messages\":[{\"role\":\"user\",\"content\":\"count\"}],"
				   "\"max_tokens\":%u,\"stream\":%s}",
				   o->tokens, o->mode == MODE_STREAM ? "true" : "false");

		n = snprintf(t->request, sizeof(t->request),
			     "POST %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
			     "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			     path, host, len, body);
	}
	if (n < 0 || (size_t)n >= sizeof(t->request))
		return -EINVAL;
	t->request_len = (uint32_t)n;
	return 0;
}

static int add_target(struct options *o, const char *text)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct options_target *t = &o->targets[o->n_targets];
	struct addrinfo *list = NULL;
	struct url u;
	int r;

	if (o->n_targets == OPTIONS_TARGETS_MAX) {
		log_error("at most %d URLs", OPTIONS_TARGETS_MAX);
		return -EINVAL;
	}
	if (split_url(text, &u) < 0 || build_request(o, &u, t) < 0) {
		log_error("\"%s\" is not an URL like http://HOST:PORT/PATH", text);
		return -EINVAL;
	}
	r = getaddrinfo(u.host, u.port, &hints, &list);
	if (r) {
		log_error("%s: %s", u.host, gai_strerror(r));
		return -EINVAL;
	}
	t->url = text;
	memcpy(&t->addr, list->ai_addr, list->ai_addrlen);
	t->addr_len = list->ai_addrlen;
	freeaddrinfo(list);
	o->n_targets++;
	return 0;
}

static int set_mode(struct options *o, const char *word)
{
	*o = (struct options){
		.order = CHECK_NUMBERED,
		.count = (uint64_t)COUNT_MAX,
		.duration_s = 10,
		.grace_s = 30,
		.connect_s = 5,
		.silence_s = 30,
	};
	if (!strcmp(word, "spread")) {
		o->mode = MODE_SPREAD;
		o->count = 1000;
		o->concurrency = 64;
		o->duration_s = 60;
	} else if (!strcmp(word, "steady")) {
		o->mode = MODE_STEADY;
		o->concurrency = 10000;
		o->rate = 100;
		o->series = "-";
	} else if (!strcmp(word, "stream")) {
		o->mode = MODE_STREAM;
		o->concurrency = 100;
		o->rate = 1000;
		o->tokens = 100;
	} else {
		return -EINVAL;
	}
	return 0;
}

static int read_rest(struct options *o, int argc, char **argv)
{
	if (optind == argc) {
		log_error("a URL is missing; see --help");
		return -EINVAL;
	}
	if (o->mode == MODE_STREAM && !o->tokens) {
		log_error("--tokens: a stream needs at least 1");
		return -EINVAL;
	}
	for (int i = optind; i < argc; i++) {
		int r = add_target(o, argv[i]);

		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; o->n_sources && i < o->n_targets; i++) {
		uint32_t fits = 0;

		for (uint32_t k = 0; k < o->n_sources; k++)
			fits += o->sources[k].ss_family == o->targets[i].addr.ss_family;
		if (!fits) {
			log_error("--source: none has the address family of %s", o->targets[i].url);
			return -EINVAL;
		}
	}
	return 0;
}

int options_read(struct options *o, int argc, char **argv)
{
	int index = 0;
	int id;

	if (argc > 1 && !strcmp(argv[1], "--help")) {
		o->help = true;
		return 0;
	}
	if (argc < 2 || set_mode(o, argv[1]) < 0) {
		log_error("the first word must be spread, steady or stream; see --help");
		return -EINVAL;
	}
	argc--;
	argv++;
	while ((id = getopt_long(argc, argv, ":", long_options, &index)) != -1) {
		int r;

		if (id == '?' || id == ':') {
			log_error("%s: %s; see --help", argv[optind - 1],
				  id == '?' ? "unknown option" : "a value is missing");
			return -EINVAL;
		}
		r = read_option(o, id, long_options[index].name, optarg);
		if (r < 0)
			return r;
	}
	return o->help ? 0 : read_rest(o, argc, argv);
}
