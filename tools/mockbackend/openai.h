/* SPDX-License-Identifier: BSD-2-Clause */
/* The body of an OpenAI completion or chat request -> what the engine needs to know of it. */
#ifndef SLUICE_MOCKBACKEND_OPENAI_H
#define SLUICE_MOCKBACKEND_OPENAI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPENAI_TOKENS_MAX 1000000U

enum openai_kind {
	OPENAI_COMPLETION = 1,
	OPENAI_CHAT,
};

struct openai_request {
	enum openai_kind kind;
	bool stream;
	bool include_usage;
	uint32_t max_tokens;    /* 1..OPENAI_TOKENS_MAX; 16 by default, as the real API */
	uint32_t prompt_tokens; /* about four characters each */
};

/* Returns 0, or -EINVAL with one line in err. *ret is unchanged on failure. */
int openai_parse(const char *body, size_t len, enum openai_kind kind, struct openai_request *ret,
		 char *err, size_t err_size);

#endif
