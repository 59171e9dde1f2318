/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What came back -> is it what was asked for? Streams: every token in order, none missing, one
 * backend throughout, the end marked. Whole answers: the text, and the name in body and header.
 */
#ifndef SLUICE_LOADGEN_CHECK_H
#define SLUICE_LOADGEN_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECK_LINE_MAX 2048

/* How a connection ended; each has a name in reports. Append only. */
enum check_cause {
	CAUSE_OK = 1,
	CAUSE_REFUSED,         /* connection refused */
	CAUSE_UNREACHABLE,     /* no route, host or network unreachable */
	CAUSE_CONNECT_TIMEOUT, /* no answer to SYN */
	CAUSE_CONNECT_ERROR,   /* any other error while connecting */
	CAUSE_LOCAL,           /* this host ran out of ports, descriptors or memory */
	CAUSE_RESET,           /* TCP reset */
	CAUSE_EOF,             /* the connection ended before the answer did */
	CAUSE_SILENCE,         /* nothing came for too long */
	CAUSE_STATUS,          /* another status than 200 */
	CAUSE_BAD_HTTP,        /* not HTTP */
	CAUSE_WRONG_BODY,      /* an answer, but not the right one */
	CAUSE_GAP,             /* a token missing, repeated or out of order */
	CAUSE_BACKEND_CHANGED, /* another backend's name in the middle */
	CAUSE_ERROR_EVENT,     /* an error inside a stream */
	CAUSE_N,
};

const char *check_cause_name(enum check_cause cause);

enum check_order {
	CHECK_NUMBERED = 1, /* token n is the text " n" */
	CHECK_ANY_TEXT,     /* for servers that do not number tokens, and pages that are not JSON */
};

struct check_stream {
	enum check_order order;
	uint32_t want;   /* tokens asked for */
	uint32_t tokens; /* tokens seen */
	bool done;       /* "[DONE]" was seen */
	bool line_cut;
	uint16_t line_len;
	char line[CHECK_LINE_MAX]; /* the start of a line that is not complete */
};

void check_stream_init(struct check_stream *s, uint32_t want, enum check_order order);

/*
 * Some bytes of the body of a stream. backend: the name in the head of the answer, "" if none.
 * Returns CAUSE_OK, or the first thing that was wrong.
 */
enum check_cause check_stream_feed(struct check_stream *s, const char *data, size_t len,
				   const char *backend);

/* The body ended as HTTP says it must. Returns CAUSE_OK if the stream was whole. */
enum check_cause check_stream_end(const struct check_stream *s);

/*
 * A whole JSON body. want: tokens asked for, 0 for a page that is not a completion.
 * Returns CAUSE_OK or CAUSE_WRONG_BODY.
 */
enum check_cause check_answer(const char *body, size_t len, uint32_t want, enum check_order order,
			      const char *backend);

#endif
