/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes of an HTTP/1.1 answer, in pieces of any size -> status, the headers that matter, body.
 * Pure. Bounded: a line that does not fit is cut, and an error where its value matters.
 * Source: RFC 9112 sections 2.2, 4, 6.3, 7.1.
 */
#ifndef SLUICE_LOADGEN_HTTP_H
#define SLUICE_LOADGEN_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_LINE_MAX    512
#define HTTP_BACKEND_MAX 63
#define HTTP_PEER_MAX    63
#define HTTP_HEADERS_MAX 128

enum http_state {
	HTTP_STATUS_LINE = 1,
	HTTP_HEADERS,
	HTTP_BODY_LENGTH, /* so many bytes */
	HTTP_BODY_CLOSE,  /* until the end of the connection */
	HTTP_CHUNK_SIZE,
	HTTP_CHUNK_DATA,
	HTTP_CHUNK_END,
	HTTP_TRAILERS,
	HTTP_COMPLETE,
};

enum http_result {
	HTTP_MORE = 1, /* all bytes used, none of them body */
	HTTP_HEAD,     /* the head is complete; told once */
	HTTP_BODY,     /* *ret_body holds some of the body */
	HTTP_END,      /* the answer is complete */
};

struct http_reader {
	enum http_state state;
	int status;
	bool chunked;
	bool has_length;
	bool line_cut;
	uint16_t n_headers;
	uint16_t line_len;
	uint64_t left;                      /* bytes of the body or the chunk that are to come */
	char backend[HTTP_BACKEND_MAX + 1]; /* x-backend, or "" */
	char peer[HTTP_PEER_MAX + 1]; /* x-peer-address: who the server thinks we are, or "" */
	uint16_t peer_port;           /* x-peer-port, or 0 */
	char line[HTTP_LINE_MAX];
};

void http_init(struct http_reader *r);

/*
 * Read from data; *ret_used says how much. Call again with the rest until HTTP_MORE or HTTP_END.
 * *ret_body and *ret_body_len point into data, for HTTP_BODY only.
 * Returns an enum http_result; -EPROTO: this is not HTTP.
 */
int http_read(struct http_reader *r, const char *data, size_t len, size_t *ret_used,
	      const char **ret_body, size_t *ret_body_len);

/* The connection ended. Returns true when that completes the answer. */
bool http_eof(struct http_reader *r);

#endif
