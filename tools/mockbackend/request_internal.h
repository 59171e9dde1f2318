/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a request is made of: shared by request.c (its life, routes, pages), reply.c (answers, true
 * and faulty) and completion.c (generated text).
 */
#ifndef SLUICE_MOCKBACKEND_REQUEST_INTERNAL_H
#define SLUICE_MOCKBACKEND_REQUEST_INTERNAL_H

#include "tools/mockbackend/request.h"

#define READER_BLOCK 4096U /* bytes that libmicrohttpd asks a reader for */

enum request_stage {
	STAGE_BODY = 1, /* the body is still coming */
	STAGE_READY,    /* to be answered */
	STAGE_DELAYED,  /* to be answered when its timer ends */
	STAGE_HUNG,     /* to be answered when the fault is taken back */
	STAGE_ENGINE,   /* a job of the engine */
	STAGE_ANSWERED, /* the answer is with libmicrohttpd */
};

enum stream_step {
	STREAM_ROLE = 1,
	STREAM_TOKENS,
	STREAM_USAGE,
	STREAM_DONE,
	STREAM_END,
};

/* A page that is not simply sent: slow, truncated, huge. */
struct odd_page {
	char *text;
	size_t len;
	enum fault_mode mode;
	uint64_t padding;
};

struct request {
	struct engine_job job;
	struct request *next;
	struct request **pprev;
	struct server *server;
	struct conn *conn;
	struct MHD_Connection *mhd;
	const struct route *route;
	enum request_stage stage;
	bool suspended;
	bool delay_done;
	enum fault_mode broken; /* 0: not */
	sd_event_source *timer;
	char *body;
	size_t body_len;
	size_t body_size;
	bool body_too_big;
	struct openai_request ask;
	struct page_completion completion;
	enum stream_step step;
	uint32_t told; /* tokens already in the stream */
	struct odd_page odd;
	size_t out_len;
	size_t out_pos;
	char out[PAGE_EVENT_MAX];
};

struct route {
	const char *path;
	const char *method;
	enum fault_page page; /* FAULT_PAGE_N: never faulty */
	enum MHD_Result (*answer)(struct request *req);
};

struct page_peer request_peer(const struct request *req);
bool request_is_loading(const struct request *req);

/* Between the two libmicrohttpd leaves the connection alone. */
void request_suspend(struct request *req);
void request_resume(struct request *req);

/* Send a TCP reset now; libmicrohttpd finds the socket dead and tidies up. */
void request_reset_socket(int fd);
/* End a live completion: FAULT_RESET or FAULT_CLOSE. */
void request_break(struct request *req, enum fault_mode how);

enum MHD_Result request_answer_root(struct request *req);

/* Parts of an answer; reply_queue() takes the response. */
void reply_header(struct MHD_Response *response, const char *name, const char *value);
void reply_identity(struct request *req, struct MHD_Response *response, const char *type);
enum MHD_Result reply_queue(struct request *req, unsigned int status,
			    struct MHD_Response *response);

/* text is taken; NULL closes the connection. */
enum MHD_Result reply_text(struct request *req, unsigned int status, char *text, const char *type);
enum MHD_Result reply_error(struct request *req, unsigned int status, const char *type,
			    const char *code, const char *message);
enum MHD_Result reply_bad_request(struct request *req, const char *message);
/* The answer of a server that has no room: the SDKs of OpenAI's clients retry it. */
enum MHD_Result reply_overloaded(struct request *req, unsigned int status, const char *message);
/* Answer as the fault of the page says. text, the true page, is taken. */
enum MHD_Result reply_page(struct request *req, unsigned int status, char *text, const char *type);
/* Returns true, and the result of suspending, when the request has to wait first. */
bool reply_delayed(struct request *req, uint32_t delay_ms, enum MHD_Result *ret);

/* A completion is asked for; one without a stream was woken: its job ended, or its connection. */
enum MHD_Result completion_answer(struct request *req);
enum MHD_Result completion_finished(struct request *req);

#endif
