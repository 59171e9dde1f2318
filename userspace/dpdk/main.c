// SPDX-License-Identifier: BSD-2-Clause
/* sluice-dpdk: options, devices, cores, an orderly start and stop. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "userspace/agent/attach.h"
#include "userspace/agent/config.h"
#include "userspace/agent/version.h"
#include "userspace/dpdk/burst_ways.h"
#include "userspace/dpdk/devices.h"
#include "userspace/dpdk/eal.h"
#include "userspace/dpdk/missed.h"
#include "userspace/dpdk/ports.h"
#include "userspace/dpdk/tables.h"
#include "userspace/dpdk/worker.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define DEFAULT_CONFIG "/etc/sluice/sluice.yaml"
#define WATCH_US       200000 /* from one look at the tables to the next */
#define STUCK_MS       2000   /* a worker without a round */
#define START_US       90000000u /* until it forwards: TimeoutStartSec= of the unit */
#define EXIT_DETACHED  3      /* the tables were taken away: a new start may wait for others */
#define AHEAD	       32     /* ticks: a worker may read the clock after us */

struct options {
	const char *config;
	uint32_t idle_us;
	bool wait;
	bool debug;
	char **extra; /* for the EAL */
	int n_extra;
};

/* Everything that is started. */
struct host {
	struct config *cfg;
	struct tables tables;
	int lock_fd;
	struct port ports[WORKER_PORTS_MAX];
	uint16_t n_ports;
	struct worker *workers;
	uint16_t n_workers;
	struct missed missed;
	bool lost_tables;
};

static volatile int stop_asked;

static void on_signal(int sig)
{
	(void)sig;
	stop_asked = 1;
}

static void usage(FILE *out)
{
	fprintf(out,
		"Usage: sluice-dpdk [--config FILE] [--idle-us N] [--wait] [--debug]\n"
		"                   [-- EAL-ARGUMENT...]\n"
		"\n"
		"Forwards what arrives at devices that DPDK drives, by the tables of sluiced.\n"
		"Devices, cores and memory: 'interfaces' and 'dpdk' in the configuration.\n"
		"\n"
		"  -c, --config FILE  configuration (default " DEFAULT_CONFIG ")\n"
		"      --idle-us N    sleep so many microseconds when nothing arrives (default 0:\n"
		"                     poll on; at most 10000)\n"
		"      --wait         until sluiced has made the tables\n"
		"      --debug        log more, DPDK included\n"
		"      --version\n"
		"  -h, --help\n"
		"\n"
		"What follows -- goes to DPDK as it is, for example: -- --file-prefix=a -m=64\n"
		"SIGTERM and SIGINT stop it; what it knows of connections stays in the tables.\n");
}

static int parse_number(const char *text, uint32_t max, uint32_t *ret)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!*text || *end || *text == '-' || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

/* Returns 0 to go on, 1 to end well, -EINVAL. */
static int parse_options(int argc, char **argv, struct options *opt)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'}, {"idle-us", required_argument, NULL, 'i'},
		{"wait", no_argument, NULL, 'w'},	  {"debug", no_argument, NULL, 'd'},
		{"version", no_argument, NULL, 'v'},	  {"help", no_argument, NULL, 'h'},
		{},
	};
	int c;

	*opt = (struct options){.config = DEFAULT_CONFIG};
	while ((c = getopt_long(argc, argv, "+c:h", longs, NULL)) >= 0) {
		if (c == 'c') {
			opt->config = optarg;
		} else if (c == 'i' && parse_number(optarg, 10000, &opt->idle_us) == 0) {
			continue;
		} else if (c == 'i') {
			fprintf(stderr, "sluice-dpdk: --idle-us %s: 0 to 10000 is accepted\n",
				optarg);
			return -EINVAL;
		} else if (c == 'w') {
			opt->wait = true;
		} else if (c == 'd') {
			opt->debug = true;
		} else if (c == 'v') {
			puts("sluice-dpdk " SLUICE_VERSION);
			return 1;
		} else if (c == 'h') {
			usage(stdout);
			return 1;
		} else {
			fprintf(stderr, "Try 'sluice-dpdk --help'.\n");
			return -EINVAL;
		}
	}
	if (optind < argc && strcmp(argv[optind - 1], "--")) {
		fprintf(stderr, "sluice-dpdk: unexpected argument '%s' (arguments of DPDK follow "
			"--). Try 'sluice-dpdk --help'.\n", argv[optind]);
		return -EINVAL;
	}
	opt->extra = argv + optind;
	opt->n_extra = argc - optind;
	return 0;
}

/* --- configuration ---------------------------------------------------------------------------- */

static int load_config(const char *path, struct config **ret)
{
	struct config_errors errs = {};
	int r = config_load(path, ret, &errs);

	config_errors_print(&errs, stderr);
	config_errors_free(&errs);
	return r;
}

static int check_config(const struct config *cfg)
{
	char err[DPDK_ERROR_MAX];
	int r;

	if (cfg->dataplane != CONFIG_DATAPLANE_DPDK) {
		log_error("%s: dataplane is %s: sluice-dpdk needs dataplane: dpdk", cfg->path,
			  config_dataplane_name(cfg->dataplane));
		return -EINVAL;
	}
	r = devices_check(cfg, err);
	if (r < 0)
		log_error("%s", err);
	return r;
}

/* --- start ------------------------------------------------------------------------------------ */

/* One process for one set of tables. The kernel lets go of an abstract socket when we end. */
static int lock_tables(const struct config *cfg, int *ret_fd)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int n = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "sluice-dpdk:%s",
			 cfg->pin_dir);

	if (fd < 0)
		return -errno;
	if (n >= (int)sizeof(addr.sun_path) - 1)
		return -ENAMETOOLONG;
	if (bind(fd, (struct sockaddr *)&addr, offsetof(struct sockaddr_un, sun_path) + 1 + n) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* The service manager: what is being waited for. We are well meanwhile. */
static void tell_waiting(const char *what)
{
	log_warn("waiting: %s", what);
	(void)sd_notifyf(0, "READY=1\nSTATUS=waiting: %s", what);
}

/*
 * Until there are tables to work on, or a signal comes (-EINTR). A line is said once, and anew when
 * it is another one; -EPERM does not pass by itself.
 */
static int wait_for_tables(struct host *h)
{
	char err[DPDK_ERROR_MAX] = "", said[DPDK_ERROR_MAX] = "";
	int r;

	while (!stop_asked) {
		r = dpdk_tables_open(h->cfg->pin_dir, &h->tables, err);
		if (r == 0 && said[0]) /* devices may take their time, as at any start */
			(void)sd_notifyf(0, "STATUS=starting\nWATCHDOG_USEC=%u", START_US);
		if (r == -EPERM || r == -EACCES)
			log_error("%s", err);
		if (r == 0 || r == -EPERM || r == -EACCES)
			return r;
		if (strcmp(err, said))
			tell_waiting(err);
		memcpy(said, err, sizeof(said));
		(void)sd_notify(0, "WATCHDOG=1");
		usleep(WATCH_US);
	}
	return -EINTR;
}

static int map_tables(struct host *h)
{
	char err[DPDK_ERROR_MAX] = "";
	int r = dpdk_tables_open(h->cfg->pin_dir, &h->tables, err);

	if (r < 0)
		log_error("%s", err);
	return r;
}

static int open_tables(struct host *h, bool wait)
{
	uint32_t n;
	int r;

	r = wait ? wait_for_tables(h) : map_tables(h);
	if (r < 0)
		return r;
	r = lock_tables(h->cfg, &h->lock_fd);
	if (r < 0) {
		log_error("%s: %s", h->cfg->pin_dir,
			  r == -EADDRINUSE ? "another sluice-dpdk works on these tables"
					   : strerror(-r));
		return r;
	}
	n = dpdk_tables_recover(&h->tables);
	if (n)
		log_info("%u entries that a killed process was writing are cleared", n);
	return 0;
}

static int open_ports(struct host *h)
{
	char err[DPDK_ERROR_MAX] = "";
	int r;

	for (uint32_t i = 0; i < h->cfg->n_interfaces; i++) {
		struct port *p = &h->ports[h->n_ports++];

		p->device = h->cfg->interfaces[i].device;
		p->mirror = h->cfg->interfaces[i].name;
		p->one_pool = h->cfg->n_interfaces == 1;
		r = port_open(p, i, h->n_workers, err);
		if (r < 0) {
			log_error("%s", err);
			return r;
		}
		log_info("device %s: %u queue%s, mirror %s", p->device, h->n_workers,
			 h->n_workers == 1 ? "" : "s", p->mirror);
	}
	return 0;
}

static void open_worker(struct host *h, uint16_t n, uint32_t idle_us)
{
	struct worker *w = &h->workers[n];

	dpdk_tables_view(&h->tables, n, &w->tables);
	w->shared = &h->tables.dpdk_workers[n];
	w->queue = n;
	w->idle_us = idle_us;
	w->n_ports = h->n_ports;
	w->burst = burst_ways()->fn;
	for (uint16_t i = 0; i < h->n_ports; i++) {
		w->ports[i].ifindex = h->ports[i].ifindex;
		w->tables.devices[i].ifindex = h->ports[i].ifindex;
		w->tables.devices[i].mtu = h->ports[i].mtu;
		w->ports[i].wire.port = h->ports[i].id;
		w->ports[i].kernel.port = h->ports[i].mirror_id;
	}
}

static int open_workers(struct host *h, uint32_t idle_us)
{
	h->workers = aligned_alloc(64, h->n_workers * sizeof(*h->workers));
	if (!h->workers) {
		log_error("out of memory");
		return -ENOMEM;
	}
	memset(h->workers, 0, h->n_workers * sizeof(*h->workers));
	for (uint16_t i = 0; i < h->n_workers; i++)
		open_worker(h, i, idle_us);
	return 0;
}

/* Memory of another node costs each frame its way there. */
static void look_at_nodes(const struct host *h)
{
	unsigned int core;

	for (uint16_t i = 0; i < h->n_ports; i++) {
		int node = rte_eth_dev_socket_id(h->ports[i].id);

		RTE_LCORE_FOREACH(core)
			if (node >= 0 && (int)rte_lcore_to_socket_id(core) != node)
				log_warn("device %s is at memory node %d, core %u at %u: choose "
					 "cores of node %d (dpdk.cores)", h->ports[i].device, node,
					 core, rte_lcore_to_socket_id(core), node);
	}
}

static int count_workers(struct host *h)
{
	uint32_t n = rte_lcore_count();

	if (n > LB_WORKERS_MAX || n > h->tables.n_cpus) {
		log_error("%u cores: at most %u are supported on this host", n,
			  h->tables.n_cpus < LB_WORKERS_MAX ? h->tables.n_cpus : LB_WORKERS_MAX);
		return -EINVAL;
	}
	h->n_workers = n;
	return 0;
}

/* --- running ---------------------------------------------------------------------------------- */

static int run_worker(void *arg)
{
	struct host *h = arg;

	worker_run(&h->workers[rte_lcore_index(-1)], &stop_asked);
	return 0;
}

static bool all_do_their_rounds(const struct host *h)
{
	uint32_t now = dpdk_ticks();

	for (uint16_t i = 0; i < h->n_workers; i++)
		if (now - __atomic_load_n(&h->workers[i].shared->tick, __ATOMIC_RELAXED) + AHEAD >
		    LB_TICKS_FROM_MS(STUCK_MS) + AHEAD)
			return false;
	return true;
}

/*
 * The tables may be taken away while the workers run; then there is nothing left to forward by.
 * A worker that stands still is for the service manager to end.
 */
static void *watch(void *arg)
{
	struct host *h = arg;
	struct lb_worker *first = h->workers[0].shared;

	while (!stop_asked) {
		missed_count(&h->missed, h->ports, h->n_ports, &first->missed, &first->no_buffers);
		if (all_do_their_rounds(h))
			(void)sd_notify(0, "WATCHDOG=1");
		if (dpdk_tables_gone(&h->tables)) {
			log_error("the tables under %s were taken away (sluicectl detach)",
				  h->cfg->pin_dir);
			h->lost_tables = true;
			stop_asked = 1;
		}
		usleep(WATCH_US);
	}
	return NULL;
}

static void print_counters(const struct host *h)
{
	for (uint16_t i = 0; i < h->n_workers; i++) {
		const struct lb_worker *w = h->workers[i].shared;

		if (w->missed || w->no_buffers)
			log_info("frames lost before a worker had them: %llu found their queue "
				 "full, %llu no buffer", w->missed, w->no_buffers);
		log_info("worker %u: received %llu, sent %llu, unsent %llu, to the kernel %llu "
			 "(refused %llu), from the kernel %llu, without a port %llu", i,
			 w->received, w->sent, w->unsent, w->to_kernel, w->kernel_full,
			 w->from_kernel, w->no_port);
	}
	for (uint32_t i = LB_R_OK + 1; i < LB_REASONS_MAX; i++)
		if (tables_reason_name(i) && tables_reason(&h->tables, i))
			log_info("%s: %lu (%s)", tables_reason_name(i),
				 (unsigned long)tables_reason(&h->tables, i),
				 tables_reason_text(i));
}

static void tell_ready(uint16_t n_workers)
{
	uint64_t usec;

	(void)sd_notifyf(0, "READY=1\nSTATUS=forwarding on %u core%s", n_workers,
			 n_workers == 1 ? "" : "s");
	if (sd_watchdog_enabled(0, &usec) > 0) /* longer while it started */
		(void)sd_notifyf(0, "WATCHDOG_USEC=%llu\nWATCHDOG=1", (unsigned long long)usec);
}

static int run(struct host *h)
{
	pthread_t watcher;
	int r;

	missed_init(&h->missed);
	r = rte_ctrl_thread_create(&watcher, "sluice-watch", NULL, watch, h);
	if (r) {
		log_error("cannot start a thread: %s", strerror(-r));
		return r;
	}
	log_info("forwarding on %u core%s", h->n_workers, h->n_workers == 1 ? "" : "s");
	tell_ready(h->n_workers);
	rte_eal_mp_remote_launch(run_worker, h, CALL_MAIN);
	(void)sd_notify(0, "STOPPING=1");
	rte_eal_mp_wait_lcore();
	pthread_join(watcher, NULL);
	print_counters(h);
	return h->lost_tables ? -ESTALE : 0;
}

static void close_all(struct host *h)
{
	for (uint16_t i = 0; i < h->n_ports; i++)
		port_close(&h->ports[i]);
	free(h->workers);
	tables_close(&h->tables);
	if (h->lock_fd >= 0)
		close(h->lock_fd);
	config_free(&h->cfg);
}

static int start_and_run(struct host *h, const struct options *opt)
{
	char err[DPDK_ERROR_MAX] = "";
	int r;

	r = load_config(opt->config, &h->cfg);
	if (r < 0)
		return r;
	log_set_level(opt->debug ? LOG_LEVEL_DEBUG : (enum log_level)h->cfg->log_level);
	attach_log_start(); /* net_af_xdp has them, too */
	r = check_config(h->cfg);
	if (r == 0)
		r = open_tables(h, opt->wait);
	if (r < 0)
		return r;
	r = eal_start(h->cfg, opt->extra, opt->n_extra, err);
	if (r < 0) {
		log_error("%s", err);
		return r;
	}
	if (opt->debug)
		eal_log_all();
	r = count_workers(h);
	if (r == 0)
		r = open_ports(h);
	if (r == 0)
		look_at_nodes(h);
	if (r == 0)
		r = open_workers(h, opt->idle_us);
	return r < 0 ? r : run(h);
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = on_signal};
	struct host h = {.lock_fd = -1};
	struct options opt;
	int r;

	r = parse_options(argc, argv, &opt);
	if (r)
		return r < 0 ? 2 : 0;
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	r = start_and_run(&h, &opt);
	close_all(&h);
	if (h.lost_tables)
		return EXIT_DETACHED;
	return r < 0 && r != -EINTR ? 1 : 0;
}
