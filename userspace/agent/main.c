// SPDX-License-Identifier: BSD-2-Clause
/* sluiced: options, the configuration, an orderly start and stop. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "maps/abi.h"
#include "userspace/agent/agent.h"
#include "userspace/agent/control.h"
#include "userspace/agent/export_server.h"
#include "userspace/agent/loop.h"
#include "userspace/agent/privileges.h"
#include "userspace/agent/version.h"
#include "userspace/lib/log.h"

#define DEFAULT_CONFIG "/etc/sluice/sluice.yaml"
#define FILES_WANTED   65536

struct options {
	const char *config;
	bool check_only;
	bool debug;
	bool keep_privileges;
	bool restart_to_repair;
};

static void usage(FILE *out)
{
	fprintf(out,
		"Usage: sluiced [--config FILE] [--check] [--debug] [--keep-privileges]\n"
		"               [--restart-to-repair]\n"
		"\n"
		"The agent of Sluice: checks nodes, keeps the tables of the packet path.\n"
		"Stopping it does not stop forwarding; 'sluicectl detach' does.\n"
		"\n"
		"  -c, --config FILE  configuration (default " DEFAULT_CONFIG ")\n"
		"      --check        read the configuration, say what is wrong with it, and end\n"
		"      --debug        log more\n"
		"      --keep-privileges\n"
		"                     stay root, with every system call, for debuggers and tracers;\n"
		"                     otherwise what is not needed is given up after the start\n"
		"      --restart-to-repair\n"
		"                     end with status 1 when only root can attach the packet program\n"
		"                     again: whoever runs this starts it again when it fails\n"
		"      --version\n"
		"  -h, --help\n"
		"\n"
		"Signals: SIGHUP reloads the configuration, SIGTERM and SIGINT stop the agent.\n");
}

/* Returns 0 to go on, 1 to end well, -EINVAL. */
static int parse_options(int argc, char **argv, struct options *opt)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
		{"debug", no_argument, NULL, 'd'},	  {"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},	  {"keep-privileges", no_argument, NULL, 'p'},
		{"restart-to-repair", no_argument, NULL, 'r'},
		{},
	};
	int c;

	*opt = (struct options){.config = DEFAULT_CONFIG};
	while ((c = getopt_long(argc, argv, "c:h", longs, NULL)) >= 0) {
		switch (c) {
		case 'c':
			opt->config = optarg;
			break;
		case 'k':
			opt->check_only = true;
			break;
		case 'd':
			opt->debug = true;
			break;
		case 'p':
			opt->keep_privileges = true;
			break;
		case 'r':
			opt->restart_to_repair = true;
			break;
		case 'v':
			printf("sluiced " SLUICE_VERSION "\nmap layout %d\n", LB_ABI_VERSION);
			return 1;
		case 'h':
			usage(stdout);
			return 1;
		default:
			fprintf(stderr, "Try 'sluiced --help'.\n");
			return -EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "sluiced: unexpected argument '%s'. Try 'sluiced --help'.\n",
			argv[optind]);
		return -EINVAL;
	}
	return 0;
}

/* What is to be said once, and not at each reload. */
static void warn(const struct config *cfg, bool to_log)
{
	struct config_errors list = {};

	config_warnings(cfg, &list);
	for (uint32_t i = 0; i < list.n; i++)
		if (to_log)
			log_warn("%s", list.items[i].text);
		else
			fprintf(stderr, "%s: warning: %s\n", cfg->path, list.items[i].text);
	config_errors_free(&list);
}

static int load(const struct options *opt, struct config **ret_cfg)
{
	struct config_errors errs = {};
	int r = config_load(opt->config, ret_cfg, &errs);

	config_errors_print(&errs, stderr);
	if (r == -ENOENT && !strcmp(opt->config, DEFAULT_CONFIG))
		fprintf(stderr, "Start from the sample, share/sluice/sluice.example.yaml below the prefix "
				"of the installation,\nor name a file with --config.\n");
	config_errors_free(&errs);
	return r;
}

/* A check of thousands of nodes needs as many sockets. */
static void raise_limits(void)
{
	struct rlimit lim, more;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	more = (struct rlimit){.rlim_cur = FILES_WANTED, .rlim_max = FILES_WANTED};
	if (lim.rlim_max < FILES_WANTED && setrlimit(RLIMIT_NOFILE, &more) == 0)
		return;
	lim.rlim_cur = lim.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &lim);
}

static int confine(const struct options *opt, struct attach_error *err)
{
	const char *what = NULL;
	int r;

	if (opt->keep_privileges) {
		log_warn("all privileges are kept, as asked");
		return 0;
	}
	r = privileges_drop(&what);
	if (r < 0)
		snprintf(err->text, sizeof(err->text), "cannot give up privileges (%s): %s; "
			 "--keep-privileges runs with all of them", what, strerror(-r));
	return r;
}

static int run(const struct options *opt, struct config **cfg)
{
	struct attach_error err = {};
	struct export_server *export = NULL;
	struct control *control = NULL;
	struct agent *agent = NULL;
	sd_event *event = NULL;
	int r;

	r = loop_new(&event);
	if (r < 0) {
		log_error("event loop: %s", strerror(-r));
		return r;
	}
	r = agent_new(event, cfg, &agent, &err);
	if (r == 0) {
		agent->debug = opt->debug;
		agent->started_again = opt->restart_to_repair;
	}
	if (r == 0)
		r = control_new(agent, &control, &err);
	if (r == 0)
		r = export_server_new(agent, &export, &err);
	if (r == 0)
		r = confine(opt, &err);
	if (r == 0)
		r = agent_start(agent, &err);
	if (r == 0) {
		r = loop_run(event, agent);
	} else {
		log_error("%s", err.text);
		if (agent)
			agent_abandon(agent);
	}
	export_server_free(&export);
	control_free(&control);
	agent_free(&agent);
	sd_event_unref(event);
	return r;
}

int main(int argc, char **argv)
{
	struct config *cfg = NULL;
	struct options opt;
	int r;

	r = parse_options(argc, argv, &opt);
	if (r)
		return r < 0 ? 2 : 0;
	r = load(&opt, &cfg);
	if (r < 0)
		return 1;
	if (opt.check_only) {
		warn(cfg, false);
		printf("%s: %u VIP%s, %u pool%s: good\n", opt.config, cfg->n_vips,
		       cfg->n_vips == 1 ? "" : "s", cfg->n_pools, cfg->n_pools == 1 ? "" : "s");
		config_free(&cfg);
		return 0;
	}
	log_set_level(opt.debug ? LOG_LEVEL_DEBUG : (enum log_level)cfg->log_level);
	warn(cfg, true);
	raise_limits();
	r = run(&opt, &cfg);
	config_free(&cfg);
	return r < 0 ? 1 : 0;
}
