/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state of the node -> the text of its pages: health (JSON of the seed form), metrics
 * (Prometheus text with vLLM's names), models, completions, stream events, errors. Pure but for
 * allocation. Functions that return char * give a string the caller frees; NULL: out of memory.
 */
#ifndef SLUICE_MOCKBACKEND_PAGE_H
#define SLUICE_MOCKBACKEND_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/mockbackend/engine.h"
#include "tools/mockbackend/fault.h"
#include "tools/mockbackend/openai.h"

#define PAGE_EVENT_MAX 1024 /* bytes of one stream event */
#define PAGE_NAME_MAX  63   /* characters of a node's name */
#define PAGE_MODEL_MAX 127  /* characters of a model's name */

struct page_node {
	const char *name;  /* letters, digits and ._:/- only, so that no page needs to escape it */
	const char *model; /* likewise */
	const struct engine *engine;
	const struct fault_settings *settings;
	uint64_t now_us;
	int64_t started_s; /* wall clock */
};

/* Who asked, as the server saw it. */
struct page_peer {
	const char *address;
	uint16_t port;
};

/* What does not change over one completion. */
struct page_completion {
	const char *name;
	const char *model;
	struct page_peer peer;
	enum openai_kind kind;
	uint64_t id;
	int64_t created_s; /* wall clock */
	uint32_t prompt_tokens;
	uint32_t tokens;
};

/* Letters, digits and ._:/- only, and not longer than max. */
bool page_name_ok(const char *text, size_t max);

/* "ok", "loading" or "draining". */
const char *page_status(const struct page_node *n);

char *page_identity(const char *name, const struct page_peer *peer);
char *page_health(const struct page_node *n, const struct page_peer *peer);
char *page_metrics(const struct page_node *n);
char *page_models(const struct page_node *n, const struct page_peer *peer);
char *page_control(const struct page_node *n, const struct page_peer *peer);

/* A whole answer: the text is " 0 1 2 ..." up to c->tokens. */
char *page_answer(const struct page_completion *c);

/* An OpenAI-style error. */
char *page_error(const char *name, const struct page_peer *peer, const char *type, const char *code,
		 const char *message);

/*
 * One server-sent event; buf has PAGE_EVENT_MAX bytes. Returns its length.
 * Token number index is the text " index"; the last one carries the finish reason.
 */
size_t page_event_token(char *buf, const struct page_completion *c, uint32_t index);
size_t page_event_role(char *buf, const struct page_completion *c);
size_t page_event_usage(char *buf, const struct page_completion *c);
size_t page_event_done(char *buf);

#endif
