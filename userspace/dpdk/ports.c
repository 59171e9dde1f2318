// SPDX-License-Identifier: BSD-2-Clause
#include "userspace/dpdk/ports.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <rte_eal.h>
#include <rte_mbuf_pool_ops.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "userspace/dpdk/eal.h"
#include "userspace/dpdk/rte.h"
#include "userspace/lib/cleanup.h"

#define RING_SIZE  1024
#define POOL_CACHE 256
#define FRAME_ROOM 2048 /* bytes of a frame that the standard buffer holds */

__attribute__((format(printf, 3, 4))) static int fail(char *err, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, DPDK_ERROR_MAX, fmt, ap);
	va_end(ap);
	return r < 0 ? r : -EIO;
}

/* fail(), with what DPDK said about it. */
static int fail_dpdk(char *err, int r, const char *device, const char *what)
{
	const char *said = eal_said();

	if (strstr(said, "cannot attach"))
		said = "its driver refuses it: are its arguments right, and is none missing?";
	/* Drivers return -1 for want of a better number, and it is no question of permission. */
	return fail(err, r, "device %s: %s: %s", device, what, *said ? said : strerror(-r));
}

/* --- the kernel's side ------------------------------------------------------------------------ */

static int link_ioctl(const char *name, unsigned long request, struct ifreq *ifr)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", name);
	return ioctl(fd, request, ifr) < 0 ? -errno : 0;
}

/* Make the TAP device unless it is there. Returns 0; -EINVAL: the name is another device's. */
static int make_tap(const char *name)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE};
	_cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (strlen(name) >= sizeof(ifr.ifr_name))
		return -ENAMETOOLONG;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0)
		return -errno;
	return 0;
}

static int set_mac(const char *name, const struct rte_ether_addr *mac)
{
	struct ifreq ifr = {};

	ifr.ifr_hwaddr.sa_family = 1; /* ARPHRD_ETHER */
	memcpy(ifr.ifr_hwaddr.sa_data, mac->addr_bytes, RTE_ETHER_ADDR_LEN);
	return link_ioctl(name, SIOCSIFHWADDR, &ifr);
}

static int get_mac(const char *name, struct rte_ether_addr *ret_mac)
{
	struct ifreq ifr = {};
	int r = link_ioctl(name, SIOCGIFHWADDR, &ifr);

	if (r < 0)
		return r;
	memcpy(ret_mac->addr_bytes, ifr.ifr_hwaddr.sa_data, RTE_ETHER_ADDR_LEN);
	return 0;
}

static int get_mtu(const char *name, uint16_t *ret_mtu)
{
	struct ifreq ifr = {};
	int r = link_ioctl(name, SIOCGIFMTU, &ifr);

	if (r < 0)
		return r;
	*ret_mtu = ifr.ifr_mtu;
	return 0;
}

static int get_ifindex(const char *name, uint32_t *ret_ifindex)
{
	struct ifreq ifr = {};
	int r = link_ioctl(name, SIOCGIFINDEX, &ifr);

	if (r < 0)
		return r;
	*ret_ifindex = ifr.ifr_ifindex;
	return 0;
}

/* --- DPDK's side ------------------------------------------------------------------------------ */

/* "net_af_xdp0,iface=eth0" -> "net_af_xdp0", by which the device is found. */
static void name_of(const char *device, char ret_name[RTE_ETH_NAME_MAX_LEN])
{
	snprintf(ret_name, RTE_ETH_NAME_MAX_LEN, "%.*s", (int)strcspn(device, ","), device);
}

static int probe(const char *device, uint16_t *ret_id, char *err)
{
	char name[RTE_ETH_NAME_MAX_LEN];
	int r = 0;

	name_of(device, name);
	if (rte_eth_dev_get_port_by_name(name, ret_id) == 0)
		return 0; /* made by the EAL's own arguments */
	eal_said_clear();
	r = rte_dev_probe(device);
	if (r < 0)
		return fail_dpdk(err, r, device, "cannot be opened");
	if (rte_eth_dev_get_port_by_name(name, ret_id) < 0)
		return fail(err, -ENODEV, "device %s: DPDK has no port of that name", device);
	return 0;
}

enum side { SIDE_WIRE = 1, SIDE_KERNEL };

/*
 * What the device can do of what helps: RSS over the queues, checksums looked at on reception (not
 * of what the kernel made itself: a mirror does that in software). Tags stay in the frame, where
 * the core takes them as they are.
 */
static struct rte_eth_conf config_of(const struct rte_eth_dev_info *info, uint16_t n_queues,
				     enum side side, bool one_pool)
{
	const uint64_t rss = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
	struct rte_eth_conf conf = {};

	if (side == SIDE_WIRE)
		conf.rxmode.offloads = info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
	/*
	 * Frames for the wire are whole: the core wants them so, and mirrors do not scatter what
	 * they read. So drivers may send them by their fastest way.
	 */
	if (side == SIDE_KERNEL)
		conf.txmode.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	else if (one_pool)
		conf.txmode.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
	if (n_queues > 1 && (info->flow_type_rss_offloads & rss)) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = info->flow_type_rss_offloads & rss;
	}
	return conf;
}

static int setup_queues(uint16_t id, uint16_t n_queues, struct rte_mempool *pool)
{
	uint16_t n_rx = RING_SIZE, n_tx = RING_SIZE;
	int r = rte_eth_dev_adjust_nb_rx_tx_desc(id, &n_rx, &n_tx);

	for (uint16_t q = 0; q < n_queues && r == 0; q++) {
		r = rte_eth_rx_queue_setup(id, q, n_rx, rte_eth_dev_socket_id(id), NULL, pool);
		if (r == 0)
			r = rte_eth_tx_queue_setup(id, q, n_tx, rte_eth_dev_socket_id(id), NULL);
	}
	return r;
}

static int start(const struct port *p, enum side side, uint16_t n_queues, char *err)
{
	const char *device = side == SIDE_WIRE ? p->device : p->mirror;
	uint16_t id = side == SIDE_WIRE ? p->id : p->mirror_id;

	struct rte_eth_dev_info info;
	struct rte_eth_conf conf;
	int r;

	r = rte_eth_dev_info_get(id, &info);
	if (r < 0)
		return fail(err, r, "device %s: %s", device, strerror(-r));
	if (info.max_rx_queues < n_queues || info.max_tx_queues < n_queues)
		return fail(err, -EINVAL, "device %s has %u receive and %u transmit queues, and "
			    "%u cores are configured", device, info.max_rx_queues,
			    info.max_tx_queues, n_queues);
	eal_said_clear();
	conf = config_of(&info, n_queues, side, p->one_pool);
	r = rte_eth_dev_configure(id, n_queues, n_queues, &conf);
	if (r == 0)
		r = setup_queues(id, n_queues, p->pool);
	if (r == 0)
		r = rte_eth_dev_start(id);
	return r < 0 ? fail_dpdk(err, r, device, "cannot be started") : 0;
}

static bool is_af_xdp(const char *device)
{
	return !strncmp(device, "net_af_xdp", strlen("net_af_xdp"));
}

/*
 * rte_pktmbuf_pool_create(), and for AF_XDP without the gaps that keep buffers from crossing pages:
 * the driver (net/af_xdp, 22.11) registers number times size bytes from the first one on, and the
 * kernel then discards what is sent from a buffer beyond (tx_invalid_descs), which never comes back.
 * With pages of 4 KiB that was two of five.
 */
static struct rte_mempool *create_pool(const char *device, const char *name, uint32_t n,
				       uint16_t room, int socket)
{
	struct rte_pktmbuf_pool_private private = {.mbuf_data_room_size = room};
	unsigned int flags = is_af_xdp(device) ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0;
	struct rte_mempool *pool =
		rte_mempool_create_empty(name, n, sizeof(struct rte_mbuf) + room, POOL_CACHE,
					 sizeof(private), socket, flags);

	if (!pool)
		return NULL;
	rte_pktmbuf_pool_init(pool, &private);
	if (rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL) < 0 ||
	    rte_mempool_populate_default(pool) < 0 ||
	    (is_af_xdp(device) && pool->nb_mem_chunks != 1)) {
		rte_mempool_free(pool);
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

static int make_pool(struct port *p, uint32_t index, uint16_t n_queues, uint16_t mtu, char *err)
{
	/* all rings full on both sides, a burst in each hand, the caches */
	uint32_t n = n_queues * (4 * RING_SIZE + 2 * WORKER_PENDING + POOL_CACHE) - 1;
	uint32_t room = mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN + 2 * RTE_VLAN_HLEN;
	char name[RTE_MEMPOOL_NAMESIZE];

	if (room < FRAME_ROOM)
		room = FRAME_ROOM;
	snprintf(name, sizeof(name), "sluice_frames_%u", index);
	p->pool = create_pool(p->device, name, n, room + RTE_PKTMBUF_HEADROOM,
			      rte_eth_dev_socket_id(p->id));
	if (!p->pool) /* none left on its memory node: slower is better than not at all */
		p->pool = create_pool(p->device, name, n, room + RTE_PKTMBUF_HEADROOM,
				      SOCKET_ID_ANY);
	if (p->pool)
		return 0;
	return fail(err, -ENOMEM, "device %s: no memory for %u frames of %u bytes: %s", p->device,
		    n, room, rte_eal_has_hugepages()
				     ? "reserve more huge pages, or set dpdk.huge_pages: false"
				     : "the argument -m for DPDK is too small");
}

static int open_mirror(struct port *p, uint32_t index, uint16_t n_queues, char *err)
{
	struct rte_ether_addr mac;
	char device[128];
	int r;

	r = rte_eth_macaddr_get(p->id, &mac);
	if (r == 0 && rte_is_zero_ether_addr(&mac)) /* a ring has none */
		r = get_mac(p->mirror, &mac);
	if (r < 0)
		return fail(err, r, "device %s: no address: %s", p->device, strerror(-r));
	snprintf(device, sizeof(device),
		 "net_tap_mirror%u,iface=%s,mac=" RTE_ETHER_ADDR_PRT_FMT, index, p->mirror,
		 RTE_ETHER_ADDR_BYTES(&mac));
	r = probe(device, &p->mirror_id, err);
	if (r == 0)
		r = start(p, SIDE_KERNEL, n_queues, err);
	if (r < 0)
		return r;
	r = set_mac(p->mirror, &mac);
	return r < 0 ? fail(err, r, "mirror %s: cannot set its address: %s", p->mirror,
			    strerror(-r))
		     : 0;
}

static int open_kernel_side(struct port *p, char *err)
{
	int r = make_tap(p->mirror);

	if (r == -EINVAL || r == -EBUSY)
		return fail(err, r, "interface %s exists and is no TAP device with several queues "
			    "('ip tuntap add %s mode tap multi_queue' makes one), or is in use",
			    p->mirror, p->mirror);
	if (r == 0)
		r = get_ifindex(p->mirror, &p->ifindex);
	if (r == 0)
		r = get_mtu(p->mirror, &p->mtu);
	return r < 0 ? fail(err, r, "interface %s: cannot make the TAP device: %s", p->mirror,
			    strerror(-r))
		     : 0;
}

int port_open(struct port *p, uint32_t index, uint16_t n_queues, char err[DPDK_ERROR_MAX])
{
	int r;

	r = open_kernel_side(p, err);
	if (r == 0)
		r = probe(p->device, &p->id, err);
	if (r == 0)
		r = make_pool(p, index, n_queues, p->mtu, err);
	if (r < 0)
		return r;
	/* not every device has a say in its MTU */
	(void)rte_eth_dev_set_mtu(p->id, p->mtu);
	r = start(p, SIDE_WIRE, n_queues, err);
	if (r < 0)
		return r;
	p->started = true;
	(void)rte_eth_allmulticast_enable(p->id); /* neighbour discovery; not every device filters */
	return open_mirror(p, index, n_queues, err);
}

/*
 * The mirror is left as it is: its driver would take the link down, and the kernel its routes away.
 * The end of the process closes it.
 */
void port_close(struct port *p)
{
	if (!p->started)
		return;
	(void)rte_eth_dev_stop(p->id);
	(void)rte_eth_dev_close(p->id);
	p->started = false;
}
