// SPDX-License-Identifier: BSD-2-Clause
/* loadgen: options -> paced connections -> a report. Holds the loop, the clocks and the signals. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tools/loadgen/client.h"
#include "tools/loadgen/options.h"
#include "tools/loadgen/output.h"
#include "userspace/lib/log.h"

#define SPARE_FDS   64
#define BURST_MAX   256  /* connections opened between two looks at the events */
#define CREDIT_S    0.05 /* how much of the rate may be caught up after a pause */
#define PROGRESS_US 1000000ULL
#define WAIT_MAX_US 250000ULL /* also how late a signal may be seen */

struct run {
	const struct options *options;
	struct stats *stats;
	struct client client;
	struct output output;
	struct output_time start;
	uint64_t paced_us;    /* when credit was last brought up to date */
	uint64_t opening_us;  /* the last time that connections could be opened */
	uint64_t progress_us; /* when the next line is due */
	double credit;        /* connections that the rate allows now */
};

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t no_more;

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		no_more = 1;
	else
		interrupted = 1;
}

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static struct output_time now_both(void)
{
	return (struct output_time){read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_REALTIME)};
}

static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int raise_files(uint32_t concurrency)
{
	rlim_t want = (rlim_t)concurrency + SPARE_FDS;
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return -errno;
	if (lim.rlim_cur >= want)
		return 0;
	lim.rlim_cur = want;
	if (lim.rlim_max < want)
		lim.rlim_max = want;
	if (setrlimit(RLIMIT_NOFILE, &lim) < 0) {
		log_error(
			"--concurrency %u needs %llu open files, which this user may not have: %s",
			concurrency, (unsigned long long)want, strerror(errno));
		return -errno;
	}
	return 0;
}

static double seconds_since(const struct run *r, uint64_t now_us)
{
	return (double)(now_us - r->start.mono_us) / 1e6;
}

static bool opening_over(const struct run *r, uint64_t now_us)
{
	return no_more || r->stats->started >= r->options->count ||
	       seconds_since(r, now_us) >= r->options->duration_s;
}

/* Let the rate's credit grow with time, up to a bound. Without a rate there is no end of it. */
static void pace(struct run *r, uint64_t now_us)
{
	double rate = r->options->rate;
	double most = fmax(1.0, rate * CREDIT_S);

	if (rate <= 0) {
		r->credit = BURST_MAX;
		return;
	}
	r->credit += (double)(now_us - r->paced_us) / 1e6 * rate;
	r->paced_us = now_us;
	if (r->credit > most)
		r->credit = most;
}

/* Starts that the rate asked for and that did not happen, for want of concurrency or of time. */
static void count_behind(struct run *r)
{
	const struct options *o = r->options;
	double seconds = fmin(seconds_since(r, r->opening_us), o->duration_s);
	double due = fmin(floor(seconds * o->rate), (double)o->count);

	if (o->mode != MODE_STREAM && due > (double)r->stats->started)
		r->stats->behind = (uint64_t)due - r->stats->started;
}

static void open_due(struct run *r, struct output_time now)
{
	const struct options *o = r->options;

	for (int i = 0; i < BURST_MAX && r->credit >= 1.0; i++) {
		if (r->stats->active >= o->concurrency || r->stats->started >= o->count)
			return;
		client_open(&r->client, now);
		r->credit -= 1.0;
	}
}

static bool can_open(const struct run *r, uint64_t now_us)
{
	return !opening_over(r, now_us) && r->stats->active < r->options->concurrency;
}

/* Milliseconds until something is due, rounded up. */
static int wait_ms(const struct run *r, uint64_t now_us, uint64_t deadline_us)
{
	uint64_t wait = WAIT_MAX_US;

	if (deadline_us > now_us && deadline_us - now_us < wait)
		wait = deadline_us - now_us;
	if (r->progress_us > now_us && r->progress_us - now_us < wait)
		wait = r->progress_us - now_us;
	if (can_open(r, now_us)) {
		bool now = r->credit >= 1.0 || r->options->rate <= 0;
		double us = now ? 0 : (1.0 - r->credit) / r->options->rate * 1e6;

		if (us < (double)wait)
			wait = (uint64_t)us;
	}
	return (int)((wait + 999) / 1000);
}

static void tick(struct run *r, struct output_time now)
{
	if (now.mono_us < r->progress_us)
		return;
	output_progress(&r->output, r->stats, now);
	r->progress_us += PROGRESS_US;
	if (r->progress_us <= now.mono_us)
		r->progress_us = now.mono_us + PROGRESS_US;
}

static bool finished(const struct run *r, uint64_t now_us)
{
	const struct options *o = r->options;

	if (interrupted)
		return true;
	if (opening_over(r, now_us) && !r->stats->active)
		return true;
	return seconds_since(r, now_us) >= o->duration_s + o->grace_s;
}

static void loop(struct run *r)
{
	struct output_time now = now_both();

	r->start = now;
	r->paced_us = now.mono_us;
	r->opening_us = now.mono_us;
	r->progress_us = now.mono_us + PROGRESS_US;
	r->credit = 1.0;
	while (!finished(r, now.mono_us)) {
		uint64_t deadline;

		if (!opening_over(r, now.mono_us)) {
			r->opening_us = now.mono_us;
			pace(r, now.mono_us);
			open_due(r, now);
		}
		deadline = client_expire(&r->client, now);
		client_wait(&r->client, wait_ms(r, now.mono_us, deadline), now_both);
		now = r->client.now;
		tick(r, now);
	}
	if (!no_more && !interrupted)
		r->opening_us = now.mono_us;
	count_behind(r);
}

static int report(struct run *r)
{
	const struct stats *s = r->stats;
	struct output_time now = now_both();
	double seconds = seconds_since(r, now.mono_us);

	output_progress(&r->output, s, now);
	output_summary(r->options, s, seconds, interrupted);
	if (output_report(&r->output, r->options, s, seconds, interrupted, r->start) < 0)
		return 3;
	return s->failed + s->broken > r->options->allow ? 1 : 0;
}

static int run(const struct options *o)
{
	struct run *r = calloc(1, sizeof(*r));
	struct stats *s = calloc(1, sizeof(*s));
	int status = 3;
	int err;

	if (!r || !s) {
		log_error("out of memory");
		goto out;
	}
	r->options = o;
	r->stats = s;
	r->client.epoll_fd = -1;
	if (raise_files(o->concurrency) < 0 || output_open(&r->output, o) < 0)
		goto out;
	err = client_init(&r->client, o, s, &r->output);
	if (err < 0) {
		log_error("epoll: %s", strerror(-err));
		goto out;
	}
	loop(r);
	client_fini(&r->client);
	status = report(r);
out:
	if (r)
		output_close(&r->output);
	free(s);
	free(r);
	return status;
}

int main(int argc, char **argv)
{
	struct options *o = calloc(1, sizeof(*o));
	int status = 2;

	if (!o) {
		log_error("out of memory");
		return 3;
	}
	if (options_read(o, argc, argv) >= 0) {
		if (o->help) {
			fputs(options_help, stdout);
			status = 0;
		} else {
			catch_signals();
			status = run(o);
		}
	}
	free(o);
	return status;
}
