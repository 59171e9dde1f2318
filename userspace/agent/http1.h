/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes of a plain HTTP/1 connection -> one answer to a GET: status, header facts, body pieces.
 *
 * For probes, which send thousands of small requests a second (see probe_http1.c for why not
 * libcurl). Takes pieces of any size, keeps no more than the beginning of one line, allocates
 * nothing. Strict where a lie could be hidden (lengths that differ, unknown codings, folded
 * lines), lenient where servers differ (LF alone, no reason phrase, HTTP/1.0). 1xx answers are
 * passed over. Pure.
 *
 * Source: RFC 9112 (HTTP/1.1), sections 2 to 7 and 9; RFC 9110 section 15.
 */
#ifndef SLUICE_AGENT_HTTP1_H
#define SLUICE_AGENT_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP1_LINE_KEPT                                                                            \
	256 /* bytes of a line that are looked at; longer ones only must be long                   \
	       where it does not matter */

enum http1_state {
	HTTP1_STATUS_LINE = 1,
	HTTP1_HEADER,
	HTTP1_BODY_LENGTH,
	HTTP1_BODY_CLOSE, /* until the connection ends */
	HTTP1_CHUNK_SIZE,
	HTTP1_CHUNK_DATA,
	HTTP1_CHUNK_END,
	HTTP1_TRAILER,
	HTTP1_DONE,
};

/* One answer being read. http1_begin() starts it; other modules only read it. */
struct http1 {
	enum http1_state state;
	uint16_t status;       /* 0: not known yet */
	uint64_t header_bytes; /* all header and trailer lines, also of 1xx answers */
	uint64_t body_bytes;   /* without chunk framing */
	uint64_t left;         /* of the body by length, or of the chunk */
	uint64_t length;       /* Content-Length, if has_length */
	bool has_length;
	bool chunked;
	bool encoded;      /* Content-Encoding other than identity */
	bool keep_alive;   /* the connection can be used again after a whole answer */
	bool minor_0;      /* HTTP/1.0 */
	uint16_t line_len; /* bytes in line */
	bool line_cut;     /* the line is longer */
	char line[HTTP1_LINE_KEPT];
};

enum http1_result {
	HTTP1_MORE = 1, /* needs more bytes */
	HTTP1_COMPLETE,
	HTTP1_BAD,      /* not HTTP/1; http1_feed()'s ret_error says why */
	HTTP1_TOO_LONG, /* header over its limit */
	HTTP1_TOO_BIG,  /* the length given is over body_max */
	HTTP1_STOPPED,  /* on_body returned negative */
};

struct http1_limits {
	uint64_t header_max;
	uint64_t body_max; /* only compared with a length given; on_body counts what comes */
};

void http1_begin(struct http1 *h);

/*
 * The next len > 0 bytes. on_body gets each piece of the body as it is (never empty).
 * *ret_used: bytes taken; with COMPLETE there may be more, which are not of this answer. After
 * anything but MORE only http1_begin() may follow. *ret_error: a literal, set with BAD only.
 */
enum http1_result http1_feed(struct http1 *h, const char *buf, size_t len,
			     const struct http1_limits *limits,
			     int (*on_body)(void *userdata, const char *buf, size_t len),
			     void *userdata, size_t *ret_used, const char **ret_error);

/* The peer closed. True if that ends the answer in order, which is complete then. */
bool http1_closed(struct http1 *h);

/* Whether the body's end was marked by something else than the connection's. */
bool http1_framed(const struct http1 *h);

#endif
