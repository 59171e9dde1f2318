/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/http1.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#define LENGTH_DIGITS_MAX 19 /* fits 64 bits */
#define CHUNK_DIGITS_MAX  15

void http1_begin(struct http1 *h)
{
	*h = (struct http1){.state = HTTP1_STATUS_LINE};
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 9110 section 5.6.2 */
static bool is_token(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Without the blanks around it. */
struct text {
	const char *at;
	size_t len;
};

static struct text trimmed(const char *at, size_t len)
{
	while (len && is_blank(*at)) {
		at++;
		len--;
	}
	while (len && is_blank(at[len - 1]))
		len--;
	return (struct text){at, len};
}

static bool text_is(struct text t, const char *lower)
{
	return t.len == strlen(lower) && strncasecmp(t.at, lower, t.len) == 0;
}

/* The next of a list separated by commas; false at its end. */
static bool next_item(struct text *list, struct text *ret_item)
{
	const char *comma;
	size_t len;

	if (!list->len)
		return false;
	comma = memchr(list->at, ',', list->len);
	len = comma ? (size_t)(comma - list->at) : list->len;
	*ret_item = trimmed(list->at, len);
	if (comma)
		len++;
	list->at += len;
	list->len -= len;
	return true;
}

/* --- lines. Each returns NULL, or what is wrong. ------------------------------------------- */

/* "HTTP/1.1 200 OK", "HTTP/1.0 200" */
static const char *status_line(struct http1 *h)
{
	const char *s = h->line;

	if (h->line_len < 12 || memcmp(s, "HTTP/1.", 7) != 0 || !is_digit(s[7]) || s[8] != ' ')
		return "no HTTP/1 status line";
	if (!is_digit(s[9]) || !is_digit(s[10]) || !is_digit(s[11]) || s[9] == '0')
		return "status is no number";
	if (h->line_len > 12 && s[12] != ' ')
		return "status is no number";
	h->status = (uint16_t)((s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0'));
	h->minor_0 = s[7] == '0';
	h->keep_alive = !h->minor_0;
	h->has_length = false;
	h->chunked = false;
	h->encoded = false;
	h->state = HTTP1_HEADER;
	return NULL;
}

static const char *content_length(struct http1 *h, struct text value)
{
	uint64_t n = 0;
	size_t i;

	if (!value.len || value.len > LENGTH_DIGITS_MAX)
		return "bad content-length";
	for (i = 0; i < value.len; i++) {
		if (!is_digit(value.at[i]))
			return "bad content-length";
		n = n * 10 + (uint64_t)(value.at[i] - '0');
	}
	if (h->has_length && h->length != n)
		return "two different content-lengths";
	h->has_length = true;
	h->length = n;
	return NULL;
}

static const char *transfer_encoding(struct http1 *h, struct text value)
{
	if (h->chunked || !text_is(value, "chunked"))
		return "unknown transfer-encoding";
	h->chunked = true;
	return NULL;
}

static const char *content_encoding(struct http1 *h, struct text value)
{
	if (value.len && !text_is(value, "identity"))
		h->encoded = true;
	return NULL;
}

static const char *connection(struct http1 *h, struct text list)
{
	struct text item;

	while (next_item(&list, &item)) {
		if (text_is(item, "close"))
			h->keep_alive = false;
		else if (h->minor_0 && text_is(item, "keep-alive"))
			h->keep_alive = true;
	}
	return NULL;
}

static const struct {
	const char *name;
	const char *(*take)(struct http1 *h, struct text value);
} fields[] = {
	{"content-length", content_length},
	{"transfer-encoding", transfer_encoding},
	{"content-encoding", content_encoding},
	{"connection", connection},
};

static const char *header_line(struct http1 *h)
{
	const char *colon = memchr(h->line, ':', h->line_len);
	size_t i, name_len, n;

	if (is_blank(h->line[0]))
		return "folded header line";
	if (!colon)
		return "header line without colon";
	name_len = (size_t)(colon - h->line);
	for (i = 0; i < name_len; i++)
		if (!is_token(h->line[i]))
			return "bad header name";
	if (!name_len)
		return "bad header name";
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		n = strlen(fields[i].name);
		if (n != name_len || strncasecmp(h->line, fields[i].name, n) != 0)
			continue;
		if (h->line_cut)
			return "header line too long to be judged";
		return fields[i].take(h, trimmed(colon + 1, h->line_len - name_len - 1));
	}
	return NULL;
}

/* The empty line after the header. */
static const char *header_end(struct http1 *h)
{
	if (h->status == 101)
		return "protocol switched unasked";
	if (h->status < 200) {
		h->status = 0;
		h->state = HTTP1_STATUS_LINE;
	} else if (h->status == 204 || h->status == 304) {
		h->state = HTTP1_DONE;
	} else if (h->chunked) {
		/* A length beside chunks is how requests are smuggled: not to be trusted twice. */
		h->keep_alive = h->keep_alive && !h->has_length;
		h->state = HTTP1_CHUNK_SIZE;
	} else if (h->has_length) {
		h->left = h->length;
		h->state = h->left ? HTTP1_BODY_LENGTH : HTTP1_DONE;
	} else {
		h->keep_alive = false;
		h->state = HTTP1_BODY_CLOSE;
	}
	return NULL;
}

/* "1a", "1a;name=value"; extensions are ignored. */
static const char *chunk_size_line(struct http1 *h)
{
	uint64_t n = 0;
	size_t i;
	int d;

	for (i = 0; i < h->line_len && (d = hex_digit(h->line[i])) >= 0; i++) {
		if (i >= CHUNK_DIGITS_MAX)
			return "bad chunk size";
		n = n << 4 | (uint64_t)d;
	}
	if (!i || (i < h->line_len && h->line[i] != ';' && !is_blank(h->line[i])))
		return "bad chunk size";
	h->left = n;
	h->state = n ? HTTP1_CHUNK_DATA : HTTP1_TRAILER;
	return NULL;
}

/* A line is whole, without its end. */
static const char *take_line(struct http1 *h)
{
	switch (h->state) {
	case HTTP1_STATUS_LINE:
		return status_line(h);
	case HTTP1_HEADER:
		return h->line_len ? header_line(h) : header_end(h);
	case HTTP1_CHUNK_SIZE:
		return chunk_size_line(h);
	case HTTP1_CHUNK_END:
		h->state = HTTP1_CHUNK_SIZE;
		return h->line_len ? "bad chunk end" : NULL;
	case HTTP1_TRAILER:
		if (!h->line_len)
			h->state = HTTP1_DONE;
		return NULL;
	default:
		assert(!"a line where there is none");
		return "";
	}
}

static void keep_line(struct http1 *h, const char *buf, size_t len)
{
	size_t room = sizeof(h->line) - h->line_len;

	if (len > room) {
		h->line_cut = true;
		len = room;
	}
	memcpy(h->line + h->line_len, buf, len);
	h->line_len = (uint16_t)(h->line_len + len);
}

/* What cannot become a status line is refused before its end, which may never come. */
static bool hopeless(const struct http1 *h)
{
	size_t n = h->line_len < 7 ? h->line_len : 7;

	return h->state == HTTP1_STATUS_LINE && memcmp(h->line, "HTTP/1.", n) != 0;
}

/* Between the pieces of a chunked body, of which there may be many. */
static bool in_chunks(const struct http1 *h)
{
	return h->state == HTTP1_CHUNK_SIZE || h->state == HTTP1_CHUNK_END;
}

/* Takes bytes up to the end of the line. Returns how many; *ret_error is set if they are bad. */
static size_t feed_line(struct http1 *h, const char *buf, size_t len, const char **ret_error)
{
	const char *end = memchr(buf, '\n', len);
	size_t n = end ? (size_t)(end - buf) : len;

	keep_line(h, buf, n);
	if (hopeless(h)) {
		*ret_error = "no HTTP/1 status line";
		return n;
	}
	if (h->line_cut && in_chunks(h)) {
		*ret_error = "chunk size line too long";
		return n;
	}
	if (!end)
		return n;
	if (h->line_len && !h->line_cut && h->line[h->line_len - 1] == '\r')
		h->line_len--;
	*ret_error = take_line(h);
	h->line_len = 0;
	h->line_cut = false;
	return n + 1;
}

static bool in_body(const struct http1 *h)
{
	return h->state == HTTP1_BODY_LENGTH || h->state == HTTP1_BODY_CLOSE ||
	       h->state == HTTP1_CHUNK_DATA;
}

/* Returns how many bytes of buf are body. */
static size_t feed_body(struct http1 *h, size_t len)
{
	h->body_bytes += len;
	if (h->state == HTTP1_BODY_CLOSE)
		return len;
	if (len > h->left) {
		h->body_bytes -= len - h->left;
		len = (size_t)h->left;
	}
	h->left -= len;
	if (!h->left)
		h->state = h->state == HTTP1_CHUNK_DATA ? HTTP1_CHUNK_END : HTTP1_DONE;
	return len;
}

enum http1_result http1_feed(struct http1 *h, const char *buf, size_t len,
			     const struct http1_limits *limits,
			     int (*on_body)(void *userdata, const char *buf, size_t len),
			     void *userdata, size_t *ret_used, const char **ret_error)
{
	size_t at = 0, n;
	bool counts;

	assert(h->state >= HTTP1_STATUS_LINE && h->state < HTTP1_DONE);
	while (at < len && h->state != HTTP1_DONE) {
		if (in_body(h)) {
			n = feed_body(h, len - at);
			if (on_body(userdata, buf + at, n) < 0)
				return HTTP1_STOPPED;
			at += n;
			continue;
		}
		*ret_error = NULL;
		counts = !in_chunks(h);
		n = feed_line(h, buf + at, len - at, ret_error);
		if (*ret_error)
			return HTTP1_BAD;
		at += n;
		h->header_bytes += counts ? n : 0;
		if (h->header_bytes > limits->header_max)
			return HTTP1_TOO_LONG;
		if (h->state == HTTP1_BODY_LENGTH && h->length > limits->body_max)
			return HTTP1_TOO_BIG;
	}
	*ret_used = at;
	return h->state == HTTP1_DONE ? HTTP1_COMPLETE : HTTP1_MORE;
}

bool http1_closed(struct http1 *h)
{
	if (h->state != HTTP1_BODY_CLOSE)
		return false;
	h->state = HTTP1_DONE;
	return true;
}

bool http1_framed(const struct http1 *h)
{
	return h->chunked || h->has_length || h->status == 204 || h->status == 304;
}
