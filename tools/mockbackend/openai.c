// SPDX-License-Identifier: BSD-2-Clause
#include "tools/mockbackend/openai.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "userspace/lib/cleanup.h"

#define DEFAULT_TOKENS 16U

static void decref_p(json_t **j)
{
	json_decref(*j);
}

static size_t text_size(const json_t *v)
{
	const json_t *item;
	size_t total = 0;
	size_t i;

	if (json_is_string(v))
		return json_string_length(v);
	if (json_is_integer(v))
		return 4; /* a token id */
	if (json_is_object(v))
		return text_size(
			json_object_get(v, json_object_get(v, "content") ? "content" : "text"));
	json_array_foreach(v, i, item)
		total += text_size(item);
	return total;
}

static int read_prompt(const json_t *root, enum openai_kind kind, uint32_t *ret, char *err,
		       size_t err_size)
{
	const char *name = kind == OPENAI_CHAT ? "messages" : "prompt";
	const json_t *v = json_object_get(root, name);

	if (!v || (kind == OPENAI_CHAT && !json_array_size(v)) ||
	    (!json_is_array(v) && !json_is_string(v))) {
		snprintf(err, err_size, "%s: %s is expected", name,
			 kind == OPENAI_CHAT ? "a list of messages" : "a text or a list");
		return -EINVAL;
	}
	*ret = (uint32_t)(text_size(v) / 4 + 1);
	return 0;
}

static int read_max_tokens(const json_t *root, uint32_t *ret, char *err, size_t err_size)
{
	const json_t *v = json_object_get(root, "max_completion_tokens");

	if (!v)
		v = json_object_get(root, "max_tokens");
	if (!v || json_is_null(v)) {
		*ret = DEFAULT_TOKENS;
		return 0;
	}
	if (!json_is_integer(v) || json_integer_value(v) < 1 ||
	    json_integer_value(v) > OPENAI_TOKENS_MAX) {
		snprintf(err, err_size, "max_tokens: an integer from 1 to %u is expected",
			 OPENAI_TOKENS_MAX);
		return -EINVAL;
	}
	*ret = (uint32_t)json_integer_value(v);
	return 0;
}

int openai_parse(const char *body, size_t len, enum openai_kind kind, struct openai_request *ret,
		 char *err, size_t err_size)
{
	struct openai_request req = {.kind = kind};
	_cleanup_(decref_p) json_t *root = NULL;
	json_error_t jerr;
	int r;

	root = json_loadb(body, len, 0, &jerr);
	if (!json_is_object(root)) {
		snprintf(err, err_size, "the body is not a JSON object: %s",
			 root ? "another type" : jerr.text);
		return -EINVAL;
	}
	r = read_prompt(root, kind, &req.prompt_tokens, err, err_size);
	if (r < 0)
		return r;
	r = read_max_tokens(root, &req.max_tokens, err, err_size);
	if (r < 0)
		return r;
	req.stream = json_is_true(json_object_get(root, "stream"));
	req.include_usage = json_is_true(
		json_object_get(json_object_get(root, "stream_options"), "include_usage"));
	*ret = req;
	return 0;
}
