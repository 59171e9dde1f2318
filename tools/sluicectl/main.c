// SPDX-License-Identifier: BSD-2-Clause
/* sluicectl: the operator's command line; HTTP+JSON to the agent's Unix socket. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sluicectl/commands.h"
#include "userspace/agent/config_schema.h"
#include "userspace/agent/version.h"
#include "userspace/lib/cleanup.h"

#define DEFAULT_SOCKET "/run/sluice/sluice.sock"

static const struct command {
	const char *name;
	const char *args;
	const char *text;
	int (*run)(const struct ctl *ctl, int argc, char **argv);
	int min_args;
	int max_args; /* options of the command included */
} commands[] = {
	{"status", "[--wait] [--timeout 1m]",
	 "the agent, its pools, what was lost; --wait: once it answers and has judged every node",
	 cmd_status, 0, 3},
	{"backends", "[POOL|NODE|STATE]", "nodes, all or those: state, cause, weight, load",
	 cmd_backends, 0, 1},
	{"top", "[POOL|NODE|STATE] [--interval 1s] [--count N]",
	 "what each node gets a second: new connections, its share of them, packets; on a\n"
	 "      terminal again and again, until Ctrl-C",
	 cmd_top, 0, 5},
	{"vips", "", "every VIP and its traffic", cmd_vips, 0, 0},
	{"drain", "NODE [--wait] [--deadline 5m] [--now]",
	 "no new flows; live ones run to their end (--now: are reset)", cmd_drain, 1, 5},
	{"undrain", "NODE", "back into service", cmd_undrain, 1, 1},
	{"weight", "NODE N|file", "capacity weight, until the file's is wanted again", cmd_weight, 2,
	 2},
	{"drill", "[PLAN] [--nodes A,B | --pool NAME] [--url URL | --no-probe] [OPTION]...",
	 "drain and restore one node after the other while URL must answer; a failure stops it\n"
	 "      and puts the node back. PLAN: the same as JSON. --min-capacity 50%  --deadline 5m\n"
	 "      --settle 1m  --pause 1s  --interval 200ms  --timeout 5s  --allow 0  --body FILE\n"
	 "      --ca-file FILE  --dry-run",
	 cmd_drill, 1, 64},
	{"check-config", "FILE", "say what is wrong with a configuration", cmd_check_config, 1, 1},
	{"diff", "FILE", "what a reload would change if FILE were the configuration", cmd_diff, 1, 1},
	{"reload", "", "take the configuration file over, whole or not at all", cmd_reload, 0, 0},
	{"detach", "[--pin-dir DIR]", "stop forwarding: programs off, maps gone", cmd_detach, 0, 2},
};

static void usage(FILE *out)
{
	fprintf(out, "Usage: sluicectl [--socket PATH] [--json] COMMAND\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %s%s%s\n      %s\n", commands[i].name,
			commands[i].args[0] ? " " : "", commands[i].args, commands[i].text);
	fprintf(out,
		"\n"
		"  NODE is a node's name, or POOL/NODE where a name is in several pools.\n"
		"\n"
		"  -s, --socket PATH  the agent's socket (default $SLUICE_SOCKET or\n"
		"                     " DEFAULT_SOCKET ")\n"
		"  -j, --json         print what the agent answered, as JSON\n"
		"      --version\n"
		"  -h, --help\n"
		"\n"
		"Exit status: 0 done; 1 the agent refused, the file is bad, or the output cannot be\n"
		"written; 2 wrong usage; 3 no agent answers; 4 no such node; 5 a drain's deadline passed with\n"
		"work left.\n"
		"diff: 0 nothing would change; 6 a reload would change something; 7 a reload would\n"
		"refuse it, since it takes a restart of the agent or a detach.\n"
		"drill: 8 it failed.\n");
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static int no_command(const char *name)
{
	const char *names[ARRAY_SIZE(commands)], *near;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		names[i] = commands[i].name;
	near = config_suggest(name, names, ARRAY_SIZE(commands));
	for (size_t i = 0; !near && *name && i < ARRAY_SIZE(commands); i++)
		if (!strncmp(names[i], name, strlen(name)))
			near = names[i];
	fprintf(stderr, "sluicectl: no command '%s'%s%s%s. Try 'sluicectl --help'.\n", name,
		near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
	return CTL_USAGE;
}

static void usage_of(FILE *out, const struct command *cmd, bool whole)
{
	fprintf(out, "Usage: sluicectl %s%s%s\n", cmd->name, cmd->args[0] ? " " : "", cmd->args);
	if (whole)
		fprintf(out, "      %s\n", cmd->text);
}

/* "help", "help COMMAND" */
static int help(const char *name)
{
	const struct command *cmd = name ? find_command(name) : NULL;

	if (name && !cmd)
		return no_command(name);
	if (cmd)
		usage_of(stdout, cmd, true);
	else
		usage(stdout);
	return CTL_OK;
}

static int run_command(const struct ctl *ctl, int argc, char **argv)
{
	const struct command *cmd = find_command(argv[0]);

	if (!strcmp(argv[0], "help"))
		return help(argv[1]);
	if (!cmd)
		return no_command(argv[0]);
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return help(cmd->name);
	if (argc - 1 < cmd->min_args || argc - 1 > cmd->max_args) {
		usage_of(stderr, cmd, false);
		return CTL_USAGE;
	}
	return cmd->run(ctl, argc - 1, argv + 1);
}

/* --json, wherever it stands behind the command. Returns how many words are left. */
static int take_json(struct ctl *ctl, int argc, char **argv)
{
	int n = 1;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json") || !strcmp(argv[i], "-j"))
			ctl->json = true;
		else
			argv[n++] = argv[i];
	}
	return n;
}

/* What a script reads is whole, or the status says that it is not. */
static int written(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "sluicectl: cannot write the output: %s\n", strerror(errno));
	return status == CTL_OK ? CTL_REFUSED : status;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
		{"version", no_argument, NULL, 'v'},	  {"help", no_argument, NULL, 'h'},
		{},
	};
	const char *env = getenv("SLUICE_SOCKET");
	struct ctl ctl = {.socket = env && *env ? env : DEFAULT_SOCKET};
	int c;

	/* '+': options behind the command are the command's own, but --json may stand anywhere. */
	while ((c = getopt_long(argc, argv, "+s:jh", longs, NULL)) >= 0) {
		switch (c) {
		case 's':
			ctl.socket = optarg;
			break;
		case 'j':
			ctl.json = true;
			break;
		case 'v':
			puts("sluicectl " SLUICE_VERSION);
			return written(CTL_OK);
		case 'h':
			usage(stdout);
			return written(CTL_OK);
		default:
			fprintf(stderr, "Try 'sluicectl --help'.\n");
			return CTL_USAGE;
		}
	}
	if (optind == argc) {
		usage(stderr);
		return CTL_USAGE;
	}
	argc = take_json(&ctl, argc - optind, argv + optind);
	return written(run_command(&ctl, argc, argv + optind));
}
