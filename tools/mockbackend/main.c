// SPDX-License-Identifier: BSD-2-Clause
/* mockbackend: an inference server for tests. Options -> a running server; signals -> its end. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "tools/lib/option_value.h"
#include "tools/mockbackend/server.h"
#include "userspace/lib/log.h"

enum option_id {
	OPT_NAME = 256,
	OPT_MODEL,
	OPT_LISTEN,
	OPT_PORT,
	OPT_FREE_BIND,
	OPT_SLOTS,
	OPT_QUEUE_MAX,
	OPT_QUEUE_STATUS,
	OPT_TOKENS_PER_SECOND,
	OPT_TTFT_MS,
	OPT_KV_TOKENS,
	OPT_LOADING_S,
	OPT_VERBOSE,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"name", required_argument, NULL, OPT_NAME},
	{"model", required_argument, NULL, OPT_MODEL},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"port", required_argument, NULL, OPT_PORT},
	{"free-bind", no_argument, NULL, OPT_FREE_BIND},
	{"slots", required_argument, NULL, OPT_SLOTS},
	{"queue-max", required_argument, NULL, OPT_QUEUE_MAX},
	{"queue-status", required_argument, NULL, OPT_QUEUE_STATUS},
	{"tokens-per-second", required_argument, NULL, OPT_TOKENS_PER_SECOND},
	{"ttft-ms", required_argument, NULL, OPT_TTFT_MS},
	{"kv-tokens", required_argument, NULL, OPT_KV_TOKENS},
	{"loading-s", required_argument, NULL, OPT_LOADING_S},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static const char help[] =
	"Usage: mockbackend [OPTION]...\n"
	"An inference server for tests: real slots, a real queue, tokens at a set rate.\n"
	"\n"
	"  --name NAME              who answers, in every answer (default: node)\n"
	"  --model NAME             the model it serves (default: mock-model)\n"
	"  --listen ADDR            IPv4 or IPv6 address, or unix:PATH; may be repeated\n"
	"                           (default: all addresses of both families)\n"
	"  --port N                 TCP port of every address; 0: any free one (default: 8000)\n"
	"  --free-bind              bind also to addresses that this host does not have yet\n"
	"  --slots N                requests that run at once (default: 64)\n"
	"  --queue-max N            requests that may wait (default: no bound)\n"
	"  --queue-status 429|503   the answer when the queue is full (default: 503)\n"
	"  --tokens-per-second R    speed of each running request (default: 50)\n"
	"  --ttft-ms N              extra time before the first token (default: 0)\n"
	"  --kv-tokens N            size of the KV cache (default: 4096 for each slot)\n"
	"  --loading-s S            answer 503 for so long after the start (default: 0)\n"
	"  --verbose                log more\n"
	"  --help                   this text\n"
	"\n"
	"Prints \"ready NAME ADDR:PORT ...\" on standard output when it listens.\n"
	"Paths: / /health /metrics /v1/models /v1/completions /v1/chat/completions /control\n"
	"\n"
	"GET /control shows the settings and counters; POST with JSON, or with a query, sets:\n"
	"  tokens_per_second, rate_factor (0 freezes), slots, queue_max, queue_status,\n"
	"  gpu_memory (percent), kv_usage (0..1), loading_s (seconds, true, false), draining,\n"
	"  health, metrics, api, all: ok hang garbage huge slow truncated empty status reset "
	"close,\n"
	"  health_status, metrics_status, api_status, health_delay_ms, metrics_delay_ms, huge_mb,\n"
	"  abrupt_after (reset each stream after N tokens), break (reset, close: all live "
	"streams),\n"
	"  refuse_s (close the TCP ports for so long), reset (true: back to the start)\n";

struct command {
	struct server_options server;
	const char *listen[LISTEN_MAX];
	uint32_t n_listen;
	uint16_t port;
	bool free_bind;
	bool help;
};

static int read_name(const char *option, const char *text, size_t max, const char **ret)
{
	if (!page_name_ok(text, max)) {
		log_error("--%s: \"%s\" is not 1 to %zu letters, digits and ._:/-", option, text,
			  max);
		return -EINVAL;
	}
	*ret = text;
	return 0;
}

static int add_listen(struct command *c, const char *text)
{
	if (c->n_listen == LISTEN_MAX) {
		log_error("--listen: at most %d addresses", LISTEN_MAX);
		return -EINVAL;
	}
	c->listen[c->n_listen++] = text;
	return 0;
}

static int read_load_option(struct command *c, int id, const char *name, const char *arg)
{
	struct fault_settings *s = &c->server.settings;
	uint64_t n = 0;
	double seconds = 0;
	int r;

	switch (id) {
	case OPT_SLOTS:
		r = option_count(name, arg, 1, 1e6, &n);
		s->slots = (uint32_t)n;
		return r;
	case OPT_QUEUE_MAX:
		r = option_count(name, arg, 0, 1e6, &n);
		s->queue_max = (uint32_t)n;
		return r;
	case OPT_QUEUE_STATUS:
		s->queue_status = !strcmp(arg, "429") ? 429 : 503;
		if (s->queue_status == 429 || !strcmp(arg, "503"))
			return 0;
		log_error("--queue-status: \"%s\" is not 429 or 503", arg);
		return -EINVAL;
	case OPT_TOKENS_PER_SECOND:
		return option_number(name, arg, 0.001, 1e6, &s->tokens_per_s);
	case OPT_TTFT_MS:
		r = option_count(name, arg, 0, 600000, &n);
		c->server.engine.ttft_ms = (uint32_t)n;
		return r;
	case OPT_KV_TOKENS:
		return option_count(name, arg, 1, 1e12, &c->server.engine.kv_tokens);
	case OPT_LOADING_S:
		r = option_number(name, arg, 0, 86400, &seconds);
		s->loading_until_us = (uint64_t)(seconds * 1e6);
		return r;
	}
	return -EINVAL;
}

static int read_option(struct command *c, int id, const char *name, const char *arg)
{
	uint64_t n = 0;
	int r;

	switch (id) {
	case OPT_NAME:
		return read_name(name, arg, PAGE_NAME_MAX, &c->server.name);
	case OPT_MODEL:
		return read_name(name, arg, PAGE_MODEL_MAX, &c->server.model);
	case OPT_LISTEN:
		return add_listen(c, arg);
	case OPT_PORT:
		r = option_count(name, arg, 0, 65535, &n);
		c->port = (uint16_t)n;
		return r;
	case OPT_FREE_BIND:
		c->free_bind = true;
		return 0;
	case OPT_VERBOSE:
		log_set_level(LOG_LEVEL_DEBUG);
		return 0;
	case OPT_HELP:
		c->help = true;
		return 0;
	}
	return read_load_option(c, id, name, arg);
}

static int read_options(struct command *c, int argc, char **argv)
{
	int index = 0;
	int id;

	while ((id = getopt_long(argc, argv, ":", long_options, &index)) != -1) {
		int r;

		if (id == '?' || id == ':') {
			log_error("%s: %s; see --help", argv[optind - 1],
				  id == '?' ? "unknown option" : "a value is missing");
			return -EINVAL;
		}
		r = read_option(c, id, long_options[index].name, optarg);
		if (r < 0)
			return r;
	}
	if (optind < argc) {
		log_error("unexpected argument \"%s\"; see --help", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

/* Everything that follows from all options together. */
static int finish_options(struct command *c)
{
	struct server_options *o = &c->server;

	if (!c->n_listen)
		c->listen[c->n_listen++] = NULL;
	for (uint32_t i = 0; i < c->n_listen; i++) {
		if (listen_parse(c->listen[i], c->port, &o->listeners[i]) < 0) {
			log_error("--listen: \"%s\" is not an address or unix:PATH", c->listen[i]);
			return -EINVAL;
		}
		o->listeners[i].free_bind = c->free_bind;
	}
	o->n_listeners = c->n_listen;
	o->engine.slots = o->settings.slots;
	o->engine.queue_max = o->settings.queue_max;
	o->engine.tokens_per_s = o->settings.tokens_per_s;
	if (!o->engine.kv_tokens)
		o->engine.kv_tokens = o->engine.slots * 4096ULL;
	return 0;
}

static void announce(const struct server *s)
{
	char text[LISTEN_TEXT_MAX];

	printf("ready %s", s->name);
	for (uint32_t i = 0; i < s->n_listeners; i++) {
		listen_text(&s->listeners[i], text, sizeof(text));
		printf(" %s", text);
	}
	printf("\n");
	fflush(stdout);
	(void)sd_notify(0, "READY=1"); /* without a manager there is nobody to tell */
}

int main(int argc, char **argv)
{
	struct command c = {
		.server = {.name = "node", .model = "mock-model"},
		.port = 8000,
	};
	struct server s;
	int r;

	fault_defaults(&c.server.settings);
	c.server.settings.slots = 64;
	c.server.settings.tokens_per_s = 50;
	if (read_options(&c, argc, argv) < 0)
		return 2;
	if (c.help) {
		fputs(help, stdout);
		return 0;
	}
	if (finish_options(&c) < 0)
		return 2;
	r = server_open(&s, &c.server);
	if (r >= 0) {
		announce(&s);
		r = server_run(&s);
		if (r < 0)
			log_error("serving: %s", strerror(-r));
	}
	server_close(&s);
	return r < 0 ? 1 : 0;
}
