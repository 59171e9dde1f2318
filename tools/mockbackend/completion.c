// SPDX-License-Identifier: BSD-2-Clause
/* Completions: a job of the engine, and its tokens in one answer or as a stream of events. */
#include <string.h>
#include <time.h>

#include "tools/mockbackend/request_internal.h"

/* Write the next event of the stream to req->out. Returns false when there is none yet, or no more.
 */
static bool next_event(struct request *req)
{
	const struct page_completion *c = &req->completion;

	req->out_len = 0;
	req->out_pos = 0;
	switch (req->step) {
	case STREAM_ROLE:
		req->out_len = page_event_role(req->out, c);
		req->step = STREAM_TOKENS;
		return true;
	case STREAM_TOKENS:
		if (req->told == req->job.made)
			return false;
		req->out_len = page_event_token(req->out, c, req->told++);
		if (req->told == c->tokens)
			req->step = req->ask.include_usage ? STREAM_USAGE : STREAM_DONE;
		return true;
	case STREAM_USAGE:
		req->out_len = page_event_usage(req->out, c);
		req->step = STREAM_DONE;
		return true;
	case STREAM_DONE:
		req->out_len = page_event_done(req->out);
		req->step = STREAM_END;
		return true;
	case STREAM_END:
		break;
	}
	return false;
}

static bool abrupt_now(const struct request *req)
{
	uint32_t after = req->server->settings.abrupt_after;

	return after && req->told >= after;
}

static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct request *req = cls;
	size_t n = 0;

	(void)pos;
	if (req->broken || req->conn->gone)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	while (n < max) {
		size_t part = req->out_len - req->out_pos;

		if (!part && (abrupt_now(req) || !next_event(req)))
			break;
		part = req->out_len - req->out_pos;
		if (part > max - n)
			part = max - n;
		memcpy(buf + n, req->out + req->out_pos, part);
		req->out_pos += part;
		n += part;
	}
	if (n)
		return (ssize_t)n;
	if (req->step == STREAM_END)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (abrupt_now(req)) {
		request_break(req, FAULT_RESET);
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	request_suspend(req);
	return 0;
}

static enum MHD_Result start_stream(struct request *req)
{
	struct MHD_Response *response;

	req->step = req->ask.kind == OPENAI_CHAT ? STREAM_ROLE : STREAM_TOKENS;
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, READER_BLOCK, read_stream,
						     req, NULL);
	if (!response)
		return MHD_NO;
	reply_identity(req, response, "text/event-stream; charset=utf-8");
	reply_header(response, "cache-control", "no-cache");
	return reply_queue(req, MHD_HTTP_OK, response);
}

static void describe_completion(struct request *req)
{
	req->completion = (struct page_completion){
		.name = req->server->name,
		.model = req->server->model,
		.peer = request_peer(req),
		.kind = req->ask.kind,
		.id = ++req->server->next_id,
		.created_s = (int64_t)time(NULL),
		.prompt_tokens = req->ask.prompt_tokens,
		.tokens = req->ask.max_tokens,
	};
}

static enum MHD_Result submit(struct request *req)
{
	struct server *s = req->server;

	engine_job_init(&req->job, req->ask.prompt_tokens, req->ask.max_tokens);
	if (engine_submit(&s->engine, &req->job, server_now_us(s)) < 0)
		return reply_overloaded(
			req, s->settings.queue_status,
			"The engine is currently overloaded, please try again later");
	server_arm_tick(s);
	describe_completion(req);
	if (req->ask.stream)
		return start_stream(req);
	req->stage = STAGE_ENGINE;
	request_suspend(req);
	return MHD_YES;
}

enum MHD_Result completion_answer(struct request *req)
{
	const struct fault_settings *settings = &req->server->settings;
	enum openai_kind kind;
	char err[160];

	if (req->conn->gone)
		return MHD_NO;
	kind = strstr(req->route->path, "/chat/") ? OPENAI_CHAT : OPENAI_COMPLETION;
	if (settings->page[FAULT_PAGE_API] != FAULT_OK)
		return request_answer_root(req); /* as the fault says */
	if (openai_parse(req->body ? req->body : "", req->body_len, kind, &req->ask, err,
			 sizeof(err)) < 0)
		return reply_bad_request(req, err);
	if (request_is_loading(req))
		return reply_overloaded(req, MHD_HTTP_SERVICE_UNAVAILABLE, "Loading model");
	if (settings->draining)
		return reply_overloaded(req, MHD_HTTP_SERVICE_UNAVAILABLE,
					"This server takes no new requests");
	return submit(req);
}

enum MHD_Result completion_finished(struct request *req)
{
	if (req->broken || req->conn->gone)
		return MHD_NO;
	if (req->job.state != ENGINE_JOB_DONE) {
		request_suspend(req);
		return MHD_YES;
	}
	return reply_text(req, MHD_HTTP_OK, page_answer(&req->completion), "application/json");
}
