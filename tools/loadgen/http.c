// SPDX-License-Identifier: BSD-2-Clause
#include "tools/loadgen/http.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

void http_init(struct http_reader *r)
{
	memset(r, 0, sizeof(*r));
	r->state = HTTP_STATUS_LINE;
}

/*
 * Collect a line in r->line, without its end. Returns true when it is complete; the caller then
 * resets line_len and line_cut.
 */
static bool take_line(struct http_reader *r, const char *data, size_t len, size_t *ret_used)
{
	const char *end = memchr(data, '\n', len);
	size_t n = end ? (size_t)(end - data) : len;
	size_t room = sizeof(r->line) - 1 - r->line_len;

	*ret_used = end ? n + 1 : n;
	if (n > room) {
		n = room;
		r->line_cut = true;
	}
	memcpy(r->line + r->line_len, data, n);
	r->line_len = (uint16_t)(r->line_len + n);
	if (!end)
		return false;
	if (r->line_len && r->line[r->line_len - 1] == '\r')
		r->line_len--;
	r->line[r->line_len] = '\0';
	return true;
}

/* Digits only, in base 10 or 16. Returns the number of digits; 0: none, or too large. */
static size_t read_digits(const char *s, int base, uint64_t *ret)
{
	uint64_t value = 0;
	size_t n = 0;

	for (; isxdigit((unsigned char)s[n]); n++) {
		int c = tolower((unsigned char)s[n]);
		int digit = isdigit(c) ? c - '0' : c - 'a' + 10;

		if (digit >= base)
			break;
		if (value >> 58)
			return 0;
		value = value * (uint64_t)base + (uint64_t)digit;
	}
	*ret = value;
	return n;
}

static int status_line(struct http_reader *r)
{
	uint64_t status;

	if (strncmp(r->line, "HTTP/1.", 7) || !isdigit((unsigned char)r->line[7]) ||
	    r->line[8] != ' ')
		return -EPROTO;
	if (read_digits(r->line + 9, 10, &status) != 3)
		return -EPROTO;
	r->status = (int)status;
	r->state = HTTP_HEADERS;
	return 0;
}

/* The headers that a test server adds. */
static int own_header(struct http_reader *r, const char *name, const char *value)
{
	uint64_t port;

	if (!strcasecmp(name, "x-backend")) {
		if (strlen(value) > HTTP_BACKEND_MAX)
			return -EPROTO;
		strcpy(r->backend, value);
	} else if (!strcasecmp(name, "x-peer-address")) {
		if (strlen(value) > HTTP_PEER_MAX)
			return -EPROTO;
		strcpy(r->peer, value);
	} else if (!strcasecmp(name, "x-peer-port")) {
		if (!read_digits(value, 10, &port) || port > UINT16_MAX)
			return -EPROTO;
		r->peer_port = (uint16_t)port;
	}
	return 0;
}

static int header(struct http_reader *r)
{
	char *colon = strchr(r->line, ':');
	char *value;

	if (!colon || colon == r->line || ++r->n_headers > HTTP_HEADERS_MAX)
		return -EPROTO;
	*colon = '\0';
	value = colon + 1 + strspn(colon + 1, " \t");
	if (!strcasecmp(r->line, "content-length")) {
		r->has_length = true;
		if (r->line_cut || !read_digits(value, 10, &r->left))
			return -EPROTO;
	} else if (!strcasecmp(r->line, "transfer-encoding")) {
		r->chunked = !strcasecmp(value, "chunked");
		if (!r->chunked)
			return -EPROTO;
	}
	return own_header(r, r->line, value);
}

/* The empty line was read: what follows? */
static void start_body(struct http_reader *r)
{
	if (r->status == 204 || r->status == 304)
		r->state = HTTP_COMPLETE;
	else if (r->chunked)
		r->state = HTTP_CHUNK_SIZE;
	else if (!r->has_length)
		r->state = HTTP_BODY_CLOSE;
	else
		r->state = r->left ? HTTP_BODY_LENGTH : HTTP_COMPLETE;
}

static int chunk_size(struct http_reader *r)
{
	size_t n = read_digits(r->line, 16, &r->left);

	if (!n || (r->line[n] && r->line[n] != ';' && r->line[n] != ' '))
		return -EPROTO;
	r->state = r->left ? HTTP_CHUNK_DATA : HTTP_TRAILERS;
	return 0;
}

/* A complete line is in r->line. Returns HTTP_MORE, HTTP_HEAD, HTTP_END or -EPROTO. */
static int line(struct http_reader *r)
{
	int res = 0;

	switch (r->state) {
	case HTTP_STATUS_LINE:
		res = status_line(r);
		break;
	case HTTP_HEADERS:
		if (r->line_len) {
			res = header(r);
			break;
		}
		if (r->status / 100 == 1) { /* an interim answer: the true one follows */
			http_init(r);
			break;
		}
		start_body(r);
		return HTTP_HEAD;
	case HTTP_CHUNK_SIZE:
		res = chunk_size(r);
		break;
	case HTTP_CHUNK_END:
		if (r->line_len)
			return -EPROTO;
		r->state = HTTP_CHUNK_SIZE;
		break;
	default: /* HTTP_TRAILERS */
		if (!r->line_len) {
			r->state = HTTP_COMPLETE;
			return HTTP_END;
		}
		break;
	}
	return res < 0 ? res : HTTP_MORE;
}

static int body(struct http_reader *r, const char *data, size_t len, size_t *ret_used,
		const char **ret_body, size_t *ret_body_len)
{
	size_t n = len;

	if (r->state != HTTP_BODY_CLOSE) {
		if (n > r->left)
			n = (size_t)r->left;
		r->left -= n;
		if (!r->left)
			r->state = r->state == HTTP_CHUNK_DATA ? HTTP_CHUNK_END : HTTP_COMPLETE;
	}
	*ret_used = n;
	*ret_body = data;
	*ret_body_len = n;
	return HTTP_BODY;
}

int http_read(struct http_reader *r, const char *data, size_t len, size_t *ret_used,
	      const char **ret_body, size_t *ret_body_len)
{
	size_t used = 0;
	int res;

	for (;;) {
		size_t n = 0;

		*ret_used = used;
		if (r->state == HTTP_COMPLETE)
			return HTTP_END;
		if (used == len)
			return HTTP_MORE;
		if (r->state == HTTP_BODY_LENGTH || r->state == HTTP_BODY_CLOSE ||
		    r->state == HTTP_CHUNK_DATA) {
			res = body(r, data + used, len - used, &n, ret_body, ret_body_len);
			*ret_used = used + n;
			return res;
		}
		res = take_line(r, data + used, len - used, &n) ? line(r) : 0;
		used += n;
		*ret_used = used;
		if (!res)
			return HTTP_MORE;
		r->line_len = 0;
		r->line_cut = false;
		if (res != HTTP_MORE)
			return res;
	}
}

bool http_eof(struct http_reader *r)
{
	if (r->state == HTTP_BODY_CLOSE)
		r->state = HTTP_COMPLETE;
	return r->state == HTTP_COMPLETE;
}
