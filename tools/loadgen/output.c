// SPDX-License-Identifier: BSD-2-Clause
#include "tools/loadgen/output.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "userspace/lib/log.h"

#define DUMP_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(16))

static int open_file(const char *path, FILE **ret)
{
	if (!path)
		return 0;
	*ret = strcmp(path, "-") ? fopen(path, "we") : stdout;
	if (!*ret) {
		log_error("%s: %s", path, strerror(errno));
		return -errno;
	}
	setvbuf(*ret, NULL, _IOLBF, 0);
	return 0;
}

int output_open(struct output *out, const struct options *o)
{
	int r;

	memset(out, 0, sizeof(*out));
	r = open_file(o->progress, &out->progress);
	if (r < 0)
		return r;
	r = open_file(o->events, &out->events);
	if (r < 0)
		return r;
	r = open_file(o->series, &out->series);
	if (r < 0)
		return r;
	return open_file(o->json, &out->report);
}

static void close_file(FILE **f)
{
	if (*f && *f != stdout && fclose(*f))
		log_error("writing a log of the run: %s", strerror(errno));
	*f = NULL;
}

void output_close(struct output *out)
{
	close_file(&out->progress);
	close_file(&out->events);
	close_file(&out->series);
	close_file(&out->report);
}

void output_address(const struct sockaddr_storage *ss, char *buf, size_t size)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
	const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
	char addr[INET6_ADDRSTRLEN] = "";

	if (ss->ss_family == AF_INET) {
		inet_ntop(AF_INET, &in->sin_addr, addr, sizeof(addr));
		snprintf(buf, size, "%s:%u", addr, ntohs(in->sin_port));
	} else if (ss->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, addr, sizeof(addr));
		snprintf(buf, size, "[%s]:%u", addr, ntohs(in6->sin6_port));
	} else {
		snprintf(buf, size, "?");
	}
}

/* Takes the object; a line that cannot be written is lost. */
static void write_line(FILE *f, json_t *object)
{
	char *text = object ? json_dumps(object, DUMP_FLAGS) : NULL;

	if (text)
		fprintf(f, "%s\n", text);
	free(text);
	json_decref(object);
}

static double seconds_of(uint64_t us)
{
	return (double)us / 1e6;
}

static json_t *end_json(const struct output_end *e)
{
	char local[INET6_ADDRSTRLEN + 10];
	json_t *o;

	output_address(e->local, local, sizeof(local));
	o = json_pack("{s:f,s:f,s:f,s:s,s:s,s:b,s:s,s:s,s:i,s:I,s:f,s:f}", "t",
		      seconds_of(e->started.mono_us), "wall", seconds_of(e->started.wall_us),
		      "t_end", seconds_of(e->ended.mono_us), "local", local, "backend", e->backend,
		      "ok", e->cause == CAUSE_OK, "cause", check_cause_name(e->cause), "stage",
		      stats_stage_name(e->stage), "status", e->status, "tokens",
		      (json_int_t)e->tokens, "age_s",
		      seconds_of(e->ended.mono_us - e->started.mono_us), "silent_s",
		      seconds_of(e->silent_us));
	if (!*e->backend)
		json_object_set_new(o, "backend", json_null());
	return o;
}

void output_end(struct output *out, const struct output_end *end)
{
	if (out->series)
		write_line(out->series, end_json(end));
	if (out->events && end->cause != CAUSE_OK)
		write_line(out->events, end_json(end));
}

void output_progress(struct output *out, const struct stats *s, struct output_time now)
{
	json_t *o;

	if (!out->progress)
		return;
	o = stats_progress(s);
	json_object_set_new(o, "t", json_real(seconds_of(now.mono_us)));
	json_object_set_new(o, "wall", json_real(seconds_of(now.wall_us)));
	write_line(out->progress, o);
}

static const char *mode_name(enum options_mode mode)
{
	switch (mode) {
	case MODE_SPREAD:
		return "spread";
	case MODE_STEADY:
		return "steady";
	case MODE_STREAM:
		return "stream";
	}
	return "?";
}

static json_t *urls_json(const struct options *o)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < o->n_targets; i++)
		json_array_append_new(list, json_string(o->targets[i].url));
	return list;
}

static int write_report(FILE *f, const json_t *report)
{
	if (!report || json_dumpf(report, f, JSON_INDENT(1) | JSON_REAL_PRECISION(15)) < 0 ||
	    fputc('\n', f) == EOF || fflush(f))
		return -EIO;
	return 0;
}

int output_report(struct output *out, const struct options *o, const struct stats *s,
		  double seconds, bool interrupted, struct output_time start)
{
	json_t *report;
	int r;

	if (!out->report)
		return 0;
	report = json_pack("{s:s,s:o,s:f,s:b,s:f,s:f}", "mode", mode_name(o->mode), "urls",
			   urls_json(o), "seconds", seconds, "interrupted", interrupted, "t",
			   seconds_of(start.mono_us), "wall", seconds_of(start.wall_us));
	json_object_update_new(report, stats_report(s));
	r = write_report(out->report, report);
	if (r < 0)
		log_error("%s: %s", o->json, strerror(-r));
	json_decref(report);
	return r;
}

static bool stdout_taken(const struct options *o)
{
	const char *files[] = {o->json, o->progress, o->events, o->series};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (files[i] && !strcmp(files[i], "-"))
			return true;
	return false;
}

static void print_backends(FILE *f, const struct stats *s)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < s->n_backends; i++)
		total += s->backends[i].started;
	for (uint32_t i = 0; i < s->n_backends; i++) {
		const struct stats_backend *b = &s->backends[i];

		fprintf(f, "  %-16s %9" PRIu64 "  %5.1f %%", b->name, b->started,
			total ? 100.0 * (double)b->started / (double)total : 0.0);
		if (b->broken)
			fprintf(f, "  %" PRIu64 " broken", b->broken);
		fputc('\n', f);
	}
}

static void print_causes(FILE *f, const struct stats *s)
{
	for (int i = CAUSE_OK + 1; i < CAUSE_N; i++)
		if (s->causes[i])
			fprintf(f, "  %-16s %9" PRIu64 "\n", check_cause_name((enum check_cause)i),
				s->causes[i]);
}

void output_summary(const struct options *o, const struct stats *s, double seconds,
		    bool interrupted)
{
	FILE *f = stdout_taken(o) ? stderr : stdout;

	if (o->quiet)
		return;
	fprintf(f,
		"%s %s%s: %" PRIu64 " connections in %.1f s%s: %" PRIu64 " correct, %" PRIu64
		" failed, %" PRIu64 " broken, %" PRIu64 " cut at the end\n",
		mode_name(o->mode), o->targets[0].url, o->n_targets > 1 ? " ..." : "", s->started,
		seconds, interrupted ? " (interrupted)" : "", s->completed, s->failed, s->broken,
		s->unfinished);
	print_backends(f, s);
	print_causes(f, s);
}
