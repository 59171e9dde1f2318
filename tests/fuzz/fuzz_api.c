// SPDX-License-Identifier: BSD-2-Clause
/*
 * Any bytes on the API's socket, to an agent over anonymous memory that checks nothing. Checked: what
 * comes back is one HTTP answer after the other, an object of JSON in each that says so, and the agent
 * answers the next one. Left out are /v1/detach and /v1/status, for nothing is attached.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/fuzz/check.h"
#include "userspace/agent/control.h"
#include "userspace/agent/fallback.h"
#include "userspace/agent/http1.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define ANSWER_MAX (1 << 20)
#define ROUNDS_MAX 2000 /* of the loop, for one input */

static struct agent *agent;
static char path[100];

static void no_grace(void *userdata)
{
	(void)userdata;
}

static void add_pool(const struct config_pool *cfg)
{
	struct pool *pool;
	uint32_t id;

	CHECK(publish_pool_get(agent->publish, cfg->name, cfg->table_slots, &id) == 0);
	CHECK(pool_new(agent, cfg, id, true, &pool) == 0);
	agent->pools = realloc(agent->pools, (agent->n_pools + 1) * sizeof(struct pool *));
	agent->pools[agent->n_pools++] = pool;
	for (uint32_t i = 0; i < cfg->n_nodes; i++) {
		struct endpoint ep = {.addr = cfg->nodes[i].address, .port = cfg->nodes[i].port};
		struct node *node;
		uint16_t node_id;
		bool adopted;

		CHECK(publish_backend_get(agent->publish, cfg->name, cfg->nodes[i].name, &ep,
					  &node_id, &adopted) == 0);
		CHECK(node_new(agent, pool, &cfg->nodes[i], node_id, false, true, 1000, &node) == 0);
		CHECK(pool_add(pool, node) == 0);
	}
}

static void remove_socket(void)
{
	unlink(path);
}

static void make_agent(void)
{
	static const char format[] =
		"socket: %s\n"
		"interfaces: [lo]\n"
		"pools:\n"
		"  - {name: a, preset: vllm, slots: 8, nodes: [{name: n1, address: 10.0.0.1}, 10.0.0.2]}\n"
		"  - {name: b, preset: tcp, port: 9000, slots: 8, nodes: [{name: n1, address: 10.0.0.3}]}\n"
		"vips: [{name: v, address: 10.1.0.1, port: 8000, pool: a}]\n";
	struct config_errors errs = {};
	struct attach_error err = {};
	struct control *control;
	char text[1024];

	log_set_level(LOG_LEVEL_ERROR);
	snprintf(path, sizeof(path), "/tmp/sluice-fuzz-api-%d", getpid());
	atexit(remove_socket);
	snprintf(text, sizeof(text), format, path);
	agent = calloc(1, sizeof(*agent));
	CHECK(config_load_buffer("/nonexistent/fuzz.yaml", text, strlen(text), &agent->cfg, &errs) == 0);
	CHECK(tables_alloc(2, 2, &agent->tables) == 0);
	CHECK(publish_new(&agent->tables, no_grace, NULL, 1000, &agent->publish) == 0);
	CHECK(scan_new(&agent->tables, 1000, &agent->scan) == 0);
	CHECK(scan_nat_new(&agent->tables, "/nonexistent", &agent->scan_nat) == 0);
	CHECK(sd_event_new(&agent->event) == 0);
	CHECK(sd_event_run(agent->event, 0) >= 0); /* fixes its time */
	CHECK(probe_engine_new(agent->event, &agent->probes) == 0);
	CHECK(fallback_new(agent, 16, 1000, &agent->fallback) == 0);
	for (uint32_t i = 0; i < agent->cfg->n_pools; i++)
		add_pool(&agent->cfg->pools[i]);
	agent->vips = calloc(1, sizeof(struct vip *));
	agent->vips[0] = calloc(1, sizeof(struct vip));
	*agent->vips[0] =
		(struct vip){.cfg = &agent->cfg->vips[0], .name = "v", .pool = agent->pools[0]};
	agent->n_vips = 1;
	CHECK(control_new(agent, &control, &err) == 0);
}

/* Also if it is written with %. */
static int has_word(const uint8_t *data, size_t size, const char *word)
{
	size_t at = 0;

	for (size_t i = 0; i < size && word[at]; i++) {
		unsigned int byte = data[i];

		if (byte == '%' && i + 2 < size &&
		    sscanf((char[]){data[i + 1], data[i + 2], '\0'}, "%2x", &byte) == 1)
			i += 2;
		at = byte == (unsigned char)word[at] ? at + 1 : byte == (unsigned char)word[0];
	}
	return !word[at];
}

static int dial(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(sa.sun_path, path);
	CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	return fd;
}

/* Until the agent closes the connection: *ret_len bytes of what it says. */
static char *talk(const uint8_t *data, size_t size, size_t *ret_len)
{
	_cleanup_close_ int fd = dial();
	char *text = malloc(ANSWER_MAX);
	size_t sent = 0, len = 0;
	ssize_t n = 1;

	CHECK(text);
	for (int i = 0; i < ROUNDS_MAX && n; i++) {
		if (sent < size) {
			n = send(fd, data + sent, size - sent, MSG_NOSIGNAL);
			sent = n < 0 && errno == EPIPE ? size : sent + (n > 0 ? (size_t)n : 0);
		}
		if (sent == size)
			(void)shutdown(fd, SHUT_WR);
		CHECK(sd_event_run(agent->event, 500) >= 0);
		n = recv(fd, text + len, ANSWER_MAX - len, 0);
		if (n < 0 && errno == ECONNRESET)
			n = 0;
		if (n > 0)
			len += (size_t)n;
		CHECK(len < ANSWER_MAX);
	}
	CHECK(n == 0); /* the agent ends what the client has ended */
	*ret_len = len;
	return text;
}

struct body {
	char *bytes;
	size_t len;
};

static int on_body(void *userdata, const char *bytes, size_t len)
{
	struct body *body = userdata;

	memcpy(body->bytes + body->len, bytes, len);
	body->len += len;
	return 0;
}

/* Answers one after the other, up to what cannot be read (of a HEAD's answer the body is missing). */
static unsigned int check_answers(const char *text, size_t len)
{
	static const struct http1_limits limits = {.header_max = 65536, .body_max = ANSWER_MAX};
	struct body body = {.bytes = malloc(ANSWER_MAX)};
	unsigned int n = 0;

	for (size_t at = 0, used = 0; at < len; at += used, n++) {
		const char *error = NULL;
		json_t *json;
		struct http1 h;

		if (len - at < 9 || memcmp(text + at, "HTTP/1.", 7)) {
			CHECK(n > 0); /* libmicrohttpd's own words about what is no HTTP */
			break;
		}
		http1_begin(&h);
		body.len = 0;
		if (http1_feed(&h, text + at, len - at, &limits, on_body, &body, &used, &error) !=
		    HTTP1_COMPLETE)
			break;
		if (!body.len || body.bytes[0] != '{')
			continue;
		json = json_loadb(body.bytes, body.len, 0, NULL);
		CHECK(json_is_object(json));
		CHECK(h.status < 400 || json_is_string(json_object_get(json, "error")));
		json_decref(json);
	}
	free(body.bytes);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char next[] = "GET /v1/vips HTTP/1.1\r\nHost: a\r\n\r\n";
	char *text;
	size_t len;

	if (!agent)
		make_agent();
	if (has_word(data, size, "/detach") || has_word(data, size, "/status"))
		return 0;
	text = talk(data, size, &len);
	check_answers(text, len);
	free(text);
	text = talk((const uint8_t *)next, sizeof(next) - 1, &len);
	CHECK(check_answers(text, len) == 1 && strstr(text, "200 OK"));
	free(text);
	return 0;
}
