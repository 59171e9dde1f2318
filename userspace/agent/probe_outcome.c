/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/probe_outcome.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "userspace/lib/cleanup.h"

static const char *const names[PROBE_OUTCOME_N] = {
	[PROBE_PASS] = "pass",
	[PROBE_FAIL_STATUS] = "bad status",
	[PROBE_REFUSED] = "refused",
	[PROBE_UNREACHABLE] = "unreachable",
	[PROBE_CONNECT_TIMEOUT] = "connect timeout",
	[PROBE_TIMEOUT] = "timeout",
	[PROBE_RESET] = "reset",
	[PROBE_TRUNCATED] = "truncated",
	[PROBE_TOO_BIG] = "too big",
	[PROBE_BAD_RESPONSE] = "bad response",
	[PROBE_BAD_BODY] = "bad body",
	[PROBE_TLS] = "tls",
	[PROBE_LOCAL] = "local",
};

const char *probe_outcome_name(enum probe_outcome outcome)
{
	if ((unsigned int)outcome >= PROBE_OUTCOME_N || !names[outcome])
		return "?";
	return names[outcome];
}

/* err: positive errno of connect() or SO_ERROR, ETIMEDOUT if it took too long; 0: connected. */
static enum probe_outcome outcome_of_connect(int err)
{
	switch (err) {
	case 0:
		return PROBE_PASS;
	case ECONNREFUSED:
		return PROBE_REFUSED;
	case ETIMEDOUT:
		return PROBE_CONNECT_TIMEOUT;
	case ECONNRESET:
	case EPIPE:
		return PROBE_RESET;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETDOWN:
	case ENONET:
	case EACCES: /* a "prohibit" route or ICMP's administratively prohibited */
	case EPERM:  /* a packet filter on the way out */
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT: /* ICMP protocol unreachable */
		return PROBE_UNREACHABLE;
	default: /* EMFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EAGAIN (no local port) … */
		return PROBE_LOCAL;
	}
}

/* Only the loop's being held up makes a timeout this host's own. */
static bool timed_out(const struct probe_facts *f)
{
	return f->code == CURLE_OPERATION_TIMEDOUT ||
	       (f->code == CURLE_COULDNT_CONNECT && f->os_errno == ETIMEDOUT);
}

/* Codes of libcurl that need no second look. */
static const struct {
	CURLcode code;
	enum probe_outcome outcome;
} fixed[] = {
	{CURLE_GOT_NOTHING, PROBE_RESET},
	{CURLE_PARTIAL_FILE, PROBE_TRUNCATED},
	{CURLE_FILESIZE_EXCEEDED, PROBE_TOO_BIG},
	{CURLE_UNSUPPORTED_PROTOCOL, PROBE_BAD_RESPONSE}, /* HTTP/0.9, or another protocol */
	{CURLE_WEIRD_SERVER_REPLY, PROBE_BAD_RESPONSE},
	{CURLE_HTTP2, PROBE_BAD_RESPONSE},
	{CURLE_HTTP2_STREAM, PROBE_BAD_RESPONSE},
	{CURLE_BAD_CONTENT_ENCODING, PROBE_BAD_RESPONSE},
	{CURLE_TOO_MANY_REDIRECTS, PROBE_BAD_RESPONSE},
	{CURLE_PEER_FAILED_VERIFICATION, PROBE_TLS},
	{CURLE_SSL_ISSUER_ERROR, PROBE_TLS},
	{CURLE_SSL_INVALIDCERTSTATUS, PROBE_TLS},
	{CURLE_SSL_CLIENTCERT, PROBE_TLS},
	{CURLE_SSL_SHUTDOWN_FAILED, PROBE_TLS},
};

/* The connection ended or failed while it was used. */
static enum probe_outcome outcome_broken(const struct probe_facts *f)
{
	enum probe_outcome o;

	if (f->os_errno == 0)
		/* What came was no HTTP (a chunk size, say); or nothing came. */
		return f->header_bytes ? PROBE_BAD_RESPONSE : PROBE_RESET;
	o = outcome_of_connect(f->os_errno);
	if (o == PROBE_LOCAL || o == PROBE_REFUSED)
		o = PROBE_RESET;
	if (o == PROBE_RESET && f->header_bytes)
		o = PROBE_TRUNCATED;
	return o;
}

enum probe_outcome probe_outcome_http(const struct probe_facts *f)
{
	size_t i;

	switch (f->code) {
	case CURLE_OK:
		return f->status_expected ? PROBE_PASS : PROBE_FAIL_STATUS;
	case CURLE_WRITE_ERROR:
		return f->stop ? f->stop : PROBE_BAD_RESPONSE;
	case CURLE_COULDNT_CONNECT:
		if (f->local || !f->os_errno)
			return PROBE_LOCAL;
		if (f->os_errno == ETIMEDOUT && f->stalled)
			return PROBE_LOCAL;
		return outcome_of_connect(f->os_errno);
	case CURLE_OPERATION_TIMEDOUT:
		if (f->stalled)
			return PROBE_LOCAL;
		return f->silent ? PROBE_CONNECT_TIMEOUT : PROBE_TIMEOUT;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
		return outcome_broken(f);
	case CURLE_SSL_CONNECT_ERROR:
		return f->os_errno ? outcome_broken(f) : PROBE_TLS;
	case CURLE_OUT_OF_MEMORY:
		/* libcurl's word for a header line over its limit, too. */
		return f->connected ? PROBE_BAD_RESPONSE : PROBE_LOCAL;
	default:
		break;
	}
	for (i = 0; i < ARRAY_SIZE(fixed); i++)
		if (fixed[i].code == f->code)
			return fixed[i].outcome;
	/* Certificates and keys of ours that cannot be read, and what cannot happen. */
	return PROBE_LOCAL;
}

static void printable(char *s)
{
	for (; *s; s++)
		if (*s < 0x20 || *s > 0x7e)
			*s = '?';
}

static const char *reason(const struct probe_facts *f)
{
	if (f->error && f->error[0])
		return f->error;
	if (f->os_errno)
		return strerrordesc_np(f->os_errno) ?: "unknown error";
	return curl_easy_strerror(f->code);
}

void probe_outcome_explain(enum probe_outcome outcome, const struct probe_facts *f,
			   char ret_cause[PROBE_CAUSE_MAX])
{
	char *s = ret_cause;
	const size_t n = PROBE_CAUSE_MAX;

	s[0] = '\0';
	switch (outcome) {
	case PROBE_PASS:
		break;
	case PROBE_FAIL_STATUS:
		snprintf(s, n, "status %u", f->http_status);
		break;
	case PROBE_REFUSED:
		snprintf(s, n, "connection refused");
		break;
	case PROBE_UNREACHABLE:
		snprintf(s, n, "unreachable: %s", strerrordesc_np(f->os_errno) ?: "no route");
		break;
	case PROBE_CONNECT_TIMEOUT:
		snprintf(s, n, "nothing acknowledged within %" PRId64 " ms",
			 f->connect_timeout_ms < f->timeout_ms ? f->connect_timeout_ms
							       : f->timeout_ms);
		break;
	case PROBE_TIMEOUT:
		snprintf(s, n,
			 "connected, but no whole answer within %" PRId64 " ms (%" PRIu64
			 " bytes came)",
			 f->timeout_ms, f->header_bytes + f->body_bytes);
		break;
	case PROBE_RESET:
		snprintf(s, n, "connected, but closed without an answer");
		break;
	case PROBE_TRUNCATED:
		snprintf(s, n, "answer cut off after %" PRIu64 " bytes",
			 f->header_bytes + f->body_bytes);
		break;
	case PROBE_TOO_BIG:
		snprintf(s, n, "body over %zu bytes", f->body_max);
		break;
	case PROBE_BAD_RESPONSE:
		snprintf(s, n, "not a usable HTTP answer: %s", reason(f));
		break;
	case PROBE_BAD_BODY:
		snprintf(s, n, "body not understood");
		break;
	case PROBE_TLS:
		snprintf(s, n, "TLS: %s", reason(f));
		break;
	case PROBE_LOCAL:
		snprintf(s, n, "on this host: %s",
			 timed_out(f) ? "held up during the probe" : reason(f));
		break;
	case PROBE_OUTCOME_N:
		break;
	}
	printable(s);
}
