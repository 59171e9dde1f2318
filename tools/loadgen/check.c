// SPDX-License-Identifier: BSD-2-Clause
#include "tools/loadgen/check.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const cause_names[CAUSE_N] = {
	[CAUSE_OK] = "ok",
	[CAUSE_REFUSED] = "connect_refused",
	[CAUSE_UNREACHABLE] = "unreachable",
	[CAUSE_CONNECT_TIMEOUT] = "connect_timeout",
	[CAUSE_CONNECT_ERROR] = "connect_error",
	[CAUSE_LOCAL] = "local_limit",
	[CAUSE_RESET] = "reset",
	[CAUSE_EOF] = "eof_early",
	[CAUSE_SILENCE] = "silence",
	[CAUSE_STATUS] = "status",
	[CAUSE_BAD_HTTP] = "bad_http",
	[CAUSE_WRONG_BODY] = "wrong_body",
	[CAUSE_GAP] = "gap",
	[CAUSE_BACKEND_CHANGED] = "backend_changed",
	[CAUSE_ERROR_EVENT] = "error_event",
};

const char *check_cause_name(enum check_cause cause)
{
	assert(cause >= CAUSE_OK && cause < CAUSE_N);
	return cause_names[cause];
}

void check_stream_init(struct check_stream *s, uint32_t want, enum check_order order)
{
	s->order = order;
	s->want = want;
	s->tokens = 0;
	s->done = false;
	s->line_cut = false;
	s->line_len = 0;
}

/* The start of the string value of "key", within the line. NULL: no such key. */
static const char *find_value(const char *line, size_t len, const char *key, size_t key_len,
			      size_t *ret_len)
{
	const char *p = memmem(line, len, key, key_len);
	const char *end;

	if (!p)
		return NULL;
	p += key_len;
	end = memchr(p, '"', (size_t)(line + len - p));
	if (!end)
		return NULL;
	*ret_len = (size_t)(end - p);
	return p;
}

#define FIND_VALUE(line, len, key, ret_len) find_value(line, len, key, sizeof(key) - 1, ret_len)

/* " 17" is token 17. */
static bool is_number(const char *text, size_t len, uint32_t want)
{
	char expected[16];
	int n = snprintf(expected, sizeof(expected), " %" PRIu32, want);

	return (size_t)n == len && !memcmp(text, expected, len);
}

static enum check_cause token(struct check_stream *s, const char *text, size_t len)
{
	if (!len)
		return CAUSE_OK; /* a chat's first event, or a last one with only a reason */
	if (s->order == CHECK_NUMBERED && !is_number(text, len, s->tokens))
		return CAUSE_GAP;
	s->tokens++;
	return CAUSE_OK;
}

/* What follows "data: ". */
static enum check_cause event(struct check_stream *s, const char *data, size_t len,
			      const char *backend)
{
	const char *value;
	size_t value_len;

	if (len == 6 && !memcmp(data, "[DONE]", 6)) {
		s->done = true;
		return CAUSE_OK;
	}
	if (s->done)
		return CAUSE_WRONG_BODY; /* nothing may follow the end */
	value = FIND_VALUE(data, len, "\"backend\":\"", &value_len);
	if (value && (strlen(backend) != value_len || memcmp(value, backend, value_len)))
		return CAUSE_BACKEND_CHANGED;
	value = FIND_VALUE(data, len, "\"text\":\"", &value_len);
	if (!value)
		value = FIND_VALUE(data, len, "\"content\":\"", &value_len);
	if (value)
		return token(s, value, value_len);
	if (memmem(data, len, "\"error\":", 8))
		return CAUSE_ERROR_EVENT;
	return CAUSE_OK;
}

static enum check_cause whole_line(struct check_stream *s, const char *line, size_t len,
				   const char *backend)
{
	if (len && line[len - 1] == '\r')
		len--;
	if (!len || line[0] == ':')
		return CAUSE_OK;
	if (len < 5 || memcmp(line, "data:", 5))
		return CAUSE_OK; /* "event:", "id:", "retry:": allowed, without meaning here */
	line += 5;
	len -= 5;
	if (len && line[0] == ' ') {
		line++;
		len--;
	}
	return event(s, line, len, backend);
}

static void keep(struct check_stream *s, const char *data, size_t len)
{
	size_t room = sizeof(s->line) - s->line_len;

	if (len > room) {
		len = room;
		s->line_cut = true;
	}
	memcpy(s->line + s->line_len, data, len);
	s->line_len = (uint16_t)(s->line_len + len);
}

enum check_cause check_stream_feed(struct check_stream *s, const char *data, size_t len,
				   const char *backend)
{
	while (len) {
		const char *end = memchr(data, '\n', len);
		size_t n = end ? (size_t)(end - data) : len;
		enum check_cause cause;

		if (!end) {
			keep(s, data, n);
			return s->line_cut ? CAUSE_WRONG_BODY : CAUSE_OK;
		}
		if (s->line_len) {
			keep(s, data, n);
			if (s->line_cut)
				return CAUSE_WRONG_BODY;
			cause = whole_line(s, s->line, s->line_len, backend);
			s->line_len = 0;
		} else {
			cause = whole_line(s, data, n, backend);
		}
		if (cause != CAUSE_OK)
			return cause;
		data += n + 1;
		len -= n + 1;
	}
	return CAUSE_OK;
}

enum check_cause check_stream_end(const struct check_stream *s)
{
	if (!s->done || s->line_len)
		return CAUSE_EOF;
	if (s->order == CHECK_NUMBERED && s->tokens != s->want)
		return CAUSE_GAP;
	return CAUSE_OK;
}

static bool text_right(const char *text, uint32_t want)
{
	for (uint32_t i = 0; i < want; i++) {
		char expected[16];
		size_t n = (size_t)snprintf(expected, sizeof(expected), " %" PRIu32, i);

		if (strncmp(text, expected, n))
			return false;
		text += n;
	}
	return !*text;
}

static bool completion_right(const json_t *root, uint32_t want, enum check_order order)
{
	const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
	const json_t *text = json_object_get(choice, "text");

	if (!text)
		text = json_object_get(json_object_get(choice, "message"), "content");
	if (!json_is_string(text))
		return false;
	return order == CHECK_ANY_TEXT || text_right(json_string_value(text), want);
}

enum check_cause check_answer(const char *body, size_t len, uint32_t want, enum check_order order,
			      const char *backend)
{
	json_t *root = json_loadb(body, len, 0, NULL);
	const char *name;
	bool right;

	if (!json_is_object(root)) {
		json_decref(root);
		return !want && order == CHECK_ANY_TEXT ? CAUSE_OK : CAUSE_WRONG_BODY;
	}
	name = json_string_value(json_object_get(root, "backend"));
	if (!name)
		name = json_string_value(json_object_get(root, "name"));
	right = (!name || !strcmp(name, backend)) && (!want || completion_right(root, want, order));
	json_decref(root);
	return right ? CAUSE_OK : CAUSE_WRONG_BODY;
}
