// SPDX-License-Identifier: BSD-2-Clause
/* loadgen's judgement: which streams and answers are whole and right, and what is wrong with
 * others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/loadgen/check.c"

#define TOKEN(n)                                                                                   \
	"data: {\"id\":\"cmpl-n1-1\",\"backend\":\"n1\",\"choices\":[{\"index\":0,"                \
	"\"text\":\" " #n "\",\"finish_reason\":null}]}\n\n"
#define CHAT(n)                                                                                    \
	"data: {\"backend\":\"n1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" " #n        \
	"\"}}]}\n\n"
#define ROLE                                                                                       \
	"data: {\"backend\":\"n1\",\"choices\":[{\"delta\":{\"role\":\"assistant\","               \
	"\"content\":\"\"}}]}\n\n"
#define USAGE "data: {\"backend\":\"n1\",\"choices\":[],\"usage\":{\"total_tokens\":5}}\n\n"
#define DONE  "data: [DONE]\n\n"

struct stream_case {
	const char *name;
	const char *text;
	uint32_t want;
	enum check_cause cause;
};

static const struct stream_case streams[] = {
	{"all tokens in order", TOKEN(0) TOKEN(1) TOKEN(2) DONE, 3, CAUSE_OK},
	{"a chat with its role and usage", ROLE CHAT(0) CHAT(1) USAGE DONE, 2, CAUSE_OK},
	{"comments, other fields and CRLF are allowed",
	 ": ping\r\nevent: x\r\nid: 4\r\n" TOKEN(0) "\r\ndata:[DONE]\r\n\r\n", 1, CAUSE_OK},
	{"a token is missing", TOKEN(0) TOKEN(2) DONE, 3, CAUSE_GAP},
	{"a token comes twice", TOKEN(0) TOKEN(0) TOKEN(1) DONE, 2, CAUSE_GAP},
	{"the first token is missing", TOKEN(1) DONE, 2, CAUSE_GAP},
	{"the last token is missing", TOKEN(0) DONE, 2, CAUSE_GAP},
	{"one token too many", TOKEN(0) TOKEN(1) DONE, 1, CAUSE_GAP},
	{"a token is no number", "data: {\"text\":\" x\"}\n\n" DONE, 1, CAUSE_GAP},
	{"the end is missing", TOKEN(0) TOKEN(1), 2, CAUSE_EOF},
	{"nothing came", "", 2, CAUSE_EOF},
	{"half of the end", TOKEN(0) "data: [DO", 1, CAUSE_EOF},
	{"something follows the end", TOKEN(0) DONE TOKEN(1), 1, CAUSE_WRONG_BODY},
	{"another backend goes on",
	 TOKEN(0) "data: {\"backend\":\"n2\",\"choices\":[{\"text\":\" 1\"}]}\n\n" DONE, 2,
	 CAUSE_BACKEND_CHANGED},
	{"a longer name is another backend",
	 "data: {\"backend\":\"n11\",\"choices\":[{\"text\":\" 0\"}]}\n\n" DONE, 1,
	 CAUSE_BACKEND_CHANGED},
	{"an error inside the stream",
	 TOKEN(0) "data: {\"error\": {\"message\": \"The request queue is full.\"}}\n\n", 2,
	 CAUSE_ERROR_EVENT},
};

static enum check_cause run_stream(const struct stream_case *c, size_t piece)
{
	size_t len = strlen(c->text);
	struct check_stream s;

	check_stream_init(&s, c->want, CHECK_NUMBERED);
	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;
		enum check_cause cause;
		char *copy = malloc(n);

		assert_non_null(copy);
		memcpy(copy, c->text + at, n);
		cause = check_stream_feed(&s, copy, n, "n1");
		free(copy);
		if (cause != CAUSE_OK)
			return cause;
	}
	return check_stream_end(&s);
}

static void streams_are_judged_in_pieces_of_any_size(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
		const struct stream_case *c = &streams[i];

		for (size_t piece = 1; piece <= strlen(c->text) + 1; piece++) {
			enum check_cause cause = run_stream(c, piece);

			if (cause != c->cause)
				fail_msg("%s, pieces of %zu: %s", c->name, piece,
					 check_cause_name(cause));
		}
	}
}

static void text_without_numbers_is_accepted_on_request(void **state)
{
	static const char text[] = "data: {\"text\":\"It\"}\n\ndata: {\"text\":\" is\"}\n\n" DONE;
	struct check_stream s;

	(void)state;
	check_stream_init(&s, 10, CHECK_ANY_TEXT);
	assert_int_equal(check_stream_feed(&s, text, sizeof(text) - 1, ""), CAUSE_OK);
	assert_int_equal(check_stream_end(&s), CAUSE_OK);
	assert_int_equal(s.tokens, 2);
}

static void a_line_without_end_is_refused(void **state)
{
	struct check_stream s;
	char text[600];
	enum check_cause cause = CAUSE_OK;
	int pieces = 0;

	(void)state;
	memset(text, 'x', sizeof(text));
	check_stream_init(&s, 1, CHECK_NUMBERED);
	while (cause == CAUSE_OK && pieces++ < 100)
		cause = check_stream_feed(&s, text, sizeof(text), "n1");
	assert_int_equal(cause, CAUSE_WRONG_BODY);
}

struct answer_case {
	const char *name;
	const char *body;
	uint32_t want;
	enum check_order order;
	enum check_cause cause;
};

static const struct answer_case answers[] = {
	{"a page with the right name", "{\"backend\":\"n1\"}", 0, CHECK_NUMBERED, CAUSE_OK},
	{"health names its node too", "{\"name\":\"n1\",\"status\":\"ok\"}", 0, CHECK_NUMBERED,
	 CAUSE_OK},
	{"a page without a name", "{\"status\":\"ok\"}", 0, CHECK_NUMBERED, CAUSE_OK},
	{"another name than in the head", "{\"backend\":\"n2\"}", 0, CHECK_NUMBERED,
	 CAUSE_WRONG_BODY},
	{"not JSON", "hello", 0, CHECK_NUMBERED, CAUSE_WRONG_BODY},
	{"not JSON, and that is fine", "hello", 0, CHECK_ANY_TEXT, CAUSE_OK},
	{"empty", "", 0, CHECK_NUMBERED, CAUSE_WRONG_BODY},
	{"a whole completion", "{\"backend\":\"n1\",\"choices\":[{\"text\":\" 0 1 2\"}]}", 3,
	 CHECK_NUMBERED, CAUSE_OK},
	{"a whole chat", "{\"choices\":[{\"message\":{\"content\":\" 0 1\"}}]}", 2, CHECK_NUMBERED,
	 CAUSE_OK},
	{"a completion without its last token", "{\"choices\":[{\"text\":\" 0 1\"}]}", 3,
	 CHECK_NUMBERED, CAUSE_WRONG_BODY},
	{"a completion with a token too many", "{\"choices\":[{\"text\":\" 0 1 2 3\"}]}", 3,
	 CHECK_NUMBERED, CAUSE_WRONG_BODY},
	{"a completion without choices", "{\"choices\":[]}", 3, CHECK_NUMBERED, CAUSE_WRONG_BODY},
	{"any text", "{\"choices\":[{\"text\":\"It is\"}]}", 3, CHECK_ANY_TEXT, CAUSE_OK},
};

static void answers_are_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		const struct answer_case *c = &answers[i];
		enum check_cause cause =
			check_answer(c->body, strlen(c->body), c->want, c->order, "n1");

		if (cause != c->cause)
			fail_msg("%s: %s", c->name, check_cause_name(cause));
	}
}

static void every_cause_has_a_name(void **state)
{
	(void)state;
	for (int i = CAUSE_OK; i < CAUSE_N; i++)
		assert_non_null(check_cause_name((enum check_cause)i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_are_judged_in_pieces_of_any_size),
		cmocka_unit_test(text_without_numbers_is_accepted_on_request),
		cmocka_unit_test(a_line_without_end_is_refused),
		cmocka_unit_test(answers_are_judged),
		cmocka_unit_test(every_cause_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
