// SPDX-License-Identifier: BSD-2-Clause
/* Answers as a server gives them, and as a faulty one does: late, slow, cut off, huge, garbage. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/mockbackend/request_internal.h"

#define SLOW_BYTE_US   100000ULL
#define GARBAGE_BYTES  777U
#define PAD_LINE       "# padding padding padding padding padding padding padding paddin\n"
#define RETRY_AFTER_MS 1500

void reply_header(struct MHD_Response *response, const char *name, const char *value)
{
	(void)MHD_add_response_header(response, name, value); /* fails for lack of memory only */
}

void reply_identity(struct request *req, struct MHD_Response *response, const char *type)
{
	char port[8];

	snprintf(port, sizeof(port), "%" PRIu16, req->conn->port);
	reply_header(response, "content-type", type);
	reply_header(response, "x-backend", req->server->name);
	reply_header(response, "x-peer-address", req->conn->address);
	reply_header(response, "x-peer-port", port);
}

/* Queue and drop our reference. */
enum MHD_Result reply_queue(struct request *req, unsigned int status, struct MHD_Response *response)
{
	enum MHD_Result r;

	req->stage = STAGE_ANSWERED;
	r = MHD_queue_response(req->mhd, status, response);
	MHD_destroy_response(response);
	return r;
}

enum MHD_Result reply_text(struct request *req, unsigned int status, char *text, const char *type)
{
	struct MHD_Response *response;

	if (!text)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
		return MHD_NO;
	}
	reply_identity(req, response, type);
	return reply_queue(req, status, response);
}

enum MHD_Result reply_error(struct request *req, unsigned int status, const char *type,
			    const char *code, const char *message)
{
	struct page_peer peer = request_peer(req);

	return reply_text(req, status, page_error(req->server->name, &peer, type, code, message),
			  "application/json");
}

enum MHD_Result reply_bad_request(struct request *req, const char *message)
{
	return reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error", "bad_request",
			   message);
}

enum MHD_Result reply_overloaded(struct request *req, unsigned int status, const char *message)
{
	const char *type = status == 429 ? "rate_limit_error" : "server_error";
	struct page_peer peer = request_peer(req);
	struct MHD_Response *response;
	char ms[16];
	char *text;

	text = page_error(req->server->name, &peer, type, "server_overloaded", message);
	if (!text)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response) {
		free(text);
		return MHD_NO;
	}
	snprintf(ms, sizeof(ms), "%d", RETRY_AFTER_MS);
	reply_identity(req, response, "application/json");
	reply_header(response, "retry-after", "2");
	reply_header(response, "retry-after-ms", ms);
	reply_header(response, "x-should-retry", "true");
	reply_header(response, "connection", "close");
	return reply_queue(req, status, response);
}

/* ---- odd pages ---- */

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct request *req = user;

	(void)source;
	(void)usec;
	if (req->stage == STAGE_DELAYED) {
		req->stage = STAGE_READY;
		req->delay_done = true;
	}
	request_resume(req);
	return 0;
}

static int set_timer(struct request *req, uint64_t delay_us)
{
	int r;

	if (!req->timer)
		return sd_event_add_time_relative(req->server->event, &req->timer, CLOCK_MONOTONIC,
						  delay_us, 1000, on_timer, req);
	r = sd_event_source_set_time_relative(req->timer, delay_us);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(req->timer, SD_EVENT_ONESHOT);
}

static ssize_t read_padding(struct request *req, uint64_t pos, char *buf, size_t max)
{
	uint64_t end = req->odd.len + req->odd.padding;

	if (pos >= end)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (max > end - pos)
		max = (size_t)(end - pos);
	for (size_t i = 0; i < max; i++)
		buf[i] = PAD_LINE[(pos + i) % (sizeof(PAD_LINE) - 1)];
	return (ssize_t)max;
}

static ssize_t read_odd(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct request *req = cls;
	const struct odd_page *odd = &req->odd;
	size_t end = odd->mode == FAULT_TRUNCATED ? odd->len / 2 : odd->len;

	if (req->broken || req->conn->gone)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (pos >= end && odd->mode == FAULT_HUGE)
		return read_padding(req, pos, buf, max);
	if (pos >= end)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (odd->mode == FAULT_SLOW && pos > 0 && !req->delay_done) {
		if (set_timer(req, SLOW_BYTE_US) < 0)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		req->delay_done = true; /* the next call comes after the timer */
		request_suspend(req);
		return 0;
	}
	req->delay_done = false;
	if (odd->mode == FAULT_SLOW || max > end - pos)
		max = odd->mode == FAULT_SLOW ? 1 : end - (size_t)pos;
	memcpy(buf, odd->text + pos, max);
	return (ssize_t)max;
}

/* text is taken. */
static enum MHD_Result send_odd(struct request *req, unsigned int status, char *text,
				const char *type, enum fault_mode mode)
{
	struct MHD_Response *response;
	uint64_t size;

	if (!text)
		return MHD_NO;
	req->odd.text = text;
	req->odd.len = strlen(text);
	req->odd.mode = mode;
	req->odd.padding = (uint64_t)req->server->settings.huge_mb << 20;
	req->delay_done = false;
	size = mode == FAULT_HUGE ? MHD_SIZE_UNKNOWN : req->odd.len;
	response = MHD_create_response_from_callback(size, READER_BLOCK, read_odd, req, NULL);
	if (!response)
		return MHD_NO;
	reply_identity(req, response, type);
	return reply_queue(req, status, response);
}

/* Bytes that are neither text nor numbers, the same each time. */
static enum MHD_Result send_garbage(struct request *req, const char *type)
{
	struct MHD_Response *response;
	uint64_t x = 0x9e3779b97f4a7c15ULL;
	char bytes[GARBAGE_BYTES];

	for (size_t i = 0; i < sizeof(bytes); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		bytes[i] = (char)x;
	}
	response = MHD_create_response_from_buffer(sizeof(bytes), bytes, MHD_RESPMEM_MUST_COPY);
	if (!response)
		return MHD_NO;
	reply_identity(req, response, type);
	return reply_queue(req, MHD_HTTP_OK, response);
}

static enum MHD_Result hang(struct request *req)
{
	if (req->conn->gone)
		return MHD_NO;
	req->stage = STAGE_HUNG;
	request_suspend(req);
	return MHD_YES;
}

enum MHD_Result reply_page(struct request *req, unsigned int status, char *text, const char *type)
{
	enum fault_page page = req->route->page;
	enum fault_mode mode;

	mode = page == FAULT_PAGE_N ? FAULT_OK : req->server->settings.page[page];
	switch (mode) {
	case FAULT_OK:
		return reply_text(req, status, text, type);
	case FAULT_HUGE:
	case FAULT_SLOW:
	case FAULT_TRUNCATED:
		return send_odd(req, status, text, type, mode);
	default:
		break;
	}
	free(text);
	switch (mode) {
	case FAULT_HANG:
		return hang(req);
	case FAULT_GARBAGE:
		return send_garbage(req, type);
	case FAULT_EMPTY:
		return reply_text(req, MHD_HTTP_OK, strdup(""), type);
	case FAULT_STATUS:
		return reply_error(req, req->server->settings.page_status[page], "server_error",
				   "fault", "this page was told to fail");
	case FAULT_RESET:
		request_reset_socket(req->conn->fd);
		return MHD_NO;
	default:
		return MHD_NO; /* FAULT_CLOSE */
	}
}

bool reply_delayed(struct request *req, uint32_t delay_ms, enum MHD_Result *ret)
{
	if (!delay_ms || req->delay_done)
		return false;
	*ret = MHD_NO;
	if (!req->conn->gone && set_timer(req, delay_ms * 1000ULL) >= 0) {
		req->stage = STAGE_DELAYED;
		request_suspend(req);
		*ret = MHD_YES;
	}
	return true;
}
