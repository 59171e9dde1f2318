/* SPDX-License-Identifier: BSD-2-Clause */
/* Probes: what one answer, good or hostile, is taken for; over the socket and over libcurl. */
#include "tests/unit/probe_bed.h"

static void serve_reset(struct raw_conn *conn)
{
	raw_reset(conn);
}

static void serve_reset_after_request(struct raw_conn *conn)
{
	if (raw_read_request(conn))
		raw_reset(conn);
}

static void serve_close_after_request(struct raw_conn *conn)
{
	(void)raw_read_request(conn);
}

static void serve_endless_continue(struct raw_conn *conn)
{
	if (!raw_read_request(conn))
		return;
	while (raw_print(conn, "HTTP/1.1 100 Continue\r\nX-Pad: 1234567890\r\n\r\n"))
		;
}

static void serve_endless_headers(struct raw_conn *conn)
{
	if (!raw_read_request(conn) || !raw_print(conn, "HTTP/1.1 200 OK\r\n"))
		return;
	while (raw_print(conn, "X-Header: abcdefghijklmnopqrstuvwxyz\r\n"))
		;
}

static void serve_endless_trailers(struct raw_conn *conn)
{
	if (!raw_read_request(conn) ||
	    !raw_print(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"))
		return;
	while (raw_print(conn, "X-Trailer: abcdefghijklmnopqrstuvwxyz\r\n"))
		;
}

static void serve_endless_chunks(struct raw_conn *conn)
{
	if (!raw_read_request(conn) ||
	    !raw_print(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
		return;
	while (raw_print(conn, "10\r\naaaaaaaaaaaaaaaa\r\n"))
		;
}

static void serve_drip(struct raw_conn *conn)
{
	const struct script *script = conn->server->arg;
	const char *p;

	if (!raw_read_request(conn))
		return;
	for (p = script->answer; *p; p++)
		if (!raw_write(conn, p, 1) || !raw_sleep(conn, 40))
			return;
	raw_wait_closed(conn);
}

static void serve_dripping_body(struct raw_conn *conn)
{
	if (!raw_read_request(conn) || !raw_print(conn, "HTTP/1.1 200\r\n\r\n"))
		return;
	while (raw_print(conn, "a") && raw_sleep(conn, 40))
		;
}

#define SCRIPT(text, how)                                                                          \
	&(const struct script)                                                                     \
	{                                                                                          \
		text, how                                                                          \
	}

struct once_case {
	const char *name;
	void (*serve)(struct raw_conn *conn); /* NULL: serve_script */
	const struct script *script;
	enum probe_body body;   /* 0: KEEP */
	uint16_t expect_status; /* 0: 2xx */
	enum probe_outcome want;
	enum probe_outcome want_curl; /* 0: the same */
	uint16_t want_status;
	const char *want_body;  /* NULL: not looked at */
	const char *want_cause; /* part of it */
	bool unframed;
};

static const struct once_case once_cases[] = {
	{
		.name = "an empty 200 passes",
		.script = SCRIPT(OK_EMPTY, AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "",
		.want_cause = "",
	},
	{
		.name = "a body by length is whole without a close",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "hello",
	},
	{
		.name = "a body in chunks is whole without a close",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				 "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
				 AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "hello",
	},
	{
		.name = "a body that the close ends is not framed",
		.script = SCRIPT("HTTP/1.1 200 OK\r\n\r\nhello", AFTER_CLOSE),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "hello",
		.unframed = true,
	},
	{
		.name = "HTTP/1.0 is an answer too",
		.script = SCRIPT("HTTP/1.0 200 OK\r\n\r\nold", AFTER_CLOSE),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "old",
		.unframed = true,
	},
	{
		.name = "204 has no body to wait for",
		.script = SCRIPT("HTTP/1.1 204 No Content\r\n\r\n", AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 204,
	},
	{
		.name = "103 and 100 are not the answer",
		.script = SCRIPT("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
				 "HTTP/1.1 100 Continue\r\n\r\n" OK_EMPTY,
				 AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 200,
	},
	{
		.name = "an answer that came before the request is one",
		.serve = serve_before_request,
		.want = PROBE_PASS,
		.want_status = 200,
	},
	{
		.name = "503 is not expected, and its body is kept",
		.script = SCRIPT(
			"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 7\r\n\r\nloading",
			AFTER_WAIT),
		.want = PROBE_FAIL_STATUS,
		.want_status = 503,
		.want_body = "loading",
		.want_cause = "status 503",
	},
	{
		.name = "an expected 404 passes",
		.script = SCRIPT("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", AFTER_WAIT),
		.expect_status = 404,
		.want = PROBE_PASS,
		.want_status = 404,
	},
	{
		.name = "200 fails where only 404 is expected",
		.script = SCRIPT(OK_EMPTY, AFTER_WAIT),
		.expect_status = 404,
		.want = PROBE_FAIL_STATUS,
		.want_status = 200,
	},
	{
		.name = "a redirect is not followed",
		.script = SCRIPT("HTTP/1.1 302 Found\r\nLocation: /health2\r\n"
				 "Content-Length: 0\r\n\r\n",
				 AFTER_WAIT),
		.want = PROBE_FAIL_STATUS,
		.want_status = 302,
	},
	{
		.name = "bytes that are no HTTP",
		.script = SCRIPT("\x01\x02\x03garbage\r\n\r\n", AFTER_CLOSE),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "another protocol's banner",
		.script = SCRIPT("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "a status that is no number",
		.script = SCRIPT("HTTP/1.1 abc OK\r\n\r\n", AFTER_CLOSE),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "a negative length",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "two lengths that differ",
		.script =
			SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n",
			       AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
		.want_curl = PROBE_PASS,
		.want_status = 200,
	},
	{
		.name = "a chunk size that is no number",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
				 AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
		.want_status = 200,
	},
	{
		.name = "a chunk size beyond 64 bits",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				 "fffffffffffffffffffff\r\n",
				 AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
		.want_status = 200,
	},
	{
		.name = "endless headers",
		.serve = serve_endless_headers,
		.want = PROBE_BAD_RESPONSE,
		.want_cause = "header too long",
	},
	{
		.name = "one endless header line",
		.serve = serve_endless,
		.script = SCRIPT("HTTP/1.1 200 OK\r\nX: ", AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "an endless status line",
		.serve = serve_endless,
		.script = SCRIPT("HTTP/1.1 200 ", AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "endless bytes that are no HTTP",
		.serve = serve_endless,
		.script = SCRIPT("", AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
	},
	{
		.name = "endless 100 Continue",
		.serve = serve_endless_continue,
		.want = PROBE_BAD_RESPONSE,
		.want_cause = "header too long",
	},
	{
		.name = "endless trailers",
		.serve = serve_endless_trailers,
		.want = PROBE_BAD_RESPONSE,
		.want_status = 200,
	},
	{
		.name = "an encoding nobody asked for",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
				 "Content-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
				 AFTER_WAIT),
		.want = PROBE_BAD_RESPONSE,
		.want_status = 200,
		.want_cause = "encoded",
	},
	{
		.name = "the status of an encoded error counts, its body does not",
		.script = SCRIPT("HTTP/1.1 503 Busy\r\ncontent-encoding:gzip\r\n"
				 "Content-Length: 4\r\n\r\n\x1f\x8b\x08\x01",
				 AFTER_WAIT),
		.want = PROBE_FAIL_STATUS,
		.want_status = 503,
		.want_body = "",
	},
	{
		.name = "identity is no encoding",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n"
				 "Content-Length: 2\r\n\r\nok",
				 AFTER_WAIT),
		.want = PROBE_PASS,
		.want_status = 200,
		.want_body = "ok",
	},
	{
		.name = "an encoded body that is thrown away does no harm",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
				 "Content-Length: 4\r\n\r\n\x1f\x8b\x08\x01",
				 AFTER_WAIT),
		.body = PROBE_BODY_DISCARD,
		.want = PROBE_PASS,
		.want_status = 200,
	},
	{
		.name = "a length over the limit is refused at once",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n",
				 AFTER_WAIT),
		.want = PROBE_TOO_BIG,
		.want_cause = "over 4096 bytes",
	},
	{
		.name = "endless chunks are cut at the limit",
		.serve = serve_endless_chunks,
		.want = PROBE_TOO_BIG,
		.want_status = 200,
	},
	{
		.name = "an endless body is cut at the limit",
		.serve = serve_endless,
		.script = SCRIPT("HTTP/1.1 200 OK\r\n\r\n", AFTER_WAIT),
		.want = PROBE_TOO_BIG,
		.want_status = 200,
	},
	{
		.name = "an endless body is cut at the limit also if it is thrown away",
		.serve = serve_endless,
		.script = SCRIPT("HTTP/1.1 200 OK\r\n\r\n", AFTER_WAIT),
		.body = PROBE_BODY_DISCARD,
		.want = PROBE_TOO_BIG,
		.want_status = 200,
	},
	{
		.name = "a body cut off by a close",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", AFTER_CLOSE),
		.want = PROBE_TRUNCATED,
		.want_status = 200,
		.want_body = "hello",
		.want_cause = "cut off",
	},
	{
		.name = "chunks cut off by a close",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
				 AFTER_CLOSE),
		.want = PROBE_TRUNCATED,
		.want_status = 200,
	},
	{
		.name = "a body cut off by a reset",
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", AFTER_RESET),
		.want = PROBE_TRUNCATED,
		.want_status = 200,
	},
	{
		.name = "a close at once",
		.serve = serve_close,
		.want = PROBE_RESET,
		.want_cause = "closed without an answer",
	},
	{
		.name = "a reset at once",
		.serve = serve_reset,
		.want = PROBE_RESET,
	},
	{
		.name = "a close after the request",
		.serve = serve_close_after_request,
		.want = PROBE_RESET,
	},
	{
		.name = "a reset after the request",
		.serve = serve_reset_after_request,
		.want = PROBE_RESET,
	},
	{
		.name = "no answer at all is a time-out, not a failure to connect",
		.serve = serve_silence,
		.want = PROBE_TIMEOUT,
		.want_cause = "no whole answer within 1000 ms (0 bytes came)",
	},
	{
		.name = "a slow header is a time-out",
		.serve = serve_drip,
		.script = SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", AFTER_WAIT),
		.want = PROBE_TIMEOUT,
	},
	{
		.name = "a body that drips is a time-out, however often bytes come",
		.serve = serve_dripping_body,
		.want = PROBE_TIMEOUT,
		.want_status = 200,
	},
};

static void check_once(const struct once_case *c, const struct seen *s, bool curl)
{
	enum probe_outcome want = curl && c->want_curl ? c->want_curl : c->want;
	const char *way = curl ? "libcurl" : "socket";

	if (s->outcome != want)
		fail_msg("%s: %s: %s (%s), not %s", way, c->name, probe_outcome_name(s->outcome),
			 s->cause, probe_outcome_name(want));
	if (c->want_status && s->status != c->want_status)
		fail_msg("%s: %s: status %u, not %u", way, c->name, s->status, c->want_status);
	if (c->want_body && strcmp(s->body, c->want_body) != 0)
		fail_msg("%s: %s: body \"%s\"", way, c->name, s->body);
	if (c->want_cause && !(c->want_cause[0] ? !!strstr(s->cause, c->want_cause) : !s->cause[0]))
		fail_msg("%s: %s: cause \"%s\"", way, c->name, s->cause);
	if (s->outcome == PROBE_PASS && s->framed == c->unframed)
		fail_msg("%s: %s: framed %d", way, c->name, s->framed);
	if (s->outcome != PROBE_PASS && !s->cause[0])
		fail_msg("%s: %s: no cause", way, c->name);
}

static void judge_answers(bool curl)
{
	const struct once_case *c;

	for (c = once_cases; c < once_cases + ARRAY_SIZE(once_cases); c++) {
		struct probe_spec spec;
		struct bed *bed;
		void *own;

		set_up(&own);
		bed = own;
		bed->engine->curl_only = curl;
		serve(bed, c->serve ?: serve_script, c->script);
		spec = spec_of(bed);
		spec.interval_ms = 10000;
		if (c->want == PROBE_TIMEOUT)
			be_hasty(&spec);
		spec.body = c->body ?: PROBE_BODY_KEEP;
		if (c->expect_status) {
			spec.n_expect_status = 1;
			spec.expect_status[0].low = spec.expect_status[0].high = c->expect_status;
		}
		probe_it(bed, &spec);
		run_until(bed, 1);
		check_once(c, &bed->seen[0], curl);
		tear_down(&own);
	}
}

static void answer_is_judged(void **state)
{
	(void)state;
	judge_answers(false);
}

static void answer_is_judged_by_libcurl(void **state)
{
	(void)state;
	judge_answers(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answer_is_judged),
		cmocka_unit_test(answer_is_judged_by_libcurl),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
