// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/healthbody.h"

#include <assert.h>
#include <ctype.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "userspace/lib/cleanup.h"

#define MESSAGE_MAX 160 /* bytes of a server's own words that go into a cause */

/* What servers write into answers that are no success; found anywhere, in any case. */
static const struct {
	const char *phrase;
	enum health_verdict verdict;
} phrases[] = {
	{"loading model", HEALTH_VERDICT_LOADING}, /* llama.cpp */
	{"model is loading", HEALTH_VERDICT_LOADING},
	{"route table is not populated", HEALTH_VERDICT_LOADING}, /* Ray Serve */
	{"no replicas are available yet", HEALTH_VERDICT_LOADING},
	{"being drained", HEALTH_VERDICT_DRAINING},
	{"shutting down", HEALTH_VERDICT_DRAINING},
	{"no slot available", HEALTH_VERDICT_BUSY}, /* llama.cpp */
	{"server busy", HEALTH_VERDICT_BUSY},       /* Ollama */
	{"overloaded", HEALTH_VERDICT_BUSY},        /* TGI, vLLM front ends */
};

enum word_kind {
	WORD_PASS = 1,
	WORD_BUSY,
	WORD_LOADING,
	WORD_NOT_READY, /* loading if it never was ready, else draining */
	WORD_DRAINING,
	WORD_FAIL,
};

/* Values of a JSON status field, in small letters, with '_' for blanks and '-'. */
static const struct {
	const char *word;
	enum word_kind kind;
} words[] = {
	{"ok", WORD_PASS},
	{"healthy", WORD_PASS},
	{"ready", WORD_PASS},
	{"up", WORD_PASS},
	{"pass", WORD_PASS},
	{"passing", WORD_PASS},
	{"serving", WORD_PASS},
	{"running", WORD_PASS},
	{"alive", WORD_PASS},
	{"live", WORD_PASS},
	{"available", WORD_PASS},
	{"success", WORD_PASS},
	{"idle", WORD_PASS},
	{"degraded", WORD_PASS},
	{"warn", WORD_PASS},
	{"true", WORD_PASS},
	{"busy", WORD_BUSY},
	{"overloaded", WORD_BUSY},
	{"saturated", WORD_BUSY},
	{"no_slot_available", WORD_BUSY},
	{"loading", WORD_LOADING},
	{"loading_model", WORD_LOADING},
	{"starting", WORD_LOADING},
	{"initializing", WORD_LOADING},
	{"initialising", WORD_LOADING},
	{"warming", WORD_LOADING},
	{"warming_up", WORD_LOADING},
	{"warmup", WORD_LOADING},
	{"booting", WORD_LOADING},
	{"pending", WORD_LOADING},
	{"not_ready", WORD_NOT_READY},
	{"unready", WORD_NOT_READY},
	{"unavailable", WORD_NOT_READY},
	{"draining", WORD_DRAINING},
	{"drained", WORD_DRAINING},
	{"stopping", WORD_DRAINING},
	{"shutting_down", WORD_DRAINING},
	{"terminating", WORD_DRAINING},
	{"maintenance", WORD_DRAINING},
	{"unhealthy", WORD_FAIL},
	{"error", WORD_FAIL},
	{"fail", WORD_FAIL},
	{"failed", WORD_FAIL},
	{"failing", WORD_FAIL},
	{"down", WORD_FAIL},
	{"critical", WORD_FAIL},
	{"dead", WORD_FAIL},
	{"false", WORD_FAIL},
};

/* One answer being judged. */
struct answer {
	const struct health_rules *rules;
	unsigned int status;
	const char *body;
	size_t len;
	enum health_history history;
	json_t *json;                  /* the body, or NULL */
	char message[MESSAGE_MAX + 1]; /* the server's own words, printable; "" without */
	char *cause;
	size_t size;
};

const char *health_verdict_name(enum health_verdict verdict)
{
	switch (verdict) {
	case HEALTH_VERDICT_PASS:
		return "pass";
	case HEALTH_VERDICT_BUSY:
		return "busy";
	case HEALTH_VERDICT_LOADING:
		return "loading";
	case HEALTH_VERDICT_DRAINING:
		return "draining";
	case HEALTH_VERDICT_FAIL:
		return "fail";
	}
	return "?";
}

static enum health_verdict not_ready(const struct answer *a)
{
	return a->history == HEALTH_WAS_READY ? HEALTH_VERDICT_DRAINING : HEALTH_VERDICT_LOADING;
}

/* Copies a line of the server's words, printable only, cut to size. */
static void copy_printable(char *out, size_t size, const char *s, size_t len)
{
	size_t n = 0;

	while (len && isspace((unsigned char)*s)) {
		s++;
		len--;
	}
	for (; n + 1 < size && n < len && s[n] != '\n' && s[n] != '\r'; n++)
		out[n] = s[n] >= 0x20 && s[n] < 0x7f ? s[n] : '?';
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

/* What an error body says: error.message, error, message or detail of a JSON object; the first
 * line of a short plain text. Markup is nobody's words. */
static void find_message(struct answer *a)
{
	const json_t *error = json_object_get(a->json, "error");
	const json_t *m = NULL;

	if (json_is_object(error))
		m = json_object_get(error, "message");
	if (!json_is_string(m))
		m = error;
	if (!json_is_string(m))
		m = json_object_get(a->json, "message");
	if (!json_is_string(m))
		m = json_object_get(a->json, "detail");
	if (json_is_string(m))
		copy_printable(a->message, sizeof(a->message), json_string_value(m),
			       json_string_length(m));
	else if (!a->json && !memchr(a->body, '<', a->len))
		copy_printable(a->message, sizeof(a->message), a->body, a->len);
}

static enum health_verdict verdict_of_word(const struct answer *a, enum word_kind kind)
{
	switch (kind) {
	case WORD_PASS:
		return HEALTH_VERDICT_PASS;
	case WORD_BUSY:
		return HEALTH_VERDICT_BUSY;
	case WORD_LOADING:
		return HEALTH_VERDICT_LOADING;
	case WORD_NOT_READY:
		return not_ready(a);
	case WORD_DRAINING:
		return HEALTH_VERDICT_DRAINING;
	case WORD_FAIL:
		break;
	}
	return HEALTH_VERDICT_FAIL;
}

/* Compares a status word with an entry of the table. */
static bool word_is(const char *s, const char *word)
{
	for (; *s && *word; s++, word++) {
		char c = *s == ' ' || *s == '-' ? '_' : (char)tolower((unsigned char)*s);

		if (c != *word)
			return false;
	}
	return !*s && !*word;
}

/* The JSON status field of an answer. Returns false if it is not there. */
static bool judge_field(const struct answer *a, enum health_verdict *ret_verdict)
{
	const char *key = a->rules->status_field ? a->rules->status_field : "status";
	const json_t *field = json_object_get(a->json, key);
	char shown[64];

	if (!field || json_is_null(field))
		return false;
	*ret_verdict = HEALTH_VERDICT_FAIL;
	if (json_is_boolean(field)) {
		*ret_verdict = json_is_true(field) ? HEALTH_VERDICT_PASS : HEALTH_VERDICT_FAIL;
		snprintf(a->cause, a->size, "%u, %s: %s", a->status, key,
			 json_is_true(field) ? "true" : "false");
		return true;
	}
	if (!json_is_string(field)) {
		snprintf(a->cause, a->size, "%u, but %s is not a word", a->status, key);
		return true;
	}
	copy_printable(shown, sizeof(shown), json_string_value(field), json_string_length(field));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!word_is(shown, words[i].word))
			continue;
		*ret_verdict = verdict_of_word(a, words[i].kind);
		snprintf(a->cause, a->size, "%u, %s: %s", a->status, key, shown);
		return true;
	}
	snprintf(a->cause, a->size, "%u, but %s is '%s', which means nothing here", a->status, key,
		 shown);
	return true;
}

/* A 2xx answer. */
static enum health_verdict judge_success(struct answer *a)
{
	const char *expect = a->rules->expect;
	enum health_verdict v;

	switch (a->rules->body) {
	case HEALTH_BODY_ANY:
		break;
	case HEALTH_BODY_CONTAINS:
		assert(expect);
		if (memmem(a->body, a->len, expect, strlen(expect)))
			break;
		snprintf(a->cause, a->size, "%u, but the body does not contain '%s'", a->status,
			 expect);
		return HEALTH_VERDICT_FAIL;
	case HEALTH_BODY_JSON:
		if (!json_is_object(a->json)) {
			snprintf(a->cause, a->size, "%u, but the body is %s", a->status,
				 a->len ? "not a JSON object" : "empty");
			return HEALTH_VERDICT_FAIL;
		}
		if (judge_field(a, &v))
			return v;
		break;
	}
	snprintf(a->cause, a->size, "%u", a->status);
	return HEALTH_VERDICT_PASS;
}

/* "STATUS MESSAGE", or a hint if the server said nothing. */
static void say(struct answer *a, const char *hint)
{
	const char *text = a->message[0] ? a->message : hint;

	snprintf(a->cause, a->size, "%u%s%s", a->status, text ? " " : "", text ? text : "");
}

static const char *hint_of(unsigned int status)
{
	if (status >= 300 && status < 400)
		return "is a redirect; health checks follow none";
	switch (status) {
	case 401:
	case 403:
		return "the server wants credentials";
	case 404:
		return "no such path on this server";
	case 405:
		return "the path does not take GET";
	}
	return NULL;
}

/* The preset's rule for this status. Returns false without one. */
static bool judge_rule(struct answer *a, enum health_verdict *ret_verdict)
{
	for (size_t i = 0; i < HEALTH_RULES_STATUS_MAX && a->rules->status[i].status; i++) {
		const struct health_status_rule *rule = &a->rules->status[i];

		if (rule->status != a->status)
			continue;
		*ret_verdict =
			rule->verdict == HEALTH_VERDICT_LOADING ? not_ready(a) : rule->verdict;
		say(a, rule->cause);
		return true;
	}
	return false;
}

/* An answer that is not 2xx: the server's words count before its number. */
static enum health_verdict judge_failure(struct answer *a)
{
	enum health_verdict v;

	for (size_t i = 0; i < ARRAY_SIZE(phrases); i++) {
		if (!strcasestr(a->message, phrases[i].phrase))
			continue;
		say(a, NULL);
		return phrases[i].verdict;
	}
	/* "ok" beside a failing number is no pass: the number wins then. */
	if (a->rules->body == HEALTH_BODY_JSON && judge_field(a, &v) && v != HEALTH_VERDICT_PASS)
		return v;
	if (judge_rule(a, &v))
		return v;
	say(a, a->status == 429 ? "too many requests" : hint_of(a->status));
	return a->status == 429 ? HEALTH_VERDICT_BUSY : HEALTH_VERDICT_FAIL;
}

enum health_verdict health_body_judge(const struct health_rules *rules, unsigned int status,
				      const char *body, size_t len, enum health_history history,
				      char *ret_cause, size_t size)
{
	struct answer a = {.rules = rules,
			   .status = status,
			   .body = body ? body : "",
			   .len = len < HEALTH_BODY_MAX_BYTES ? len : HEALTH_BODY_MAX_BYTES,
			   .history = history,
			   .cause = ret_cause,
			   .size = size};
	enum health_verdict v;
	bool success;

	assert(rules && ret_cause && size);
	assert(history == HEALTH_NEVER_READY || history == HEALTH_WAS_READY);

	success = status >= 200 && status < 300;
	if (a.len && (!success || rules->body == HEALTH_BODY_JSON))
		a.json = json_loadb(a.body, a.len, JSON_DECODE_INT_AS_REAL, NULL);
	if (success) {
		v = judge_success(&a);
	} else {
		find_message(&a);
		v = judge_failure(&a);
	}
	json_decref(a.json);
	return v;
}
