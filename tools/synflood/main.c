// SPDX-License-Identifier: BSD-2-Clause
/*
 * synflood: SYNs from random sources at a bounded rate for a bounded time, out of one device of a
 * testbed. Private addresses only, at both ends: nothing it sends means anything elsewhere.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <math.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "tools/lib/option_value.h"
#include "userspace/lib/address.h"
#include "userspace/lib/cleanup.h"
#include "userspace/lib/log.h"

#define TARGETS_MAX 16
#define BATCH_MAX   64
#define FRAME_MAX   (ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct tcphdr))
#define RATE_MAX    1000000.0
#define SECONDS_MAX 3600.0
#define CREDIT_S    0.02 /* how much of the rate may be caught up after a pause */

static const char help[] =
	"Usage: synflood --dev DEV --mac MAC [OPTION]... ADDRESS:PORT...\n"
	"SYNs from random private sources to private addresses, in turn.\n"
	"\n"
	"  --dev DEV      device to send from\n"
	"  --mac MAC      where frames go: the ingress host\n"
	"  --rate R       SYNs a second (default 20000, at most 1000000)\n"
	"  --seconds S    then end (default 10, at most 3600)\n"
	"  --seed N       of the random numbers (default 1)\n"
	"\n"
	"Prints one line: {\"sent\": N, \"refused\": N, \"seconds\": S}. SIGINT and SIGTERM end it.\n";

struct settings {
	const char *dev;
	unsigned char mac[ETH_ALEN];
	bool has_mac;
	double rate;
	double seconds;
	uint64_t seed;
	struct endpoint targets[TARGETS_MAX];
	uint32_t n_targets;
};

struct flood {
	const struct settings *s;
	int fd;
	uint64_t rng;
	uint32_t next_target;
	unsigned char own_mac[ETH_ALEN];
	uint64_t sent;
	uint64_t refused; /* the device took no more just then */
};

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

/* splitmix64 (Steele, Lea, Flood: OOPSLA 2014). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --- frames ----------------------------------------------------------------------------------- */

/* RFC 1071 over big-endian words, in host order. */
static uint32_t add_words(uint32_t sum, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static uint16_t finish_sum(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void put_tcp(struct tcphdr *tcp, uint16_t dport, uint64_t random, uint32_t addresses_sum)
{
	*tcp = (struct tcphdr){
		.source = htons((uint16_t)(1024 + random % 64512)),
		.dest = htons(dport),
		.seq = (uint32_t)(random >> 16),
		.doff = 5,
		.syn = 1,
		.window = htons(64240),
	};
	tcp->check = finish_sum(
		add_words(addresses_sum + IPPROTO_TCP + sizeof(*tcp), tcp, sizeof(*tcp)));
}

/* From 10.128.0.0/9. */
static size_t put_ip4(unsigned char *at, const struct endpoint *to, struct flood *f)
{
	struct iphdr *ip = (struct iphdr *)at;
	uint64_t random = next_random(&f->rng);

	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = htons(sizeof(*ip) + sizeof(struct tcphdr)),
		.ttl = 64,
		.protocol = IPPROTO_TCP,
		.saddr = htonl(0x0a800000 | (uint32_t)(random & 0x7fffff)),
		.daddr = to->addr.v4.s_addr,
	};
	ip->check = finish_sum(add_words(0, ip, sizeof(*ip)));
	put_tcp((struct tcphdr *)(ip + 1), to->port, next_random(&f->rng),
		add_words(0, &ip->saddr, 8));
	return sizeof(*ip) + sizeof(struct tcphdr);
}

/* From fdfd:…/16. */
static size_t put_ip6(unsigned char *at, const struct endpoint *to, struct flood *f)
{
	struct ipv6hdr *ip = (struct ipv6hdr *)at;
	uint64_t random[2] = {next_random(&f->rng), next_random(&f->rng)};

	*ip = (struct ipv6hdr){
		.version = 6,
		.payload_len = htons(sizeof(struct tcphdr)),
		.nexthdr = IPPROTO_TCP,
		.hop_limit = 64,
	};
	memcpy(&ip->saddr, random, sizeof(random));
	ip->saddr.s6_addr[0] = 0xfd;
	ip->saddr.s6_addr[1] = 0xfd;
	memcpy(&ip->daddr, to->addr.bytes, 16);
	put_tcp((struct tcphdr *)(ip + 1), to->port, next_random(&f->rng),
		add_words(0, &ip->saddr, 32));
	return sizeof(*ip) + sizeof(struct tcphdr);
}

static size_t put_frame(unsigned char *at, struct flood *f)
{
	const struct endpoint *to = &f->s->targets[f->next_target];
	struct ethhdr *eth = (struct ethhdr *)at;

	f->next_target = (f->next_target + 1) % f->s->n_targets;
	memcpy(eth->h_dest, f->s->mac, ETH_ALEN);
	memcpy(eth->h_source, f->own_mac, ETH_ALEN);
	eth->h_proto = htons(to->addr.family == AF_INET ? ETH_P_IP : ETH_P_IPV6);
	if (to->addr.family == AF_INET)
		return ETH_HLEN + put_ip4(at + ETH_HLEN, to, f);
	return ETH_HLEN + put_ip6(at + ETH_HLEN, to, f);
}

/* --- sending ---------------------------------------------------------------------------------- */

static int open_device(struct flood *f)
{
	struct sockaddr_ll sa = {.sll_family = AF_PACKET};
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa);

	if (fd < 0)
		return -errno;
	sa.sll_ifindex = (int)if_nametoindex(f->s->dev);
	if (!sa.sll_ifindex)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	memcpy(f->own_mac, sa.sll_addr, ETH_ALEN);
	f->fd = TAKE_FD(fd);
	return 0;
}

static int send_batch(struct flood *f, uint32_t n)
{
	static unsigned char frames[BATCH_MAX][FRAME_MAX];
	struct mmsghdr messages[BATCH_MAX] = {};
	struct iovec parts[BATCH_MAX];
	int r;

	for (uint32_t i = 0; i < n; i++) {
		parts[i].iov_base = frames[i];
		parts[i].iov_len = put_frame(frames[i], f);
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	r = sendmmsg(f->fd, messages, n, 0);
	if (r < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
		return -errno;
	f->sent += r > 0 ? (uint64_t)r : 0;
	f->refused += n - (uint32_t)(r > 0 ? r : 0);
	return 0;
}

static int run(struct flood *f)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	const double began = now_s(), most = fmax(1, f->s->rate * CREDIT_S);
	double credit = 0, at = began;

	while (!stop && at - began < f->s->seconds) {
		double now = now_s();
		int r = 0;

		credit = fmin(most, credit + (now - at) * f->s->rate);
		at = now;
		while (credit >= 1 && r == 0) {
			uint32_t n = credit < BATCH_MAX ? (uint32_t)credit : BATCH_MAX;

			r = send_batch(f, n);
			credit -= n;
		}
		if (r < 0)
			return r;
		nanosleep(&pause, NULL);
	}
	printf("{\"sent\": %llu, \"refused\": %llu, \"seconds\": %.3f}\n",
	       (unsigned long long)f->sent, (unsigned long long)f->refused, now_s() - began);
	return 0;
}

/* --- options ---------------------------------------------------------------------------------- */

static bool is_private(const struct address *a)
{
	if (a->family == AF_INET6)
		return (a->bytes[0] & 0xfe) == 0xfc; /* RFC 4193 */
	return a->bytes[0] == 10 || (a->bytes[0] == 192 && a->bytes[1] == 168) ||
	       (a->bytes[0] == 172 && (a->bytes[1] & 0xf0) == 16); /* RFC 1918 */
}

static int read_mac(const char *text, unsigned char ret_mac[ETH_ALEN])
{
	unsigned int b[ETH_ALEN];
	char rest;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
		   &rest) != ETH_ALEN) {
		log_error("--mac: \"%s\" is not a MAC address", text);
		return -EINVAL;
	}
	for (int i = 0; i < ETH_ALEN; i++)
		ret_mac[i] = (unsigned char)b[i];
	return 0;
}

static int add_target(struct settings *s, const char *text)
{
	struct endpoint ep;

	if (s->n_targets == TARGETS_MAX) {
		log_error("at most %d targets", TARGETS_MAX);
		return -EINVAL;
	}
	if (endpoint_parse(text, &ep) < 0 || !is_private(&ep.addr)) {
		log_error("\"%s\" is not ADDRESS:PORT with a private address", text);
		return -EINVAL;
	}
	s->targets[s->n_targets++] = ep;
	return 0;
}

static int read_option(struct settings *s, int id, const char *arg)
{
	double x = 0;
	int r;

	switch (id) {
	case 'd':
		s->dev = arg;
		return 0;
	case 'm':
		s->has_mac = true;
		return read_mac(arg, s->mac);
	case 'r':
		return option_number("rate", arg, 1, RATE_MAX, &s->rate);
	case 's':
		return option_number("seconds", arg, 0.001, SECONDS_MAX, &s->seconds);
	case 'n':
		r = option_number("seed", arg, 0, 1e15, &x);
		s->seed = (uint64_t)x;
		return r;
	}
	log_error("unknown option, or one without its value; see --help");
	return -EINVAL;
}

/* Returns 1 after --help. */
static int read_options(struct settings *s, int argc, char **argv)
{
	static const struct option options[] = {
		{"dev", required_argument, NULL, 'd'},	   {"mac", required_argument, NULL, 'm'},
		{"rate", required_argument, NULL, 'r'},	   {"seconds", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'n'},	   {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int id, r = 0;

	while (r == 0 && (id = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (id == 'h')
			return 1;
		r = read_option(s, id, optarg);
	}
	for (int i = optind; i < argc && r == 0; i++)
		r = add_target(s, argv[i]);
	if (r == 0 && (!s->dev || !s->has_mac || !s->n_targets)) {
		log_error("--dev, --mac and a target are needed; see --help");
		r = -EINVAL;
	}
	return r;
}

int main(int argc, char **argv)
{
	struct settings s = {.rate = 20000, .seconds = 10, .seed = 1};
	struct sigaction sa = {.sa_handler = on_signal};
	struct flood f = {.s = &s, .fd = -1};
	int r;

	r = read_options(&s, argc, argv);
	if (r > 0)
		fputs(help, stdout);
	if (r)
		return r < 0 ? 2 : 0;
	f.rng = s.seed;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	r = open_device(&f);
	if (r == 0)
		r = run(&f);
	if (r < 0)
		log_error("%s: %s", s.dev, strerror(-r));
	if (f.fd >= 0)
		close(f.fd);
	return r < 0 ? 1 : 0;
}
