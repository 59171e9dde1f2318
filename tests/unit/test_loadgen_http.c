// SPDX-License-Identifier: BSD-2-Clause
/* The HTTP reader of loadgen: whole answers, in pieces of any size, and what is not HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tools/loadgen/http.c"

struct answer {
	struct http_reader r;
	char body[4096];
	size_t body_len;
	size_t used;
	int heads;
	int result; /* the last one */
};

static void put_body(struct answer *a, const char *data, size_t len)
{
	assert_true(a->body_len + len < sizeof(a->body));
	memcpy(a->body + a->body_len, data, len);
	a->body_len += len;
	a->body[a->body_len] = '\0';
}

static void feed(struct answer *a, const char *data, size_t len)
{
	for (;;) {
		const char *body = NULL;
		size_t body_len = 0;
		size_t used = 0;

		a->result = http_read(&a->r, data, len, &used, &body, &body_len);
		assert_true(used <= len);
		data += used;
		len -= used;
		a->used += used;
		if (a->result == HTTP_BODY)
			put_body(a, body, body_len);
		if (a->result == HTTP_HEAD)
			a->heads++;
		if (a->result == HTTP_MORE || a->result == HTTP_END || a->result < 0)
			return;
	}
}

/* Read the text in pieces of so many bytes, each in memory of its own size for the sanitizer. */
static void read_in_pieces(struct answer *a, const char *text, size_t piece)
{
	size_t len = strlen(text);

	memset(a, 0, sizeof(*a));
	http_init(&a->r);
	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;
		char *copy = malloc(n);

		assert_non_null(copy);
		memcpy(copy, text + at, n);
		feed(a, copy, n);
		free(copy);
		if (a->result == HTTP_END || a->result < 0)
			return;
	}
}

struct good_case {
	const char *name;
	const char *text;
	const char *body;
	const char *backend;
	int status;
	size_t left; /* bytes after the answer */
};

static const struct good_case good[] = {
	{
		.name = "a body of an announced length",
		.text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Backend: n1\r\n\r\nhello",
		.body = "hello",
		.backend = "n1",
		.status = 200,
	},
	{
		.name = "bytes after the body are not read",
		.text = "HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhelloHTTP",
		.body = "hello",
		.backend = "",
		.status = 200,
		.left = 4,
	},
	{
		.name = "an empty body",
		.text = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
		.body = "",
		.backend = "",
		.status = 404,
	},
	{
		.name = "chunks with extensions and trailers",
		.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-backend:b\r\n\r\n"
			"4;a=b\r\nwiki\r\n00a\r\npedia in \r\r\n0\r\nTrailer: x\r\n\r\n",
		.body = "wikipedia in \r",
		.backend = "b",
		.status = 200,
	},
	{
		.name = "bare line feeds",
		.text = "HTTP/1.0 200 OK\nContent-Length: 2\n\nab",
		.body = "ab",
		.backend = "",
		.status = 200,
	},
	{
		.name = "an interim answer before the true one",
		.text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
			"1\r\n\r\nx",
		.body = "x",
		.backend = "",
		.status = 200,
	},
	{
		.name = "no content",
		.text = "HTTP/1.1 204 No Content\r\n\r\n",
		.body = "",
		.backend = "",
		.status = 204,
	},
};

static void good_answers_are_read_in_pieces_of_any_size(void **state)
{
	struct answer a;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		const struct good_case *c = &good[i];

		for (size_t piece = 1; piece <= strlen(c->text); piece++) {
			read_in_pieces(&a, c->text, piece);
			if (a.result != HTTP_END)
				fail_msg("%s, pieces of %zu: result %d", c->name, piece, a.result);
			assert_string_equal(a.body, c->body);
			assert_string_equal(a.r.backend, c->backend);
			assert_int_equal(a.r.status, c->status);
			assert_int_equal(a.heads, 1);
			assert_int_equal(a.used, strlen(c->text) - c->left);
		}
	}
}

struct bad_case {
	const char *name;
	const char *text;
};

static const struct bad_case bad[] = {
	{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n"},
	{"no status", "HTTP/1.1 OK\r\n"},
	{"a short status", "HTTP/1.1 20 OK\r\n"},
	{"a header without a colon", "HTTP/1.1 200 OK\r\nhello\r\n"},
	{"a header without a name", "HTTP/1.1 200 OK\r\n: x\r\n"},
	{"a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n"},
	{"a length beyond all bounds",
	 "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999999\r\n"},
	{"an unknown transfer coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n"},
	{"a chunk size that is no number",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"},
	{"a chunk longer than its size",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n"},
	{"a port that is none", "HTTP/1.1 200 OK\r\nx-peer-port: 65536\r\n"},
	{"a backend's name that is too long",
	 "HTTP/1.1 200 OK\r\nx-backend: 0123456789012345678901234567890123456789"
	 "0123456789012345678901234567890123456789\r\n"},
};

static void what_is_not_http_is_an_error(void **state)
{
	struct answer a;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (size_t piece = 1; piece <= strlen(bad[i].text); piece++) {
			read_in_pieces(&a, bad[i].text, piece);
			if (a.result != -EPROTO)
				fail_msg("%s, pieces of %zu: result %d", bad[i].name, piece,
					 a.result);
		}
	}
}

static void the_peer_that_the_server_saw_is_read(void **state)
{
	struct answer a;

	(void)state;
	read_in_pieces(&a,
		       "HTTP/1.1 200 OK\r\nx-peer-address: 2001:db8::1\r\nx-peer-port: 40000\r\n"
		       "Content-Length: 0\r\n\r\n",
		       7);
	assert_string_equal(a.r.peer, "2001:db8::1");
	assert_int_equal(a.r.peer_port, 40000);
}

static void long_lines_are_cut_and_harmless(void **state)
{
	char text[3000] = "HTTP/1.1 200 OK\r\nx-long: ";
	struct answer a;

	(void)state;
	memset(text + strlen(text), 'a', 2000);
	strcat(text, "\r\nContent-Length: 1\r\n\r\nx");
	read_in_pieces(&a, text, 100);
	assert_int_equal(a.result, HTTP_END);
	assert_string_equal(a.body, "x");
}

static void headers_without_end_are_an_error(void **state)
{
	struct answer a;
	char text[8192] = "HTTP/1.1 200 OK\r\n";

	(void)state;
	for (int i = 0; i < 1000; i++)
		strcat(text, "a: b\r\n");
	read_in_pieces(&a, text, 1000);
	assert_int_equal(a.result, -EPROTO);
}

static void an_end_is_an_answer_only_without_a_length(void **state)
{
	struct answer a;

	(void)state;
	read_in_pieces(&a, "HTTP/1.1 200 OK\r\n\r\nuntil the end", 5);
	assert_int_equal(a.result, HTTP_MORE);
	assert_string_equal(a.body, "until the end");
	assert_true(http_eof(&a.r));
	read_in_pieces(&a, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", 5);
	assert_false(http_eof(&a.r));
	read_in_pieces(&a, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf", 5);
	assert_false(http_eof(&a.r));
	read_in_pieces(&a, "HTTP/1.1 20", 5);
	assert_false(http_eof(&a.r));
}

static void random_bytes_never_overrun(void **state)
{
	char text[512];

	(void)state;
	srand(1);
	for (int i = 0; i < 20000; i++) {
		const char *base = good[(size_t)rand() % (sizeof(good) / sizeof(good[0]))].text;
		struct answer a;

		snprintf(text, sizeof(text), "%s", base);
		for (int k = rand() % 4; k >= 0; k--)
			text[(size_t)rand() % strlen(base)] = (char)(1 + rand() % 255);
		read_in_pieces(&a, text, 1 + (size_t)rand() % 64);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_answers_are_read_in_pieces_of_any_size),
		cmocka_unit_test(what_is_not_http_is_an_error),
		cmocka_unit_test(the_peer_that_the_server_saw_is_read),
		cmocka_unit_test(long_lines_are_cut_and_harmless),
		cmocka_unit_test(headers_without_end_are_an_error),
		cmocka_unit_test(an_end_is_an_answer_only_without_a_length),
		cmocka_unit_test(random_bytes_never_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
