// SPDX-License-Identifier: BSD-2-Clause
#include "tools/mockbackend/page.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Memory of an idle node, and what a full KV cache adds to it, in percent. */
#define GPU_MEMORY_IDLE 40.0
#define GPU_MEMORY_KV   50.0

bool page_name_ok(const char *text, size_t max)
{
	size_t len = strlen(text);

	if (!len || len > max)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("._:/-", text[i]))
			return false;
	return true;
}

const char *page_status(const struct page_node *n)
{
	if (n->settings->loading_until_us > n->now_us)
		return "loading";
	return n->settings->draining ? "draining" : "ok";
}

static double kv_usage(const struct page_node *n)
{
	return n->settings->kv_usage >= 0 ? n->settings->kv_usage : engine_kv_usage(n->engine);
}

static double gpu_memory(const struct page_node *n)
{
	if (n->settings->gpu_memory_pct >= 0)
		return n->settings->gpu_memory_pct;
	return GPU_MEMORY_IDLE + GPU_MEMORY_KV * kv_usage(n);
}

/* Takes the reference; NULL stays NULL. */
static char *dump(json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;

	json_decref(j);
	return text;
}

char *page_identity(const char *name, const struct page_peer *peer)
{
	return dump(json_pack("{s:s,s:s,s:i}", "backend", name, "peer", peer->address, "peer_port",
			      (int)peer->port));
}

char *page_health(const struct page_node *n, const struct page_peer *peer)
{
	return dump(json_pack("{s:s,s:I,s:I,s:f,s:s,s:s,s:i}", "status", page_status(n),
			      "queue_depth", (json_int_t)n->engine->waiting, "running",
			      (json_int_t)n->engine->running, "gpu_memory_usage", gpu_memory(n),
			      "name", n->name, "peer", peer->address, "peer_port",
			      (int)peer->port));
}

char *page_models(const struct page_node *n, const struct page_peer *peer)
{
	return dump(json_pack("{s:s,s:[{s:s,s:s,s:I,s:s}],s:s,s:s,s:i}", "object", "list", "data",
			      "id", n->model, "object", "model", "created",
			      (json_int_t)n->started_s, "owned_by", "mockbackend", "backend",
			      n->name, "peer", peer->address, "peer_port", (int)peer->port));
}

static json_t *counters_json(const struct engine *e)
{
	const struct engine_counters *c = &e->counters;

	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "submitted", (json_int_t)c->submitted,
			 "rejected", (json_int_t)c->rejected, "finished", (json_int_t)c->finished,
			 "aborted", (json_int_t)c->aborted, "prompt_tokens",
			 (json_int_t)c->prompt_tokens, "generation_tokens",
			 (json_int_t)c->generation_tokens, "iterations", (json_int_t)c->iterations);
}

char *page_control(const struct page_node *n, const struct page_peer *peer)
{
	return dump(json_pack(
		"{s:s,s:s,s:s,s:i,s:I,s:I,s:f,s:f,s:o,s:o}", "backend", n->name, "status",
		page_status(n), "peer", peer->address, "peer_port", (int)peer->port, "running",
		(json_int_t)n->engine->running, "queue_depth", (json_int_t)n->engine->waiting,
		"kv_cache_usage", kv_usage(n), "gpu_memory_usage", gpu_memory(n), "settings",
		fault_json(n->settings, n->now_us), "counters", counters_json(n->engine)));
}

char *page_error(const char *name, const struct page_peer *peer, const char *type, const char *code,
		 const char *message)
{
	return dump(json_pack("{s:{s:s,s:s,s:n,s:s},s:s,s:s,s:i}", "error", "message", message,
			      "type", type, "param", "code", code, "backend", name, "peer",
			      peer->address, "peer_port", (int)peer->port));
}

struct metrics_out {
	FILE *f;
	const struct page_node *node;
};

static void family(struct metrics_out *o, const char *name, const char *type, const char *help)
{
	fprintf(o->f, "# HELP vllm:%s %s\n# TYPE vllm:%s %s\n", name, help, name, type);
}

/* Numbers as Python prints a float: always with a point. */
static void sample(struct metrics_out *o, const char *name, const char *label, double value)
{
	char number[64];

	snprintf(number, sizeof(number), "%.17g", value);
	if (!strpbrk(number, ".e"))
		strcat(number, ".0");
	fprintf(o->f, "vllm:%s{engine=\"0\"%s,model_name=\"%s\"} %s\n", name, label, o->node->model,
		number);
}

static void single(struct metrics_out *o, const char *name, const char *type, const char *help,
		   double value)
{
	family(o, name, type, help);
	sample(o, name, "", value);
}

static void counter(struct metrics_out *o, const char *name, const char *help, uint64_t value)
{
	char full[64];

	snprintf(full, sizeof(full), "%s_total", name);
	single(o, full, "counter", help, (double)value);
	snprintf(full, sizeof(full), "%s_created", name);
	single(o, full, "gauge", help, (double)o->node->started_s);
}

static void successes(struct metrics_out *o, const struct engine_counters *c)
{
	family(o, "request_success_total", "counter", "Count of successfully processed requests.");
	sample(o, "request_success_total", ",finished_reason=\"stop\"", 0);
	sample(o, "request_success_total", ",finished_reason=\"length\"", (double)c->finished);
	sample(o, "request_success_total", ",finished_reason=\"abort\"", (double)c->aborted);
}

static void iterations(struct metrics_out *o, const struct engine_counters *c)
{
	char label[64];
	uint64_t sum = 0;

	family(o, "iteration_tokens_total", "histogram",
	       "Histogram of number of tokens per engine_step.");
	for (uint32_t i = 0; i < ENGINE_ITER_BUCKETS; i++) {
		sum += c->iter_hist[i];
		snprintf(label, sizeof(label), ",le=\"%" PRIu32 ".0\"", engine_iter_bounds[i]);
		sample(o, "iteration_tokens_total_bucket", label, (double)sum);
	}
	sum += c->iter_hist[ENGINE_ITER_BUCKETS];
	sample(o, "iteration_tokens_total_bucket", ",le=\"+Inf\"", (double)sum);
	sample(o, "iteration_tokens_total_count", "", (double)c->iterations);
	sample(o, "iteration_tokens_total_sum", "", (double)c->generation_tokens);
}

char *page_metrics(const struct page_node *n)
{
	const struct engine_counters *c = &n->engine->counters;
	struct metrics_out o = {.node = n};
	char *text = NULL;
	size_t size = 0;

	o.f = open_memstream(&text, &size);
	if (!o.f)
		return NULL;
	single(&o, "num_requests_running", "gauge",
	       "Number of requests in model execution batches.", n->engine->running);
	single(&o, "num_requests_waiting", "gauge", "Number of requests waiting to be processed.",
	       n->engine->waiting);
	single(&o, "kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.",
	       kv_usage(n));
	counter(&o, "num_preemptions", "Cumulative number of preemption from the engine.", 0);
	counter(&o, "prompt_tokens", "Number of prefill tokens processed.", c->prompt_tokens);
	counter(&o, "generation_tokens", "Number of generation tokens processed.",
		c->generation_tokens);
	successes(&o, c);
	iterations(&o, c);
	if (fclose(o.f)) {
		free(text);
		return NULL;
	}
	return text;
}

static const char *object_name(const struct page_completion *c)
{
	return c->kind == OPENAI_CHAT ? "chat.completion" : "text_completion";
}

static const char *id_prefix(const struct page_completion *c)
{
	return c->kind == OPENAI_CHAT ? "chatcmpl" : "cmpl";
}

/* " 0 1 2 ..." of so many tokens. */
static char *answer_text(uint32_t tokens)
{
	char *text = malloc((size_t)tokens * 11 + 1);
	char *p = text;

	if (!text)
		return NULL;
	*p = '\0';
	for (uint32_t i = 0; i < tokens; i++)
		p += sprintf(p, " %" PRIu32, i);
	return text;
}

static json_t *usage_json(const struct page_completion *c)
{
	return json_pack("{s:I,s:I,s:I}", "prompt_tokens", (json_int_t)c->prompt_tokens,
			 "completion_tokens", (json_int_t)c->tokens, "total_tokens",
			 (json_int_t)c->prompt_tokens + (json_int_t)c->tokens);
}

static json_t *choice_json(const struct page_completion *c, const char *text)
{
	if (c->kind == OPENAI_CHAT)
		return json_pack("{s:i,s:{s:s,s:s},s:n,s:s}", "index", 0, "message", "role",
				 "assistant", "content", text, "logprobs", "finish_reason",
				 "length");
	return json_pack("{s:i,s:s,s:n,s:s}", "index", 0, "text", text, "logprobs", "finish_reason",
			 "length");
}

char *page_answer(const struct page_completion *c)
{
	char *text = answer_text(c->tokens);
	char id[PAGE_NAME_MAX + 40];
	char *page;

	if (!text)
		return NULL;
	snprintf(id, sizeof(id), "%s-%s-%" PRIu64, id_prefix(c), c->name, c->id);
	page = dump(json_pack("{s:s,s:s,s:I,s:s,s:s,s:s,s:i,s:[o],s:o}", "id", id, "object",
			      object_name(c), "created", (json_int_t)c->created_s, "model",
			      c->model, "backend", c->name, "peer", c->peer.address, "peer_port",
			      (int)c->peer.port, "choices", choice_json(c, text), "usage",
			      usage_json(c)));
	free(text);
	return page;
}

/* The length of what snprintf() wrote, which must have fitted: names are bounded. */
static size_t fitted(int n)
{
	assert(n > 0 && n < PAGE_EVENT_MAX);
	return (size_t)n;
}

static size_t event(char *buf, const struct page_completion *c, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The common head of an event, then fmt, then its end. */
static size_t event(char *buf, const struct page_completion *c, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	len = fitted(snprintf(buf, PAGE_EVENT_MAX,
			      "data: {\"id\":\"%s-%s-%" PRIu64 "\",\"object\":\"%s%s\","
			      "\"created\":%" PRId64 ",\"model\":\"%s\",\"backend\":\"%s\",",
			      id_prefix(c), c->name, c->id, object_name(c),
			      c->kind == OPENAI_CHAT ? ".chunk" : "", c->created_s, c->model,
			      c->name));
	va_start(ap, fmt);
	len += fitted(vsnprintf(buf + len, PAGE_EVENT_MAX - len, fmt, ap));
	va_end(ap);
	len += fitted(snprintf(buf + len, PAGE_EVENT_MAX - len, "}\n\n"));
	assert(len < PAGE_EVENT_MAX);
	return len;
}

size_t page_event_token(char *buf, const struct page_completion *c, uint32_t index)
{
	const char *finish = index + 1 == c->tokens ? "\"length\"" : "null";

	if (c->kind == OPENAI_CHAT)
		return event(buf, c,
			     "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" %" PRIu32
			     "\"},\"logprobs\":null,\"finish_reason\":%s}]",
			     index, finish);
	return event(buf, c,
		     "\"choices\":[{\"index\":0,\"text\":\" %" PRIu32
		     "\",\"logprobs\":null,\"finish_reason\":%s}]",
		     index, finish);
}

size_t page_event_role(char *buf, const struct page_completion *c)
{
	return event(buf, c,
		     "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
		     "\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]");
}

size_t page_event_usage(char *buf, const struct page_completion *c)
{
	return event(buf, c,
		     "\"choices\":[],\"usage\":{\"prompt_tokens\":%" PRIu32
		     ",\"completion_tokens\":%" PRIu32 ",\"total_tokens\":%" PRIu64 "}",
		     c->prompt_tokens, c->tokens, (uint64_t)c->prompt_tokens + c->tokens);
}

size_t page_event_done(char *buf)
{
	return fitted(snprintf(buf, PAGE_EVENT_MAX, "data: [DONE]\n\n"));
}
