// SPDX-License-Identifier: BSD-2-Clause
/*
 * framelat: how long a frame takes from a client's device through the balancer to a node's.
 *
 * Sends segments for a VIP from one namespace at a rate, and receives them, encapsulated (ipip), in
 * another. A frame carries the time it was sent; the kernel notes when it arrives. One clock, so
 * the difference is the way: driver, balancer, and the wires between. Prints JSON, microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tools/lib/figures.h"

#define FRAMES_MAX 4000000u
#define BATCH	   16
#define MAGIC	   0x736c756963656c61ULL
#define SETTLE_MS  300

struct options {
	const char *send_ns, *send_dev, *recv_ns, *recv_dev;
	uint8_t dmac[6];
	in_addr_t src, vip;
	uint16_t port;
	uint32_t rate, flows;
	double seconds;
};

struct stamp {
	uint64_t magic;
	uint64_t sent_ns;
} __attribute__((packed));

struct frame {
	struct ether_header eth;
	struct iphdr ip;
	struct tcphdr tcp;
	struct stamp stamp;
} __attribute__((packed));

struct receiver {
	int fd;
	volatile int stop;
	uint32_t n;
	double *us; /* [FRAMES_MAX] */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* --- sockets ---------------------------------------------------------------------------------- */

/* A packet socket on a device of another namespace, which the thread is left in. */
static int open_socket(const char *ns, const char *dev, int protocol, int *ret_fd)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol)};
	int ns_fd = open(ns, O_RDONLY | O_CLOEXEC), fd;

	if (ns_fd < 0)
		return -errno;
	if (setns(ns_fd, CLONE_NEWNET) < 0) {
		close(ns_fd);
		return -errno;
	}
	close(ns_fd);
	addr.sll_ifindex = if_nametoindex(dev);
	if (!addr.sll_ifindex)
		return -ENODEV;
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(protocol));
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -errno;
	}
	*ret_fd = fd;
	return 0;
}

static int prepare_receiver(int fd)
{
	int on = 1, room = 64 << 20;
	struct timeval wait = {.tv_usec = 100000};

	if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
		return -errno;
	return 0;
}

/* --- receiving -------------------------------------------------------------------------------- */

static uint64_t arrival_ns(struct msghdr *m)
{
	struct timespec ts;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&ts, CMSG_DATA(c), sizeof(ts));
		return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	}
	return 0;
}

/* The stamp lies behind the outer header. */
static void take_frame(struct receiver *r, const uint8_t *bytes, size_t len, uint64_t arrived)
{
	const size_t at = sizeof(struct iphdr) + offsetof(struct frame, stamp);
	struct stamp stamp;

	if (len < at + sizeof(stamp) || r->n >= FRAMES_MAX || !arrived)
		return;
	memcpy(&stamp, bytes + at, sizeof(stamp));
	if (stamp.magic == MAGIC)
		r->us[r->n++] = ((double)arrived - (double)stamp.sent_ns) / 1000;
}

static void *receive(void *arg)
{
	static uint8_t bytes[BATCH][256];
	static char controls[BATCH][64];
	struct receiver *r = arg;
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];

	while (!r->stop) {
		int n;

		for (int i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){bytes[i], sizeof(bytes[i])};
			msgs[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1,
							  .msg_control = controls[i],
							  .msg_controllen = sizeof(controls[i])};
		}
		n = recvmmsg(r->fd, msgs, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < n; i++)
			take_frame(r, bytes[i], msgs[i].msg_len, arrival_ns(&msgs[i].msg_hdr));
	}
	return NULL;
}

/* --- sending ---------------------------------------------------------------------------------- */

static uint16_t ip_check(const void *header)
{
	const uint16_t *w = header;
	uint32_t sum = 0;

	for (int i = 0; i < 10; i++)
		sum += w[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

static void make_frame(const struct options *o, uint32_t n, struct frame *ret)
{
	*ret = (struct frame){
		.eth = {.ether_type = htons(ETHERTYPE_IP)},
		.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP,
		       .tot_len = htons(sizeof(*ret) - sizeof(ret->eth)), .saddr = o->src,
		       .daddr = o->vip},
		.tcp = {.source = htons(10000 + n % o->flows), .dest = htons(o->port), .doff = 5,
			.ack = 1, .seq = htonl(n)},
		.stamp = {.magic = MAGIC, .sent_ns = now_ns()},
	};
	memcpy(ret->eth.ether_dhost, o->dmac, 6);
	ret->eth.ether_shost[0] = 2;
	ret->ip.check = ip_check((const uint8_t *)ret + offsetof(struct frame, ip));
}

static void send_batch(int fd, const struct options *o, uint32_t first, uint32_t n)
{
	struct frame frames[BATCH];
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];

	for (uint32_t i = 0; i < n; i++) {
		make_frame(o, first + i, &frames[i]);
		iov[i] = (struct iovec){&frames[i], sizeof(frames[i])};
		msgs[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	(void)sendmmsg(fd, msgs, n, 0); /* what is not sent is missing at the other end */
}

/* What is due by now, at most BATCH at once. Returns the frames sent. */
static uint32_t send_all(int fd, const struct options *o)
{
	const struct timespec pause = {.tv_nsec = 50000};
	uint32_t total = o->rate * o->seconds, sent = 0;
	uint64_t began = now_ns();

	if (total > FRAMES_MAX)
		total = FRAMES_MAX;
	while (sent < total) {
		uint64_t due = (now_ns() - began) * o->rate / 1000000000 + 1;
		uint32_t n = due > sent ? due - sent : 0;

		if (n > BATCH)
			n = BATCH;
		if (n > total - sent)
			n = total - sent;
		if (n)
			send_batch(fd, o, sent, n);
		else
			nanosleep(&pause, NULL);
		sent += n;
		if (now_ns() - began > 2 * o->seconds * 1e9)
			break; /* the rate is beyond us */
	}
	return sent;
}

/* --- result ----------------------------------------------------------------------------------- */

static void print_result(const struct receiver *r, uint32_t sent, double seconds)
{
	static const struct {
		const char *name;
		double part;
	} parts[] = {{"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};
	json_t *out = json_object();

	qsort(r->us, r->n, sizeof(*r->us), figures_by_value);
	json_object_set_new(out, "sent", json_integer(sent));
	json_object_set_new(out, "received", json_integer(r->n));
	json_object_set_new(out, "rate", json_real(sent / seconds));
	for (unsigned int i = 0; r->n && i < sizeof(parts) / sizeof(parts[0]); i++)
		json_object_set_new(out, parts[i].name,
				    json_real(r->us[(uint32_t)((r->n - 1) * parts[i].part)]));
	if (r->n) {
		json_object_set_new(out, "min_us", json_real(r->us[0]));
		json_object_set_new(out, "max_us", json_real(r->us[r->n - 1]));
	}
	json_dumpf(out, stdout, JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(out);
}

static int run(const struct options *o)
{
	struct receiver r = {};
	pthread_t thread;
	uint64_t began;
	uint32_t sent;
	int fd, e;

	r.us = malloc(FRAMES_MAX * sizeof(*r.us));
	if (!r.us)
		return -ENOMEM;
	e = open_socket(o->recv_ns, o->recv_dev, ETHERTYPE_IP, &r.fd);
	e = e ?: prepare_receiver(r.fd);
	e = e ?: open_socket(o->send_ns, o->send_dev, 0, &fd);
	e = e ?: -pthread_create(&thread, NULL, receive, &r);
	if (e < 0)
		return e;
	began = now_ns();
	sent = send_all(fd, o);
	began = now_ns() - began;
	usleep(SETTLE_MS * 1000);
	r.stop = 1;
	pthread_join(thread, NULL);
	print_result(&r, sent, began / 1e9);
	free(r.us);
	return 0;
}

static int parse_mac(const char *text, uint8_t ret_mac[6])
{
	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &ret_mac[0], &ret_mac[1], &ret_mac[2],
		      &ret_mac[3], &ret_mac[4], &ret_mac[5]) == 6
		       ? 0
		       : -EINVAL;
}

int main(int argc, char **argv)
{
	struct options o = {.flows = 1000};
	int r = 0;

	if (argc != 11) {
		fprintf(stderr, "usage: framelat SEND-NS DEV RECV-NS DEV BALANCER-MAC SRC VIP PORT "
				"RATE SECONDS\n");
		return 2;
	}
	o.send_ns = argv[1];
	o.send_dev = argv[2];
	o.recv_ns = argv[3];
	o.recv_dev = argv[4];
	r = parse_mac(argv[5], o.dmac);
	o.src = inet_addr(argv[6]);
	o.vip = inet_addr(argv[7]);
	o.port = atoi(argv[8]);
	o.rate = atoi(argv[9]);
	o.seconds = atof(argv[10]);
	if (r < 0 || o.src == INADDR_NONE || o.vip == INADDR_NONE || !o.port || !o.rate ||
	    o.seconds <= 0 || o.seconds > 60) {
		fprintf(stderr, "framelat: an argument is out of range\n");
		return 2;
	}
	r = run(&o);
	if (r < 0)
		fprintf(stderr, "framelat: %s\n", strerror(-r));
	return r < 0;
}
