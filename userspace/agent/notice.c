/* SPDX-License-Identifier: BSD-2-Clause */
#include "userspace/agent/notice.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "userspace/agent/health.h"

static const char *const words[NOTICE_N] = {
	[NOTICE_STATE] = "changes of state",
	[NOTICE_NO_LOAD] = "pages of metrics that fail",
	[NOTICE_LOAD] = "pages of metrics that are there again",
	[NOTICE_UNMATCHED] = "expressions that never matched",
	[NOTICE_NOT_ASKED] = "checks that this host could not make",
	[NOTICE_NO_ROUTE] = "nodes that packets do not reach",
	[NOTICE_ADDED] = "nodes added",
	[NOTICE_REMOVED] = "nodes removed",
	[NOTICE_NAMED] = "nodes that discovery names again",
	[NOTICE_UNNAMED] = "nodes that discovery no longer names",
	[NOTICE_UNFIT] = "targets of discovery that are left out",
	[NOTICE_CUT] = "nodes whose remaining flows are reset",
	[NOTICE_GONE] = "removed nodes of which nothing is left",
};

/* Whether one more line may be written. */
static bool take_line(struct notices *n, enum notice_kind kind, int64_t now_ms)
{
	assert(kind > 0 && kind < NOTICE_N);
	/* What was not written yet of the second before is told first, by notice_step(). */
	if (!n->more[kind] && now_ms - n->begin_ms[kind] >= NOTICE_SPAN_MS) {
		n->begin_ms[kind] = now_ms;
		n->lines[kind] = 0;
	}
	if (n->lines[kind] < NOTICE_LINES) {
		n->lines[kind]++;
		return true;
	}
	n->more[kind]++;
	return false;
}

void notice(struct notices *n, enum notice_kind kind, int64_t now_ms, enum log_level level,
	    const char *fmt, ...)
{
	va_list ap;

	if (!take_line(n, kind, now_ms))
		level = LOG_LEVEL_DEBUG;
	va_start(ap, fmt);
	log_writev(level, fmt, ap);
	va_end(ap);
}

void notice_change(struct notices *n, enum lb_state from, enum lb_state to, int64_t now_ms,
		   enum log_level level, const char *fmt, ...)
{
	va_list ap;

	assert(from < NOTICE_STATES && to < NOTICE_STATES);
	if (!take_line(n, NOTICE_STATE, now_ms)) {
		n->changes[from][to]++;
		level = LOG_LEVEL_DEBUG;
	}
	va_start(ap, fmt);
	log_writev(level, fmt, ap);
	va_end(ap);
}

/* "480 healthy -> unhealthy, 3 unhealthy -> warming" */
static void describe_changes(const struct notices *n, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (int from = 0; from < NOTICE_STATES; from++)
		for (int to = 0; to < NOTICE_STATES; to++)
			if (n->changes[from][to] && len < size)
				len += (size_t)snprintf(buf + len, size - len, "%s%u %s -> %s",
							len ? ", " : "", n->changes[from][to],
							health_state_name(from),
							health_state_name(to));
}

static void sum_up(struct notices *n, enum notice_kind kind, const char *pool)
{
	enum log_level level = LOG_LEVEL_INFO;
	const char *of = pool ? "pool " : "", *colon = pool ? ": " : "";
	char text[1024];

	if (!pool)
		pool = "";
	if (kind == NOTICE_STATE) {
		describe_changes(n, text, sizeof(text));
		for (int from = 0; from < NOTICE_STATES; from++)
			if (n->changes[from][LB_STATE_UNHEALTHY])
				level = LOG_LEVEL_WARN;
		log_write(level, "%s%s%sand %u more changes of state: %s", of, pool, colon,
			  n->more[kind], text);
		memset(n->changes, 0, sizeof(n->changes));
	} else {
		log_info("%s%s%sand %u more %s", of, pool, colon, n->more[kind], words[kind]);
	}
	n->more[kind] = 0;
}

void notice_step(struct notices *n, const char *pool, int64_t now_ms)
{
	for (enum notice_kind kind = 1; kind < NOTICE_N; kind++)
		if (n->more[kind] && now_ms - n->begin_ms[kind] >= NOTICE_SPAN_MS)
			sum_up(n, kind, pool);
}
