// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/agent/preset.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "userspace/lib/cleanup.h"

#define PATH_MAX_BYTES 1024
#define MAX_REDIRECTS  3

#define VLLM_KV        "first(max(vllm:kv_cache_usage_perc), max(vllm:gpu_cache_usage_perc))"
#define GPU_MEM_TRITON "max(nv_gpu_memory_used_bytes / nv_gpu_memory_total_bytes)"
/* With SGLang's metrics of all ranks on, every tensor and pipeline rank repeats the requests of
 * rank 0; old versions have no rank labels at all. */
#define SGLANG_RANK_0 "{tp_rank=\"0\"|\"\", pp_rank=\"0\"|\"\"}"

/*
 * Sources: each server's own code and documentation, as named beside the fixtures in
 * tests/fixtures/servers/README.md. Where a counter counts finished requests only, it is
 * PRESET_PROGRESS_REQUEST: it stands still through one long request.
 */
static const struct preset presets[] = {
	{
		/* Percentages are divided by 100. The last four are taken if they are there. */
		.name = "json",
		.summary = "health and load in one JSON page",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/health",
		.rules = { .body = HEALTH_BODY_JSON, .status_field = "status" },
		.format = METRIC_FORMAT_JSON,
		.metrics_path = "/health",
		.expr = {
			[LOAD_QUEUE] = "queue_depth",
			[LOAD_RUNNING] = "running",
			[LOAD_GPU_MEM] = "gpu_memory_usage / 100",
			[LOAD_KV] = "(kv_cache_usage / 100)?",
			[LOAD_PROGRESS] = "progress?",
			[LOAD_ABORTS] = "aborts?",
			[LOAD_SLOTS] = "slots?",
		},
		.progress = PRESET_PROGRESS_STEP,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "vllm",
		.summary = "vLLM's OpenAI server",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/health",
		.rules = { .body = HEALTH_BODY_ANY,
			   .status = { { 503, HEALTH_VERDICT_FAIL, "the engine is dead" } } },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/metrics",
		.expr = {
			[LOAD_QUEUE] = "sum(vllm:num_requests_waiting) + "
				       "sum(vllm:num_requests_swapped)?",
			[LOAD_RUNNING] = "sum(vllm:num_requests_running)",
			[LOAD_KV] = VLLM_KV,
			[LOAD_PROGRESS] = "first(sum(vllm:iteration_tokens_total_count), "
					  "sum(vllm:generation_tokens_total))",
			[LOAD_ABORTS] =
				"sum(vllm:request_success_total{finished_reason=\"abort\"})?",
		},
		.progress = PRESET_PROGRESS_STEP,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "sglang",
		.summary = "SGLang, started with --enable-metrics",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/health",
		.rules = { .body = HEALTH_BODY_ANY,
			   .status = { { 503, HEALTH_VERDICT_LOADING,
					 "starting, draining or unable to generate" } } },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/metrics",
		.expr = {
			[LOAD_QUEUE] = "sum(sglang:num_queue_reqs" SGLANG_RANK_0 ")",
			[LOAD_RUNNING] = "sum(sglang:num_running_reqs" SGLANG_RANK_0 ")",
			[LOAD_KV] = "max(sglang:token_usage)",
			[LOAD_PROGRESS] = "sum(sglang:generation_tokens_total)",
			[LOAD_ABORTS] = "sum(sglang:num_aborted_requests_total)?",
		},
		.progress = PRESET_PROGRESS_REQUEST,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "tgi",
		.summary = "Hugging Face Text Generation Inference",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/health",
		.rules = { .body = HEALTH_BODY_ANY },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/metrics",
		.expr = {
			[LOAD_QUEUE] = "sum(tgi_queue_size)",
			[LOAD_RUNNING] = "sum(tgi_batch_current_size)",
			[LOAD_PROGRESS] = "sum(tgi_batch_inference_count)",
		},
		.progress = PRESET_PROGRESS_STEP,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "triton",
		.summary = "NVIDIA Triton Inference Server",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/v2/health/ready",
		.rules = { .body = HEALTH_BODY_ANY,
			   .status = { { 400, HEALTH_VERDICT_LOADING, "not ready" } } },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/metrics",
		.metrics_port = 8002,
		.expr = {
			[LOAD_QUEUE] = "sum(nv_inference_pending_request_count)",
			[LOAD_GPU_MEM] = GPU_MEM_TRITON,
			[LOAD_PROGRESS] = "sum(nv_inference_exec_count)",
		},
		.progress = PRESET_PROGRESS_REQUEST,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "triton-trtllm",
		.summary = "Triton with the TensorRT-LLM backend",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/v2/health/ready",
		.rules = { .body = HEALTH_BODY_ANY,
			   .status = { { 400, HEALTH_VERDICT_LOADING, "not ready" } } },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/metrics",
		.metrics_port = 8002,
		.expr = {
			[LOAD_QUEUE] = "sum(nv_trt_llm_request_metrics{request_type=\"waiting\"})",
			[LOAD_RUNNING] =
				"sum(nv_trt_llm_request_metrics{request_type=\"scheduled\"})",
			[LOAD_KV] = "max(nv_trt_llm_kv_cache_block_metrics"
				    "{kv_cache_block_type=\"fraction\"})",
			[LOAD_GPU_MEM] = GPU_MEM_TRITON "?",
			[LOAD_PROGRESS] = "sum(nv_trt_llm_general_metrics"
					  "{general_type=\"iteration_counter\"})",
			[LOAD_SLOTS] = "sum(nv_trt_llm_request_metrics{request_type=\"max\"})?",
		},
		.progress = PRESET_PROGRESS_STEP,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "trtllm",
		.summary = "trtllm-serve",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/health",
		.rules = { .body = HEALTH_BODY_ANY },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/prometheus/metrics",
		.expr = {
			[LOAD_QUEUE] = "sum(trtllm_num_requests_waiting)",
			[LOAD_RUNNING] = "sum(trtllm_num_requests_running)",
			[LOAD_KV] = "max(trtllm_kv_cache_utilization)",
			[LOAD_PROGRESS] = "sum(trtllm_num_requests_completed_total)",
			[LOAD_SLOTS] = "sum(trtllm_max_num_active_requests)?",
		},
		.progress = PRESET_PROGRESS_REQUEST,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "nim",
		.summary = "NVIDIA NIM for LLMs, old and new metric names",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/v1/health/ready",
		.rules = { .body = HEALTH_BODY_ANY,
			   .status = { { 503, HEALTH_VERDICT_LOADING, "not ready" } } },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/v1/metrics",
		.expr = {
			[LOAD_QUEUE] = "first(sum(num_requests_waiting), "
				       "sum(vllm:num_requests_waiting))",
			[LOAD_RUNNING] = "first(sum(num_requests_running), "
					 "sum(vllm:num_requests_running))",
			[LOAD_KV] = "first(max(gpu_cache_usage_perc), "
				    "max(vllm:kv_cache_usage_perc), "
				    "max(vllm:gpu_cache_usage_perc))",
			[LOAD_PROGRESS] = "first(sum(generation_tokens_total), "
					  "sum(vllm:iteration_tokens_total_count), "
					  "sum(vllm:generation_tokens_total))",
			[LOAD_SLOTS] = "sum(num_request_max)?",
		},
		.progress = PRESET_PROGRESS_STEP,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "llamacpp",
		.summary = "llama.cpp's server, started with --metrics",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/health",
		.rules = { .body = HEALTH_BODY_ANY },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/metrics",
		.expr = {
			[LOAD_QUEUE] = "sum(llamacpp:requests_deferred)",
			[LOAD_RUNNING] = "sum(llamacpp:requests_processing)",
			[LOAD_KV] = "max(llamacpp:kv_cache_usage_ratio)?",
			[LOAD_PROGRESS] = "sum(llamacpp:n_decode_total)",
		},
		.progress = PRESET_PROGRESS_STEP,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "lmdeploy",
		.summary = "LMDeploy's api_server",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/health",
		.rules = { .body = HEALTH_BODY_ANY },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/metrics",
		.expr = {
			[LOAD_QUEUE] = "sum(lmdeploy:num_api_requests_waiting)? + "
				       "sum(lmdeploy:num_requests_waiting)",
			[LOAD_RUNNING] = "sum(lmdeploy:num_requests_running)",
			[LOAD_KV] = "max(lmdeploy:gpu_cache_usage_perc)",
			[LOAD_PROGRESS] = "sum(lmdeploy:generation_tokens_total)",
		},
		.progress = PRESET_PROGRESS_STEP,
		.http = PRESET_HTTP_AUTO,
	},
	{
		/* Ray knows of a deployment's metrics after its first request only. */
		.name = "ray-serve",
		.summary = "Ray Serve's proxy, load from the node's metrics agent",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/-/healthz",
		.rules = { .body = HEALTH_BODY_ANY },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/metrics",
		.metrics_port = 8080,
		.expr = {
			[LOAD_QUEUE] = "sum(ray_serve_deployment_queued_queries)",
			[LOAD_RUNNING] = "sum(ray_serve_replica_processing_queries)",
			[LOAD_KV] = "first(max(ray_vllm_kv_cache_usage_perc), "
				    "max(ray_vllm_gpu_cache_usage_perc))?",
		},
		.progress = PRESET_PROGRESS_NONE,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "ollama",
		.summary = "Ollama; load is the flows counted here",
		.check = PRESET_CHECK_HTTP,
		.health_path = "/",
		.rules = { .body = HEALTH_BODY_CONTAINS, .expect = "Ollama is running" },
		.format = METRIC_FORMAT_NONE,
		.progress = PRESET_PROGRESS_NONE,
		.http = PRESET_HTTP_AUTO,
	},
	{
		.name = "tcp",
		.summary = "connect only; load is the flows counted here",
		.check = PRESET_CHECK_TCP,
		.rules = { .body = HEALTH_BODY_ANY },
		.format = METRIC_FORMAT_NONE,
		.progress = PRESET_PROGRESS_NONE,
		.http = PRESET_HTTP_AUTO,
	},
	{
		/* Reserved memory is neither used nor free. A GPU cut into MIG instances reports
		 * both as zero and drops out. */
		.name = "dcgm",
		.summary = "GPU memory from NVIDIA's DCGM exporter, beside another preset",
		.addon = true,
		.check = PRESET_CHECK_NONE,
		.rules = { .body = HEALTH_BODY_ANY },
		.format = METRIC_FORMAT_PROM,
		.metrics_path = "/metrics",
		.metrics_port = 9400,
		.expr = {
			[LOAD_GPU_MEM] = "max(DCGM_FI_DEV_FB_USED / "
					 "(DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE))",
		},
		.progress = PRESET_PROGRESS_NONE,
		.http = PRESET_HTTP_AUTO,
	},
};

const struct preset *preset_at(size_t i)
{
	return i < ARRAY_SIZE(presets) ? &presets[i] : NULL;
}

const struct preset *preset_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(presets); i++)
		if (strcmp(presets[i].name, name) == 0)
			return &presets[i];
	return NULL;
}

/* Writes "a, b, c" into buf, which is large enough. */
static const char *join_names(char *buf, size_t size, bool addons)
{
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(presets); i++)
		if (presets[i].addon == addons)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? ", " : "",
						presets[i].name);
	assert(len < size);
	return buf;
}

const char *preset_names(void)
{
	static char names[256];

	return names[0] ? names : join_names(names, sizeof(names), false);
}

const char *preset_addon_names(void)
{
	static char names[64];

	return names[0] ? names : join_names(names, sizeof(names), true);
}

__attribute__((format(printf, 3, 4))) static int refuse(struct preset_error *error, const char *key,
							const char *fmt, ...)
{
	va_list ap;

	snprintf(error->key, sizeof(error->key), "%s", key);
	error->pos = 0;
	va_start(ap, fmt);
	vsnprintf(error->text, sizeof(error->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* A path that can stand in a request line. */
static int check_path(const char *path, const char *key, struct preset_error *error)
{
	if (path[0] != '/')
		return refuse(error, key, "expected a path that starts with '/', found '%.64s'",
			      path);
	if (strlen(path) > PATH_MAX_BYTES)
		return refuse(error, key, "the path is longer than %d bytes", PATH_MAX_BYTES);
	for (const char *p = path; *p; p++)
		if (*p <= ' ' || *p >= 0x7f || *p == '#')
			return refuse(error, key,
				      "byte %zu of the path is not allowed there; write "
				      "it as %%XX",
				      (size_t)(p - path));
	return 0;
}

/* Copies into *ret; NULL stays NULL. */
static int copy_string(const char *s, char **ret)
{
	*ret = s ? strdup(s) : NULL;
	return s && !*ret ? -ENOMEM : 0;
}

/* Compiles `text` for `field` and adds it to the set. */
static int add_expr(struct metric_set *set, enum load_field field, const char *text,
		    struct preset_error *error)
{
	struct metric_expr *e = NULL;
	struct metric_error why;
	int r;

	r = metric_expr_compile(text, metric_set_format(set), load_field_agg(field), &e, &why);
	if (r == -EINVAL) {
		snprintf(error->key, sizeof(error->key), "expr.%s", load_field_name(field));
		error->pos = why.pos;
		snprintf(error->text, sizeof(error->text), "%s", why.text);
	}
	if (r < 0)
		return r;
	r = metric_set_add(set, field, &e);
	metric_expr_free(&e);
	return r;
}

/* The expression of a field after overriding, or NULL if there is none. */
static const char *field_expr(const struct preset *base, const struct preset_overrides *o,
			      enum metric_format format, enum load_field field)
{
	const char *own = o ? o->expr[field] : NULL;

	if (own)
		return strcmp(own, "none") == 0 ? NULL : own;
	return base->format == format ? base->expr[field] : NULL;
}

/* Fills in a page's expressions. o: NULL for an add-on. */
static int source_exprs(struct preset_source *s, const struct preset *base,
			const struct preset_overrides *o, struct preset_error *error)
{
	size_t n = 0;
	int r;

	r = metric_set_new(s->format, &s->set);
	for (unsigned int i = 0; i < LOAD_FIELD_N && r == 0; i++) {
		const char *text = field_expr(base, o, s->format, i);

		if (!text)
			continue;
		r = add_expr(s->set, i, text, error);
		n++;
	}
	if (r == 0 && !n)
		return refuse(error, "format",
			      "the page has no expression: name at least one "
			      "field, or format: none");
	return r;
}

/* A page's place and format, without expressions. */
static int source_place(struct preset_source *s, const struct preset *from, const char *path,
			uint16_t port, enum metric_format format)
{
	*s = (struct preset_source){.port = port, .format = format};
	s->accept = format == METRIC_FORMAT_JSON ? "application/json" : "text/plain;version=0.0.4";
	s->max_redirects = MAX_REDIRECTS;
	if (copy_string(from->name, &s->name) < 0 || copy_string(path, &s->path) < 0)
		return -ENOMEM;
	return 0;
}

static bool has_own_expr(const struct preset_overrides *o)
{
	for (unsigned int i = 0; i < LOAD_FIELD_N; i++)
		if (o->expr[i] && strcmp(o->expr[i], "none") != 0)
			return true;
	return false;
}

/* The server's own page. */
static int apply_metrics(struct preset_spec *spec, const struct preset *base,
			 const struct preset_overrides *o, struct preset_error *error)
{
	enum metric_format format = o->format ? o->format : base->format;
	const char *path = o->metrics_path ? o->metrics_path : base->metrics_path;
	uint16_t port = o->metrics_port ? o->metrics_port : base->metrics_port;
	struct preset_source *s = &spec->sources[spec->n_sources];
	int r;

	if (format == METRIC_FORMAT_NONE) {
		if (has_own_expr(o) || o->metrics_path || o->metrics_port)
			return refuse(error, "format",
				      "preset '%s' scrapes no page: set the "
				      "format to prometheus or json",
				      base->name);
		return 0;
	}
	if (!path)
		path = "/metrics";
	r = check_path(path, "metrics_path", error);
	if (r < 0)
		return r;
	spec->n_sources++; /* half-built is fine: preset_spec_free() takes it */
	r = source_place(s, base, path, port, format);
	if (r < 0)
		return r;
	s->is_health = spec->check == PRESET_CHECK_HTTP && port == spec->health_port &&
		       strcmp(path, spec->health_path) == 0;
	return source_exprs(s, base, o, error);
}

static int apply_addon(struct preset_spec *spec, const char *name, uint16_t port,
		       struct preset_error *error)
{
	const struct preset *addon = preset_find(name);
	struct preset_source *s;
	int r;

	if (!addon || !addon->addon)
		return refuse(error, "addons", "'%.64s' is not an add-on; known: %s", name,
			      preset_addon_names());
	for (size_t i = 0; i < spec->n_sources; i++)
		if (strcmp(spec->sources[i].name, name) == 0)
			return refuse(error, "addons", "'%s' is given twice", name);
	assert(spec->n_sources < PRESET_SOURCES_MAX);
	s = &spec->sources[spec->n_sources++];
	r = source_place(s, addon, addon->metrics_path, port ? port : addon->metrics_port,
			 addon->format);
	return r < 0 ? r : source_exprs(s, addon, NULL, error);
}

/* What a good answer is. */
static int apply_rules(struct preset_spec *spec, const struct preset *base,
		       const struct preset_overrides *o, struct preset_error *error)
{
	spec->rules = base->rules;
	if (o->health_expect && o->health_status_field)
		return refuse(error, "health_expect",
			      "give either health_expect or "
			      "health_status_field");
	if (spec->check == PRESET_CHECK_TCP && (o->health_expect || o->health_status_field))
		return refuse(error, o->health_expect ? "health_expect" : "health_status_field",
			      "a tcp check reads no answer");
	if (copy_string(o->health_expect, &spec->own_expect) < 0 ||
	    copy_string(o->health_status_field, &spec->own_status_field) < 0)
		return -ENOMEM;
	if (spec->own_expect) {
		spec->rules.body = HEALTH_BODY_CONTAINS;
		spec->rules.expect = spec->own_expect;
	}
	if (spec->own_status_field) {
		spec->rules.body = HEALTH_BODY_JSON;
		spec->rules.status_field = spec->own_status_field;
	}
	return 0;
}

static int apply_health(struct preset_spec *spec, const struct preset *base,
			const struct preset_overrides *o, struct preset_error *error)
{
	const char *path = o->health_path ? o->health_path : base->health_path;
	int r;

	spec->check = o->check ? o->check : base->check;
	/* A path asks for it, where the preset only connects. */
	if (!o->check && o->health_path)
		spec->check = PRESET_CHECK_HTTP;
	spec->health_port = o->health_port ? o->health_port : base->health_port;
	if (spec->check == PRESET_CHECK_TCP && o->health_path)
		return refuse(error, "health_path", "a tcp check has no path");
	if (spec->check == PRESET_CHECK_HTTP) {
		if (!path)
			return refuse(error, "health_path", "an http check needs a path");
		r = check_path(path, "health_path", error);
		if (r == 0)
			r = copy_string(path, &spec->health_path);
		if (r < 0)
			return r;
	}
	return apply_rules(spec, base, o, error);
}

static void apply_summary(struct preset_spec *spec, const struct preset *base,
			  const struct preset_overrides *o)
{
	bool own = o->expr[LOAD_PROGRESS] && strcmp(o->expr[LOAD_PROGRESS], "none") != 0;

	for (size_t i = 0; i < spec->n_sources; i++)
		for (unsigned int f = 0; f < LOAD_FIELD_N; f++)
			if (metric_set_expr(spec->sources[i].set, f))
				spec->provides |= LOAD_HAS(f);
	spec->http = o->http ? o->http : base->http;
	spec->progress = PRESET_PROGRESS_NONE;
	if (spec->provides & LOAD_HAS(LOAD_PROGRESS))
		spec->progress = o->progress ? o->progress
				 : own       ? PRESET_PROGRESS_STEP
					     : base->progress;
}

int preset_apply(const struct preset *base, const struct preset_overrides *overrides,
		 struct preset_spec **ret_spec, struct preset_error *ret_error)
{
	struct preset_spec *spec;
	int r;

	assert(base && overrides && ret_spec && ret_error);

	if (base->addon)
		return refuse(ret_error, "preset",
			      "'%s' is only an addition to another preset; "
			      "expected one of %s",
			      base->name, preset_names());
	spec = calloc(1, sizeof(*spec));
	if (!spec)
		return -ENOMEM;
	r = copy_string(base->name, &spec->name);
	if (r == 0)
		r = apply_health(spec, base, overrides, ret_error);
	if (r == 0)
		r = apply_metrics(spec, base, overrides, ret_error);
	for (size_t i = 0; i < overrides->n_addons && r == 0; i++)
		r = apply_addon(spec, overrides->addons[i], overrides->addon_port, ret_error);
	if (r < 0) {
		preset_spec_free(&spec);
		return r;
	}
	apply_summary(spec, base, overrides);
	*ret_spec = spec;
	return 0;
}

void preset_spec_free(struct preset_spec **spec)
{
	struct preset_spec *s = *spec;

	*spec = NULL;
	if (!s)
		return;
	for (size_t i = 0; i < s->n_sources; i++) {
		free(s->sources[i].name);
		free(s->sources[i].path);
		metric_set_unref(&s->sources[i].set);
	}
	free(s->name);
	free(s->health_path);
	free(s->own_expect);
	free(s->own_status_field);
	free(s);
}
