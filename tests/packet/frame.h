/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Layers by name -> the bytes of a frame. Independent of bpf/core: headers are written byte by
 * byte in network order, with checksum code of their own, so that an error in the core cannot
 * hide in what is expected of it.
 */
#ifndef TESTS_PACKET_FRAME_H
#define TESTS_PACKET_FRAME_H

#include <stdint.h>

#define FRAME_MAX  2048
#define LAYERS_MAX 12

#define AUTO	  (-1) /* the right value, computed */
#define FLOW_HASH (-2) /* what a balancer derives from the flow's hash */

/* Numbers below 32 are backend ids as well. */
enum host {
	NOBODY = 0,
	NODE1 = 1,  /* IPv4, on the balancer's segment */
	NODE2 = 2,
	NODE3 = 3,  /* IPv6, on the balancer's segment */
	NODE4 = 4,
	NODE5 = 5,  /* IPv4, behind another device */
	NODE6 = 6,  /* IPv6, behind another device */
	NODE7 = 7,  /* IPv4, outer source varies with the flow */
	NODE8 = 8,  /* IPv6, outer source varies with the flow */
	NODE9 = 9,  /* IPv4, next hop not resolved */
	NODES_N,
	BY_HASH = 31, /* whichever node the flow's hash picks (cases with `spread`) */
	CLIENT = 32,
	CLIENT2,
	CLIENT3,
	ROUTER,	 /* the link-layer neighbour that clients' packets come from */
	LB,	 /* the balancer on the device it receives on */
	LB_FAR,	 /* the balancer on its other device */
	VIP,
	VIP_B,	 /* another address, no VIP unless a case makes it one */
	STRANGER,
	HOSTS_N,
};

struct host_addresses {
	uint8_t mac[6];
	uint8_t ip4[4];
	uint8_t ip6[16];
};

extern const struct host_addresses hosts[HOSTS_N];

enum layer_kind {
	LAYER_END = 0,
	LAYER_ETH,
	LAYER_VLAN,
	LAYER_IP4,
	LAYER_IP6,
	LAYER_EXT,  /* IPv6 extension header of type `proto`: n more units of 8 bytes */
	LAYER_FRAG, /* IPv6 fragment header; frag: offset and M as they stand in the header */
	LAYER_TCP,
	LAYER_UDP,
	LAYER_ICMP4,
	LAYER_ICMP6,
	LAYER_DATA, /* n bytes of payload */
	LAYER_PAD,  /* n bytes behind the IP packet */
};

/* Fields that are AUTO are computed; any other value is written as it is, true or not. */
struct layer {
	enum layer_kind kind;
	enum host src, dst;
	int near;	/* IP4, IP6: dst is another address, with these low 16 bits inverted */
	int proto;	/* next protocol; ETH, VLAN: ethertype; EXT: type of this header */
	int next;	/* EXT: protocol that follows; 0: that of the next layer */
	int tpid;	/* VLAN: ethertype of the tag itself */
	int tci;	/* VLAN */
	int ihl;	/* IP4: header words; options beyond 5 are NOPs */
	int options;	/* IP4, TCP: words of options really there; AUTO: what ihl, doff say */
	int version;	/* IP4, IP6 */
	int len;	/* IP4 total, IP6 payload, UDP length, EXT length unit */
	int id, frag;	/* IP4; frag is flags and offset together, host order */
	int ttl, tos;
	int flow;	/* IP6: flow label */
	int check;
	int sport, dport;
	uint32_t seq, ack;
	int doff, flags, window, urgent;
	int type, code; /* ICMP */
	uint32_t rest;	/* ICMP: the word behind the checksum */
	int n;		/* DATA, PAD: bytes; EXT: units beyond the first; TCP: bytes there, 0: all */
	int seed;	/* DATA: what the bytes begin with */
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20

#define IP_DF 0x4000
#define IP_MF 0x2000

#define EXT_HOP	 0
#define EXT_ROUTE 43
#define EXT_DST	 60

#define ETH(s, d, ...)	 {.kind = LAYER_ETH, .src = s, .dst = d, .proto = AUTO, __VA_ARGS__}
#define VLAN(vid, ...)	 {.kind = LAYER_VLAN, .tci = vid, .tpid = 0x8100, .proto = AUTO, __VA_ARGS__}
#define IP4(s, d, ...)                                                                             \
	{.kind = LAYER_IP4, .src = s, .dst = d, .proto = AUTO, .version = 4, .ihl = 5,             \
	 .options = AUTO, .len = AUTO, .frag = IP_DF, .ttl = 64, .check = AUTO, __VA_ARGS__}
#define IP6(s, d, ...)                                                                             \
	{.kind = LAYER_IP6, .src = s, .dst = d, .proto = AUTO, .version = 6, .len = AUTO,          \
	 .ttl = 64, __VA_ARGS__}
#define EXT(type, ...)	 {.kind = LAYER_EXT, .proto = type, .len = AUTO, __VA_ARGS__}
#define FRAG(word)	 {.kind = LAYER_FRAG, .frag = word, .rest = 0x01020304}
#define TCP(s, d, f, ...)                                                                          \
	{.kind = LAYER_TCP, .sport = s, .dport = d, .flags = f, .seq = 0x10203040,                 \
	 .ack = (f) & TCP_ACK ? 0x50607080 : 0, .doff = 5, .options = AUTO, .window = 64240,       \
	 .check = AUTO, __VA_ARGS__}
#define UDP(s, d, ...)                                                                             \
	{.kind = LAYER_UDP, .sport = s, .dport = d, .len = AUTO, .check = AUTO, __VA_ARGS__}
#define ICMP4(t, c, ...) {.kind = LAYER_ICMP4, .type = t, .code = c, .check = AUTO, __VA_ARGS__}
#define ICMP6(t, c, ...) {.kind = LAYER_ICMP6, .type = t, .code = c, .check = AUTO, __VA_ARGS__}
#define DATA(bytes, ...) {.kind = LAYER_DATA, .n = bytes, __VA_ARGS__}
#define PAD(bytes)	 {.kind = LAYER_PAD, .n = bytes}

#pragma GCC diagnostic ignored "-Woverride-init" /* the macros' defaults are meant to be replaced */

struct frame {
	uint32_t len;
	uint8_t b[FRAME_MAX];
};

/*
 * Layers up to LAYER_END -> frame. hash: of the flow, for fields that are FLOW_HASH (host order).
 * Asserts that they fit FRAME_MAX.
 */
void frame_build(const struct layer *layers, uint32_t hash, struct frame *ret_frame);

/* Number of layers before LAYER_END. */
int layers_count(const struct layer *layers);

/* Length the first IP header of the layers claims, header included. */
uint32_t layers_ip_len(const struct layer *layers);

/* RFC 1071 over n bytes, added to sum (unfolded); and the folded complement. */
uint32_t checksum_add(uint32_t sum, const uint8_t *p, uint32_t n);
uint16_t checksum_end(uint32_t sum);

#endif
