// SPDX-License-Identifier: BSD-2-Clause
#include "tools/sluicectl/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/sluicectl/clock.h"
#include "userspace/lib/cleanup.h"

#define ANSWER_MAX    (64u << 20)
#define QUEUE_MS      10000
#define QUEUE_POLL_MS 50
#define AGAIN_MS   200

struct answer {
	char *text;
	size_t len;
};

static size_t on_data(char *data, size_t size, size_t n, void *userdata)
{
	struct answer *a = userdata;
	size_t more = size * n;
	char *text;

	if (a->len + more > ANSWER_MAX)
		return 0;
	text = realloc(a->text, a->len + more + 1);
	if (!text)
		return 0;
	memcpy(text + a->len, data, more);
	a->text = text;
	a->len += more;
	text[a->len] = '\0';
	return more;
}

void client_node_path(char *buf, size_t size, const char *node, const char *suffix)
{
	char *escaped = curl_easy_escape(NULL, node, 0);

	/* A slash between pool and node stays one. */
	for (char *p = escaped; p && (p = strstr(p, "%2F"));) {
		*p = '/';
		memmove(p + 1, p + 3, strlen(p + 3) + 1);
	}
	snprintf(buf, size, "/v1/backends/%s%s", escaped ? escaped : "", suffix);
	curl_free(escaped);
}

/* 0: somebody listens, and may have his queue full; or -errno. */
static int find_listener(const struct ctl *ctl)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(ctl->socket) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", ctl->socket);
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

bool client_reaches(const struct ctl *ctl)
{
	int r = find_listener(ctl);

	return r == 0 || r == -EACCES;
}

static int no_agent(const struct ctl *ctl, CURLcode code)
{
	int r = access(ctl->socket, R_OK | W_OK) < 0 ? errno : 0;

	if (ctl->silent)
		return CTL_NO_AGENT;
	if (r == EACCES)
		fprintf(stderr, "sluicectl: %s: %s (are you root, or in its group?)\n", ctl->socket,
			strerror(r));
	else if (r)
		fprintf(stderr,
			"sluicectl: no agent: %s: %s (is sluiced running? --socket or SLUICE_SOCKET "
			"names another)\n",
			ctl->socket, strerror(r));
	else if (!client_reaches(ctl))
		fprintf(stderr,
			"sluicectl: no agent: nobody listens on %s (sluiced has ended; forwarding goes "
			"on without it)\n",
			ctl->socket);
	else
		fprintf(stderr, "sluicectl: no agent answers on %s: %s (forwarding goes on)\n",
			ctl->socket, curl_easy_strerror(code));
	return CTL_NO_AGENT;
}

/* The agent said no: print why. */
static int refused(long status, const json_t *json)
{
	const char *error = json_string_value(json_object_get(json, "error"));
	const json_t *list = json_object_get(json, "errors");
	const json_t *item;
	size_t i;

	fprintf(stderr, "sluicectl: %s\n", error ? error : "the agent refused, without a reason");
	json_array_foreach(list, i, item)
		if (json_is_string(item) && (!error || strcmp(json_string_value(item), error)))
			fprintf(stderr, "  %s\n", json_string_value(item));
	return status == 404 ? CTL_NO_NODE : CTL_REFUSED;
}

/* libcurl does not wait for a place in the queue of an agent that is busy with others. */
static CURLcode perform_queued(const struct ctl *ctl, CURL *easy)
{
	CURLcode code = curl_easy_perform(easy);

	for (int ms = 0; code == CURLE_COULDNT_CONNECT && ms < QUEUE_MS; ms += QUEUE_POLL_MS) {
		if (find_listener(ctl) < 0)
			break;
		clock_sleep_ms(QUEUE_POLL_MS);
		code = curl_easy_perform(easy);
	}
	return code;
}

static int perform(const struct ctl *ctl, CURL *easy, const char *method, const char *path,
		   const char *body, size_t len, struct answer *answer, long *ret_status)
{
	char url[512];
	CURLcode code;

	snprintf(url, sizeof(url), "http://sluice%s", path);
	curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, ctl->socket);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_TIMEOUT, 30L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
	if (!strcmp(method, "POST")) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body ? body : "");
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)len);
	}
	code = perform_queued(ctl, easy);
	if (code != CURLE_OK)
		return no_agent(ctl, code);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, ret_status);
	return CTL_OK;
}

static int call(const struct ctl *ctl, const char *method, const char *path, const char *body,
		size_t len, json_t **ret_json)
{
	struct answer answer = {};
	CURL *easy = curl_easy_init();
	json_t *json = NULL;
	long status = 0;
	int r = CTL_REFUSED;

	if (easy)
		r = perform(ctl, easy, method, path, body, len, &answer, &status);
	curl_easy_cleanup(easy);
	if (r == CTL_OK)
		json = json_loadb(answer.text ? answer.text : "", answer.len, 0, NULL);
	free(answer.text);
	if (r != CTL_OK)
		return r;
	if (status != 200) {
		r = refused(status, json);
		json_decref(json);
		return r;
	}
	if (!json) {
		fprintf(stderr, "sluicectl: the agent's answer is not JSON\n");
		return CTL_REFUSED;
	}
	*ret_json = json;
	return CTL_OK;
}

int client_call(const struct ctl *ctl, const char *method, const char *path, const json_t *body,
		json_t **ret_json)
{
	_cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	return call(ctl, method, path, text, text ? strlen(text) : 0, ret_json);
}

int client_send(const struct ctl *ctl, const char *path, const char *body, size_t len,
		json_t **ret_json)
{
	return call(ctl, "POST", path, body, len, ret_json);
}

int client_get_again(const struct ctl *ctl, const char *path, const char *what, json_t **ret_json)
{
	struct ctl silent = *ctl;
	int64_t began_ms = clock_ms();
	int r;

	silent.silent = true;
	r = client_call(&silent, "GET", path, NULL, ret_json);
	if (r != CTL_NO_AGENT)
		return r;
	fprintf(stderr, "%ssluicectl: no agent answers; %sthe next one is waited for\n",
		isatty(STDERR_FILENO) ? "\r\033[K" : "", what);
	while (r == CTL_NO_AGENT && clock_ms() - began_ms < CLIENT_AGENT_BACK_MS) {
		clock_sleep_ms(AGAIN_MS);
		r = client_call(&silent, "GET", path, NULL, ret_json);
	}
	return r == CTL_NO_AGENT ? client_call(ctl, "GET", path, NULL, ret_json) : r;
}
