/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "userspace/agent/http1.h"
#include "userspace/lib/cleanup.h"

#define OK         "HTTP/1.1 200 OK\r\n"
#define HEADER_MAX 2000
#define BODY_MAX   1000

/* What is left when a case is over. */
enum rest { NONE, LEFTOVER, CLOSED };

struct http1_case {
	const char *name;
	const char *in;
	enum http1_result want;
	uint16_t status;
	const char *body;  /* NULL: "" */
	const char *error; /* part of it */
	bool keep_alive;
	bool unframed;
	bool encoded;
	enum rest rest; /* LEFTOVER: bytes after the answer; CLOSED: the close completes it */
};

static const struct http1_case cases[] = {
	{
		.name = "an answer with a length",
		.in = OK "Content-Length: 5\r\n\r\nhello",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "hello",
		.keep_alive = true,
	},
	{
		.name = "LF alone ends a line",
		.in = "HTTP/1.1 200 OK\ncontent-length:5\n\nhello",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "hello",
		.keep_alive = true,
	},
	{
		.name = "no reason phrase, with and without the blank",
		.in = "HTTP/1.1 204 \r\n\r\n",
		.want = HTTP1_COMPLETE,
		.status = 204,
		.keep_alive = true,
	},
	{
		.name = "no reason phrase and no blank",
		.in = "HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n",
		.want = HTTP1_COMPLETE,
		.status = 503,
		.keep_alive = true,
	},
	{
		.name = "a reason phrase longer than what is kept of a line",
		.in = "HTTP/1.1 200 "
		      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		      "\r\nContent-Length: 0\r\n\r\n",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.keep_alive = true,
	},
	{
		.name = "blanks around a value",
		.in = OK "Content-Length: \t 5 \t\r\n\r\nhello",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "hello",
		.keep_alive = true,
	},
	{
		.name = "the same length twice",
		.in = OK "Content-Length: 5\r\nContent-Length: 05\r\n\r\nhello",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "hello",
		.keep_alive = true,
	},
	{
		.name = "two lengths that differ",
		.in = OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		.want = HTTP1_BAD,
		.error = "two different",
	},
	{
		.name = "a list of lengths",
		.in = OK "Content-Length: 5, 5\r\n\r\nhello",
		.want = HTTP1_BAD,
		.error = "bad content-length",
	},
	{.name = "a length below zero",
	 .in = OK "Content-Length: -1\r\n\r\n",
	 .want = HTTP1_BAD,
	 .error = "bad content-length"},
	{.name = "a length with a sign",
	 .in = OK "Content-Length: +1\r\n\r\n",
	 .want = HTTP1_BAD,
	 .error = "bad content-length"},
	{.name = "a length in hexadecimal",
	 .in = OK "Content-Length: 0x1\r\n\r\n",
	 .want = HTTP1_BAD,
	 .error = "bad content-length"},
	{.name = "an empty length",
	 .in = OK "Content-Length:\r\n\r\n",
	 .want = HTTP1_BAD,
	 .error = "bad content-length"},
	{.name = "a length of twenty digits",
	 .in = OK "Content-Length: 10000000000000000000\r\n\r\n",
	 .want = HTTP1_BAD,
	 .error = "bad content-length"},
	{.name = "a length over the limit",
	 .in = OK "Content-Length: 1001\r\n\r\n",
	 .want = HTTP1_TOO_BIG,
	 .status = 200},
	{.name = "the greatest length",
	 .in = OK "Content-Length: 9999999999999999999\r\n\r\n",
	 .want = HTTP1_TOO_BIG,
	 .status = 200},
	{
		.name = "bytes beyond the length are not its body",
		.in = OK "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "hello",
		.keep_alive = true,
		.rest = LEFTOVER,
	},
	{
		.name = "chunks, with extensions, upper case and trailers",
		.in = OK
		"Transfer-Encoding: Chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0A\r\n0123456789\r\n"
		"000\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "abc0123456789",
		.keep_alive = true,
	},
	{
		.name = "chunks with LF alone",
		.in = OK "Transfer-Encoding: chunked\n\n3\nabc\n0\n\n",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "abc",
		.keep_alive = true,
	},
	{
		.name = "chunks win over a length, and the connection is not used again",
		.in = OK
		"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "abc",
	},
	{.name = "a chunk size that is no number",
	 .in = OK "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "bad chunk size"},
	{.name = "an empty chunk size",
	 .in = OK "Transfer-Encoding: chunked\r\n\r\n\r\nabc",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "bad chunk size"},
	{.name = "a chunk size below zero",
	 .in = OK "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "bad chunk size"},
	{.name = "a chunk size with 0x",
	 .in = OK "Transfer-Encoding: chunked\r\n\r\n0x1\r\n",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "bad chunk size"},
	{.name = "a chunk size of sixteen digits",
	 .in = OK "Transfer-Encoding: chunked\r\n\r\n1000000000000000\r\n",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "bad chunk size"},
	{.name = "a chunk longer than it said",
	 .in = OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .body = "abc",
	 .error = "bad chunk end"},
	{.name = "an endless chunk extension",
	 .in = OK
	 "Transfer-Encoding: chunked\r\n\r\n3;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "too long"},
	{.name = "an encoding of the transfer that is not known",
	 .in = OK "Transfer-Encoding: gzip\r\n\r\n",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "unknown transfer-encoding"},
	{.name = "two encodings of the transfer",
	 .in = OK "Transfer-Encoding: gzip, chunked\r\n\r\n",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "unknown transfer-encoding"},
	{.name = "chunked twice",
	 .in = OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "unknown transfer-encoding"},
	{
		.name = "no length: the close ends the body",
		.in = OK "\r\nhello",
		.want = HTTP1_MORE,
		.status = 200,
		.body = "hello",
		.unframed = true,
		.rest = CLOSED,
	},
	{.name = "a close within the header ends nothing",
	 .in = OK "X: y\r\n",
	 .want = HTTP1_MORE,
	 .status = 200,
	 .unframed = true},
	{.name = "a close within the body ends nothing",
	 .in = OK "Content-Length: 5\r\n\r\nhell",
	 .want = HTTP1_MORE,
	 .status = 200,
	 .body = "hell"},
	{.name = "a close before the last chunk ends nothing",
	 .in = OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	 .want = HTTP1_MORE,
	 .status = 200,
	 .body = "abc"},
	{
		.name = "HTTP/1.0 does not keep the connection",
		.in = "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		.want = HTTP1_COMPLETE,
		.status = 200,
	},
	{
		.name = "unless it says so",
		.in = "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.keep_alive = true,
	},
	{
		.name = "connection: close, in a list",
		.in = OK "Connection: x, Close ,y\r\nContent-Length: 0\r\n\r\n",
		.want = HTTP1_COMPLETE,
		.status = 200,
	},
	{
		.name = "304 has no body whatever its length",
		.in = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		.want = HTTP1_COMPLETE,
		.status = 304,
		.keep_alive = true,
	},
	{
		.name = "answers of the 100s are passed over, with their headers",
		.in = "HTTP/1.1 100 Continue\r\nConnection: close\r\nContent-Length: 9\r\n\r\n"
		      "HTTP/1.1 103 Early Hints\r\nContent-Encoding: gzip\r\n\r\n" OK
		      "Content-Length: 2\r\n\r\nok",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "ok",
		.keep_alive = true,
	},
	{.name = "101 is no answer to what was asked",
	 .in = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
	 .want = HTTP1_BAD,
	 .status = 101,
	 .error = "switched"},
	{
		.name = "an encoded body is marked",
		.in = OK "CONTENT-ENCODING: br\r\nContent-Length: 2\r\n\r\nxx",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "xx",
		.keep_alive = true,
		.encoded = true,
	},
	{
		.name = "identity is no encoding",
		.in = OK "Content-Encoding: Identity\r\nContent-Length: 2\r\n\r\nxx",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "xx",
		.keep_alive = true,
	},
	{
		.name = "names that only begin like known ones",
		.in = OK "Content-Lengthy: 3\r\nContent: x\r\nContent-Length: 2\r\n\r\nxx",
		.want = HTTP1_COMPLETE,
		.status = 200,
		.body = "xx",
		.keep_alive = true,
	},
	{.name = "a blank before the colon",
	 .in = OK "Content-Length : 2\r\n\r\nxx",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "bad header name"},
	{.name = "a header without a name",
	 .in = OK ": 2\r\n\r\nxx",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "bad header name"},
	{.name = "a header without a colon",
	 .in = OK "hello\r\n\r\n",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "without colon"},
	{.name = "a folded header",
	 .in = OK "X: y\r\n z\r\n\r\n",
	 .want = HTTP1_BAD,
	 .status = 200,
	 .error = "folded"},
	{.name = "another protocol",
	 .in = "SSH-2.0-x\r\n",
	 .want = HTTP1_BAD,
	 .error = "status line"},
	{.name = "another protocol without a line's end",
	 .in = "x",
	 .want = HTTP1_BAD,
	 .error = "status line"},
	{.name = "an empty line first", .in = "\r\n" OK, .want = HTTP1_BAD, .error = "status line"},
	{.name = "HTTP/2", .in = "HTTP/2 200\r\n\r\n", .want = HTTP1_BAD, .error = "status line"},
	{.name = "HTTP/1.x",
	 .in = "HTTP/1.x 200\r\n\r\n",
	 .want = HTTP1_BAD,
	 .error = "status line"},
	{.name = "a status of two digits",
	 .in = "HTTP/1.1 20\r\n\r\n",
	 .want = HTTP1_BAD,
	 .error = "status line"},
	{.name = "a status of four digits",
	 .in = "HTTP/1.1 2000\r\n\r\n",
	 .want = HTTP1_BAD,
	 .error = "no number"},
	{.name = "a status of letters",
	 .in = "HTTP/1.1 abc\r\n\r\n",
	 .want = HTTP1_BAD,
	 .error = "no number"},
	{.name = "a status below 100",
	 .in = "HTTP/1.1 099\r\n\r\n",
	 .want = HTTP1_BAD,
	 .error = "no number"},
};

struct got {
	enum http1_result result;
	struct http1 h;
	const char *error;
	size_t used;
	size_t n_pieces;
	char body[4096];
	size_t body_len;
};

static int on_body(void *userdata, const char *buf, size_t len)
{
	struct got *got = userdata;

	assert_true(len > 0);
	assert_true(got->body_len + len < sizeof(got->body));
	memcpy(got->body + got->body_len, buf, len);
	got->body_len += len;
	got->n_pieces++;
	return 0;
}

static void feed(struct got *got, const char *in, size_t len, size_t piece)
{
	const struct http1_limits limits = {.header_max = HEADER_MAX, .body_max = BODY_MAX};
	size_t at, n, used = 0;

	*got = (struct got){.result = HTTP1_MORE};
	http1_begin(&got->h);
	for (at = 0; at < len && got->result == HTTP1_MORE; at += n) {
		n = len - at < piece ? len - at : piece;
		got->result =
			http1_feed(&got->h, in + at, n, &limits, on_body, got, &used, &got->error);
		if (got->result == HTTP1_MORE)
			assert_int_equal(used, n);
		if (got->result == HTTP1_COMPLETE)
			got->used = at + used;
	}
}

static void check(const struct http1_case *c, struct got *got, size_t len, size_t piece)
{
	const char *body = c->body ?: "";

	if (got->result != c->want)
		fail_msg("%s, by %zu: result %d (%s)", c->name, piece, got->result, got->error);
	if (c->status && got->h.status != c->status)
		fail_msg("%s, by %zu: status %u", c->name, piece, got->h.status);
	if (got->body_len != strlen(body) || memcmp(got->body, body, got->body_len) != 0)
		fail_msg("%s, by %zu: body \"%.*s\"", c->name, piece, (int)got->body_len,
			 got->body);
	if (got->h.body_bytes != got->body_len)
		fail_msg("%s, by %zu: counted %zu", c->name, piece, (size_t)got->h.body_bytes);
	if (c->error && !strstr(got->error, c->error))
		fail_msg("%s, by %zu: error \"%s\"", c->name, piece, got->error);
	if (c->want == HTTP1_MORE && http1_closed(&got->h) != (c->rest == CLOSED))
		fail_msg("%s, by %zu: closed", c->name, piece);
	if (c->want != HTTP1_COMPLETE)
		return;
	if ((got->used < len) != (c->rest == LEFTOVER))
		fail_msg("%s, by %zu: %zu of %zu used", c->name, piece, got->used, len);
	if (got->h.keep_alive != c->keep_alive || http1_framed(&got->h) == c->unframed ||
	    got->h.encoded != c->encoded)
		fail_msg("%s, by %zu: facts", c->name, piece);
}

static void answers_in_pieces_of_any_size(void **state)
{
	const struct http1_case *c;
	struct got got;
	size_t piece;

	(void)state;
	for (c = cases; c < cases + ARRAY_SIZE(cases); c++) {
		size_t len = strlen(c->in);

		for (piece = 1; piece <= len; piece = piece < 40 ? piece + 1 : piece * 3) {
			feed(&got, c->in, len, piece);
			check(c, &got, len, piece);
		}
		feed(&got, c->in, len, len);
		check(c, &got, len, len);
	}
}

static void header_limit_counts_all_lines(void **state)
{
	char in[8192] = OK;
	struct got got;
	size_t piece;

	(void)state;
	while (strlen(in) < HEADER_MAX + 10)
		strcat(in, "X-Pad: 0123456789\r\n");
	for (piece = 1; piece < 5000; piece *= 7) {
		feed(&got, in, strlen(in), piece);
		assert_int_equal(got.result, HTTP1_TOO_LONG);
	}
	/* One line without an end. */
	memset(in, 'a', sizeof(in));
	memcpy(in, "HTTP/1.1 200 OK\r\nX: ", 20);
	feed(&got, in, sizeof(in), 100);
	assert_int_equal(got.result, HTTP1_TOO_LONG);
	/* Trailers are headers too. */
	strcpy(in, OK "Transfer-Encoding: chunked\r\n\r\n0\r\n");
	while (strlen(in) < HEADER_MAX + 60)
		strcat(in, "X-Pad: 0123456789\r\n");
	feed(&got, in, strlen(in), 100);
	assert_int_equal(got.result, HTTP1_TOO_LONG);
}

/* A large page in small chunks is not a long header. */
static void chunk_lines_are_no_header(void **state)
{
	char in[16384] = OK "Transfer-Encoding: chunked\r\n\r\n";
	struct got got;
	int i;

	(void)state;
	for (i = 0; i < 1000; i++)
		strcat(in, "1\r\nx\r\n");
	strcat(in, "0\r\n\r\n");
	feed(&got, in, strlen(in), 1000);
	assert_int_equal(got.result, HTTP1_COMPLETE);
	assert_int_equal(got.body_len, 1000);
}

static void known_header_that_was_cut_is_refused(void **state)
{
	char in[1024] = OK "Content-Length: ";
	struct got got;

	(void)state;
	while (strlen(in) < 600)
		strcat(in, " ");
	strcat(in, "5\r\n\r\nhello");
	feed(&got, in, strlen(in), 64);
	assert_int_equal(got.result, HTTP1_BAD);
	assert_non_null(strstr(got.error, "too long to be judged"));
}

static int refuse(void *userdata, const char *buf, size_t len)
{
	(void)userdata;
	(void)buf;
	(void)len;
	return -1;
}

static void body_can_be_refused(void **state)
{
	static const char in[] = OK "Content-Length: 5\r\n\r\nhello";
	const struct http1_limits limits = {.header_max = HEADER_MAX, .body_max = BODY_MAX};
	const char *error = NULL;
	struct http1 h;
	size_t used;

	(void)state;
	http1_begin(&h);
	assert_int_equal(http1_feed(&h, in, sizeof(in) - 1, &limits, refuse, NULL, &used, &error),
			 HTTP1_STOPPED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_in_pieces_of_any_size),
		cmocka_unit_test(header_limit_counts_all_lines),
		cmocka_unit_test(chunk_lines_are_no_header),
		cmocka_unit_test(known_header_that_was_cut_is_refused),
		cmocka_unit_test(body_can_be_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
