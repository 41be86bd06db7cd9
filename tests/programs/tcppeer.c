// SPDX-License-Identifier: GPL-2.0
/*
 * vptest tcppeer LINK ADDRESS
 *   A TCP endpoint of its own, at an address that the kernel does not have, through a packet
 *   socket: it does what a script says, also what no TCP would do.  It takes one connection
 *   (or makes one); both streams are the pattern.  Lines on standard input:
 *     data LEN           send the next bytes; again each 0.3 s as long as they are not acknowledged
 *     fin                ... and the end of the stream; {"fin_acked":1}
 *     lose LEN           the next bytes are not sent, and nothing is sent again, until:
 *     resend             what is not acknowledged is
 *     ignore WHAT        all: what comes is told, and not taken; fin: only its FIN is not; none
 *     seg FLAGS SEQ ACK LEN [WINDOW]   a segment, FLAGS of SAFRP; SEQ is relative to the next
 *                        byte to send, ACK to the next one expected; changes nothing here
 *     limit POS          take no byte from POS on, and let the window end there
 *     hole POS N         do not take the segment at POS; say by SACK that what comes behind it
 *                        was taken, which is not true; N frames later forget it all
 *     at POS LINE        do that when so many bytes were received; {"at":POS}
 *     acked POS LINE     ... when so many bytes that were sent are acknowledged; {"acked":POS}
 *     ack                an acknowledgement
 *     connect HOST PORT FROM   make the connection, from that port
 *     reopen SEQ         make it anew, from the same port; SEQ as of seg
 *     stamps 0           without timestamps
 *     stop               the end, when both streams have ended, by FIN or RST (or 10 s later)
 *   {"port":the other's} when it opens.  Each segment without data and each with SYN, FIN, RST
 *   is told:
 *   {"flags":"A","seq":,"ack":,"window":,"len":}, seq and ack as bytes of the streams; and at
 *   the end {"received":,"fin":,"sent":,"acked":,"resent":segments that had to be sent again,
 *   "again":bytes that came again,"gaps":segments behind bytes that never came,
 *   "ts_back":,"ack_back":,"edge_back":segments whose timestamp, acknowledgement, or end of the
 *   window was before that of one that came earlier}.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"
#include "vptest.h"

#define ISS		0x10000000u
#define SEGMENT		1400u
#define MAX_WINDOW	65000u
#define RESEND_MS	300
#define STOP_MS		10000
#define TRIGGERS	16

static int link_fd;
static uint32_t own_ip;
static unsigned char own_mac[ETH_ALEN], peer_mac[ETH_ALEN];

static struct {
	int open, dead, reset, connecting, fin_sent, fin_received, timestamps;
	int held;			/* nothing is sent again */
	uint32_t peer_ip, iss, irs, ts_recent, snd_max, edge, ack_max;
	uint16_t port, peer_port;
	unsigned int scale;		/* of the windows that come */
	struct stream s;		/* what was sent; received in order */
	uint64_t acked, limit;		/* acked: without the FIN */
	int fin_acked, fin_told;
	uint64_t hole, sack_from, sack_to;
	unsigned int hole_left;
	uint64_t again;
	unsigned int resent, gaps, ts_back, ack_back, edge_back;
	double sent_at, stop_at;
} c = { .iss = ISS, .limit = UINT64_MAX, .hole = UINT64_MAX };

static int stamps = 1;
static enum { IGNORE_NONE, IGNORE_FIN, IGNORE_ALL } ignore;

static struct {
	char line[120];
	uint64_t pos;
	int acked;
} trigger[TRIGGERS];

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static uint32_t sum(const void *data, size_t len, uint32_t acc)
{
	const unsigned char *p = data;

	for (; len > 1; p += 2, len -= 2)
		acc += (uint32_t)p[0] << 8 | p[1];
	return len ? acc + ((uint32_t)*p << 8) : acc;
}

static uint16_t fold(uint32_t acc)
{
	while (acc >> 16)
		acc = (acc & 0xffff) + (acc >> 16);
	return htons((uint16_t)~acc);
}

static void put32(unsigned char **p, uint32_t value)
{
	value = htonl(value);
	memcpy(*p, &value, 4);
	*p += 4;
}

/* Options of a segment; its length. */
static size_t options(unsigned char *to, int syn)
{
	unsigned char *p = to;

	if (syn) {
		put32(&p, 0x02040000 | 1460);
		put32(&p, 0x01030300);		/* a window scale of 0 */
		put32(&p, 0x01010402);
	}
	if (c.timestamps) {
		put32(&p, 0x0101080a);
		put32(&p, (uint32_t)now_ms());
		put32(&p, c.ts_recent);
	}
	if (c.sack_to > c.sack_from && !syn) {
		put32(&p, 0x0101050a);
		put32(&p, c.irs + 1 + (uint32_t)c.sack_from);
		put32(&p, c.irs + 1 + (uint32_t)c.sack_to);
	}
	return (size_t)(p - to);
}

static uint32_t window(void)
{
	uint64_t room = c.limit > c.s.received ? c.limit - c.s.received : 0;

	return room < MAX_WINDOW ? (uint32_t)room : MAX_WINDOW;
}

static uint32_t rcv_nxt(void)
{
	return c.irs + 1 + (uint32_t)c.s.received + (uint32_t)c.fin_received;
}

static uint32_t snd_nxt(void)
{
	return c.iss + 1 + (uint32_t)c.s.sent + (uint32_t)c.fin_sent;
}

static void transmit(unsigned int flags, uint32_t seq, uint32_t ack, uint64_t at, size_t len,
		     uint32_t win)
{
	unsigned char frame[ETH_HLEN + 20 + 60 + SEGMENT];
	unsigned char *tcp = frame + ETH_HLEN + 20;
	struct ether_header *eth = (void *)frame;
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP,
			    .saddr = own_ip, .daddr = c.peer_ip, .frag_off = htons(0x4000) };
	struct tcphdr th = { .source = htons(c.port), .dest = htons(c.peer_port),
			     .seq = htonl(seq), .ack_seq = htonl(ack), .window = htons(win) };
	size_t head = 20 + options(tcp + 20, flags & TH_SYN);
	uint32_t acc = IPPROTO_TCP;

	memcpy(eth->ether_dhost, peer_mac, ETH_ALEN);
	memcpy(eth->ether_shost, own_mac, ETH_ALEN);
	eth->ether_type = htons(ETHERTYPE_IP);
	stream_pattern(at, tcp + head, len);
	ip.tot_len = htons((uint16_t)(20 + head + len));
	ip.check = fold(sum(&ip, sizeof(ip), 0));
	memcpy(frame + ETH_HLEN, &ip, sizeof(ip));
	th.doff = head / 4 & 15;
	memcpy(tcp, &th, 20);
	tcp[13] = (unsigned char)flags;
	acc = sum(&ip.saddr, 8, acc + (uint32_t)(head + len));
	th.check = fold(sum(tcp, head + len, acc));
	memcpy(tcp + 16, &th.check, 2);
	if (send(link_fd, frame, ETH_HLEN + 20 + head + len, 0) < 0)
		die("send: %s", strerror(errno));
}

static void send_ack(void)
{
	transmit(TH_ACK, snd_nxt(), rcv_nxt(), 0, 0, window());
}

/* From byte `at` of our stream on, as far as there are any, at most `most` segments. */
static void send_from(uint64_t at, unsigned int most)
{
	for (; at < c.s.sent && most; most--) {
		size_t n = c.s.sent - at < SEGMENT ? (size_t)(c.s.sent - at) : SEGMENT;

		transmit(TH_ACK | TH_PUSH, c.iss + 1 + (uint32_t)at, rcv_nxt(), at, n, window());
		at += n;
	}
	if (c.fin_sent && most)
		transmit(TH_ACK | TH_FIN, c.iss + 1 + (uint32_t)at, rcv_nxt(), 0, 0, window());
	c.sent_at = now_ms();
}

static unsigned int parse_flags(const char *text)
{
	static const char names[] = "FSRPA";
	unsigned int flags = 0;

	for (; *text; text++)
		flags |= strchr(names, *text) ? 1U << (strchr(names, *text) - names) : 0;
	return flags;
}

static void add_trigger(const char *line, uint64_t pos, int acked)
{
	for (int i = 0; i < TRIGGERS; i++) {
		if (trigger[i].line[0])
			continue;
		snprintf(trigger[i].line, sizeof(trigger[i].line), "%s", line);
		trigger[i].pos = pos;
		trigger[i].acked = acked;
		return;
	}
	die("too many triggers");
}

static void state(void)
{
	printf("{\"received\":%llu,\"fin\":%d,\"sent\":%llu,\"acked\":%llu,\"resent\":%u,"
	       "\"again\":%llu,\"gaps\":%u,\"ts_back\":%u,\"ack_back\":%u,\"edge_back\":%u}\n",
	       (unsigned long long)c.s.received, c.fin_received, (unsigned long long)c.s.sent,
	       (unsigned long long)c.acked, c.resent, (unsigned long long)c.again, c.gaps,
	       c.ts_back, c.ack_back, c.edge_back);
	exit(0);
}

static void arp_send(uint16_t op, const unsigned char *mac, uint32_t ip)
{
	static const unsigned char all[ETH_ALEN] = { 255, 255, 255, 255, 255, 255 };
	struct ether_arp arp = { .ea_hdr = { htons(ARPHRD_ETHER), htons(ETHERTYPE_IP), ETH_ALEN, 4,
					     htons(op) } };
	unsigned char frame[ETH_HLEN + sizeof(arp)];
	struct ether_header *eth = (void *)frame;

	memcpy(eth->ether_dhost, mac ? mac : all, ETH_ALEN);
	memcpy(eth->ether_shost, own_mac, ETH_ALEN);
	eth->ether_type = htons(ETHERTYPE_ARP);
	memcpy(arp.arp_sha, own_mac, ETH_ALEN);
	memcpy(arp.arp_spa, &own_ip, 4);
	if (mac)
		memcpy(arp.arp_tha, mac, ETH_ALEN);
	memcpy(arp.arp_tpa, &ip, 4);
	memcpy(frame + ETH_HLEN, &arp, sizeof(arp));
	send(link_fd, frame, sizeof(frame), 0);
}

static void send_syn(void)
{
	c.connecting = 1;
	c.timestamps = stamps;
	c.ts_recent = 0;
	transmit(TH_SYN, c.iss, 0, 0, 0, window());
}

/* The connection that was there is over; the ends of the new one are the same. */
static void reopen(uint32_t iss)
{
	c.iss = iss;
	memset(&c.s, 0, sizeof(c.s));
	c.open = c.dead = c.reset = c.fin_sent = c.fin_received = c.fin_acked = c.fin_told = 0;
	c.acked = 0;
	send_syn();
}

static void ignore_what(const char *what)
{
	static const char * const names[] = { "none", "fin", "all" };

	for (int i = 0; i < 3; i++)
		if (!strcmp(what, names[i]))
			ignore = i;
}

/* About what comes and goes; false: it is something else. */
static int command_traffic(const char *line)
{
	unsigned long long a;
	char word[16];
	int port, from;

	if (sscanf(line, "lose %llu", &a) == 1) {
		c.s.sent += a;
		c.held = 1;
	} else if (!strcmp(line, "resend")) {
		c.held = 0;
		send_from(c.acked, UINT32_MAX);
	} else if (sscanf(line, "ignore %15s", word) == 1) {
		ignore_what(word);
	} else if (sscanf(line, "connect %15s %d %d", word, &port, &from) == 3) {
		if (inet_pton(AF_INET, word, &c.peer_ip) != 1)
			die("%s is no address", word);
		c.port = (uint16_t)from;
		c.peer_port = (uint16_t)port;
		c.connecting = 1;
		arp_send(ARPOP_REQUEST, NULL, c.peer_ip);
	} else if (sscanf(line, "stamps %d", &port) == 1) {
		stamps = port;
	} else {
		return 0;
	}
	return 1;
}

static void command(const char *line)
{
	unsigned long long a = 0;
	unsigned int flags, n = 0;
	long long seq, ack;
	char word[16];
	int rest = 0;

	if (sscanf(line, "at %llu %n", &a, &rest) == 1 && rest) {
		add_trigger(line + rest, a, 0);
	} else if (sscanf(line, "acked %llu %n", &a, &rest) == 1 && rest) {
		add_trigger(line + rest, a, 1);
	} else if (sscanf(line, "data %llu", &a) == 1) {
		c.s.sent += a;
		send_from(c.s.sent - a, UINT32_MAX);
	} else if (!strcmp(line, "fin")) {
		c.fin_sent = 1;
		send_from(c.s.sent, 1);
	} else if (sscanf(line, "limit %llu", &a) == 1) {
		c.limit = a;
		if (c.open)
			send_ack();
	} else if (sscanf(line, "hole %llu %u", &a, &n) == 2) {
		c.hole = a;
		c.hole_left = n;
	} else if (sscanf(line, "seg %15s %lld %lld %llu %u", word, &seq, &ack, &a, &n) >= 4) {
		flags = parse_flags(word);
		transmit(flags, snd_nxt() + (uint32_t)seq, flags & TH_ACK ? rcv_nxt() +
			 (uint32_t)ack : 0, c.s.sent + (uint64_t)seq, a, n ? n : window());
		c.dead |= flags & TH_RST && !seq;
	} else if (!strcmp(line, "ack")) {
		send_ack();
	} else if (!strcmp(line, "stop")) {
		c.stop_at = now_ms() + STOP_MS;
	} else if (sscanf(line, "reopen %lld", &seq) == 1) {
		reopen(snd_nxt() + (uint32_t)seq);
	} else if (*line && !command_traffic(line)) {
		die("unknown: %s", line);
	}
}

static void run_triggers(void)
{
	char line[sizeof(trigger[0].line)];

	for (int i = 0; i < TRIGGERS; i++) {
		if (!trigger[i].line[0] ||
		    (trigger[i].acked ? c.acked : c.s.received) < trigger[i].pos)
			continue;
		printf("{\"%s\":%llu}\n", trigger[i].acked ? "acked" : "at",
		       (unsigned long long)trigger[i].pos);
		strcpy(line, trigger[i].line);
		trigger[i].line[0] = 0;
		command(line);
	}
}

/* The value of the timestamp option of a segment, if there is one. */
static int timestamp(const unsigned char *tcp, size_t head, uint32_t *value)
{
	for (size_t i = 20; i + 1 < head && tcp[i];) {
		if (tcp[i] == 8 && i + 10 <= head) {
			memcpy(value, tcp + i + 2, 4);
			*value = ntohl(*value);
			return 1;
		}
		i += tcp[i] == 1 ? 1 : tcp[i + 1] < 2 ? 2 : tcp[i + 1];
	}
	return 0;
}

static void scale(const unsigned char *tcp, size_t head)
{
	for (size_t i = 20; i + 1 < head && tcp[i];) {
		if (tcp[i] == 3)
			c.scale = tcp[i + 2];
		i += tcp[i] == 1 ? 1 : tcp[i + 1] < 2 ? 2 : tcp[i + 1];
	}
}

/* What must not happen to a connection, whoever sends its segments. */
static void watch(uint32_t seq, uint32_t ack, uint32_t win, size_t len, int stamped, uint32_t ts)
{
	uint32_t end = seq + (uint32_t)len;

	if (stamped && (int32_t)(ts - c.ts_recent) < 0)
		c.ts_back++;
	else if (stamped)
		c.ts_recent = ts;
	if ((int32_t)(ack - c.ack_max) < 0)
		c.ack_back++;
	else
		c.ack_max = ack;
	if ((int32_t)(ack + win - c.edge) < 0)
		c.edge_back++;
	else
		c.edge = ack + win;
	if (len && (int32_t)(seq - c.snd_max) > 0)
		c.gaps++;
	else if (len && (int32_t)(c.snd_max - seq) > 0)
		c.again += (int32_t)(end - c.snd_max) > 0 ? c.snd_max - seq : len;
	if ((int32_t)(end - c.snd_max) > 0)
		c.snd_max = end;
}

static void tell(unsigned int flags, uint32_t seq, uint32_t ack, uint32_t win, size_t len)
{
	char text[8] = "", *p = text;

	for (int i = 0; i < 5; i++)
		if (flags & 1U << i)
			*p++ = "FSRPA"[i];
	printf("{\"flags\":\"%s\",\"seq\":%d,\"ack\":%d,\"window\":%u,\"len\":%zu}\n", text,
	       (int32_t)(seq - c.irs - 1), (int32_t)(ack - c.iss - 1), win, len);
}

/*
 * Bytes that came while one segment at the hole is not taken.  One frame may be many segments
 * that were put together.
 */
static void mind_hole(uint64_t at, uint64_t end)
{
	if (at < c.hole + SEGMENT)
		at = c.hole + SEGMENT;
	if (at < end) {
		if (!c.sack_to || at < c.sack_from)
			c.sack_from = at;
		if (end > c.sack_to)
			c.sack_to = end;
	} else if (!c.sack_to) {
		return;		/* nothing behind it yet */
	}
	if (!--c.hole_left) {
		c.hole = UINT64_MAX;
		c.sack_to = 0;
	}
}

/* Bytes of theirs from stream position `at` on. */
static void take(uint64_t at, const unsigned char *data, size_t len)
{
	uint64_t end = c.limit < c.hole ? c.limit : c.hole;
	uint64_t skip = c.s.received - at, more = at + len;

	if (at <= c.s.received && skip < len && end > c.s.received) {
		if (more > end)
			more = end;
		stream_check(&c.s, data + skip, (size_t)(more - c.s.received));
	}
	if (c.hole_left && c.s.received >= c.hole && at + len > c.hole)
		mind_hole(at, at + len);
}

/* A SYN has come, or the answer to ours. */
static void accepted(const unsigned char *tcp, size_t head, const struct tcphdr *th, uint32_t from)
{
	uint32_t ts = 0;

	if (!c.open)
		printf("{\"port\":%u}\n", ntohs(th->source));
	c.open = 1;
	c.peer_ip = from;
	c.peer_port = ntohs(th->source);
	c.port = ntohs(th->dest);
	c.irs = ntohl(th->seq);
	c.snd_max = c.irs + 1;
	c.ack_max = c.edge = c.iss + 1;
	scale(tcp, head);
	c.timestamps = timestamp(tcp, head, &ts) && stamps;
	c.ts_recent = ts;
	if (c.connecting)
		send_ack();
	else
		transmit(TH_SYN | TH_ACK, c.iss, c.irs + 1, 0, 0, window());
	c.connecting = 0;
}

static void segment(const unsigned char *tcp, size_t size, uint32_t from)
{
	struct tcphdr th;
	uint32_t seq, ack, win, ts;
	unsigned int flags = tcp[13] & 31U;
	size_t head, len;
	uint64_t at;
	int stamped;

	memcpy(&th, tcp, 20);
	head = th.doff * 4U;
	if (head > size)
		return;
	len = size - head;
	seq = ntohl(th.seq);
	ack = ntohl(th.ack_seq);
	win = (uint32_t)ntohs(th.window) << c.scale;
	if (flags & TH_SYN && !c.connecting == !(flags & TH_ACK)) {
		if (!c.open || seq == c.irs)
			accepted(tcp, head, &th, from);
		return;
	}
	if (ntohs(th.source) != c.peer_port || from != c.peer_ip)
		return;
	if (c.connecting)
		tell(flags, seq, ack, win, len);
	if (!c.open)
		return;
	if (c.dead) {
		if (!(flags & TH_RST))
			transmit(TH_RST, ack, 0, 0, 0, 0);
		return;
	}
	stamped = timestamp(tcp, head, &ts);
	if (!(flags & TH_RST))
		watch(seq, ack, win, len, stamped, ts);
	if (!len || flags & (TH_FIN | TH_RST))
		tell(flags, seq, ack, win, len);
	if (c.fin_sent && !c.fin_told && ack == snd_nxt()) {
		c.fin_told = 1;
		printf("{\"fin_acked\":1}\n");
	}
	c.reset |= flags & TH_RST;
	if (ignore == IGNORE_ALL)
		return;
	if ((int32_t)(ack - (c.iss + 1 + (uint32_t)c.acked)) > 0) {
		c.acked += ack - (c.iss + 1 + (uint32_t)c.acked);
		c.fin_acked = c.acked > c.s.sent;
		if (c.fin_acked)
			c.acked = c.s.sent;
		c.sent_at = now_ms();
	}
	/* Around where we are, so that 32 bits suffice. */
	at = c.s.received + (uint64_t)(int64_t)(int32_t)(seq - (c.irs + 1 +
							   (uint32_t)c.s.received));
	if (len)
		take(at, tcp + head, len);
	if (flags & TH_FIN && at + len == c.s.received && !c.fin_received && !ignore) {
		c.fin_received = 1;
		c.snd_max = seq + (uint32_t)len + 1;
	}
	/* Data, a FIN, or what is not expected: keepalives and probes of a window. */
	if (len || flags & TH_FIN || at != c.s.received + (uint64_t)c.fin_received)
		send_ack();
	run_triggers();
}

static void arp(const unsigned char *frame, size_t len)
{
	struct ether_arp arp;

	if (len < ETH_HLEN + sizeof(arp))
		return;
	memcpy(&arp, frame + ETH_HLEN, sizeof(arp));
	if (memcmp(arp.arp_tpa, &own_ip, 4))
		return;
	if (arp.ea_hdr.ar_op == htons(ARPOP_REQUEST)) {
		uint32_t ip;

		memcpy(&ip, arp.arp_spa, 4);
		arp_send(ARPOP_REPLY, arp.arp_sha, ip);
	} else if (c.connecting && !c.open && !memcmp(arp.arp_spa, &c.peer_ip, 4)) {
		memcpy(peer_mac, arp.arp_sha, ETH_ALEN);
		send_syn();
	}
}

static void receive(void)
{
	static unsigned char frame[1 << 17];
	ssize_t n = recv(link_fd, frame, sizeof(frame), 0);
	struct ether_header eth;
	struct iphdr ip;

	if (n < ETH_HLEN)
		return;
	memcpy(&eth, frame, sizeof(eth));
	if (eth.ether_type == htons(ETHERTYPE_ARP))
		arp(frame, (size_t)n);
	if (eth.ether_type != htons(ETHERTYPE_IP) || n < ETH_HLEN + 40)
		return;
	memcpy(&ip, frame + ETH_HLEN, sizeof(ip));
	if (ip.daddr != own_ip || ip.protocol != IPPROTO_TCP ||
	    ntohs(ip.tot_len) + ETH_HLEN > n || ntohs(ip.tot_len) < ip.ihl * 4U + 20)
		return;
	memcpy(peer_mac, eth.ether_shost, ETH_ALEN);
	segment(frame + ETH_HLEN + ip.ihl * 4U, ntohs(ip.tot_len) - ip.ihl * 4U, ip.saddr);
}

/* All whole lines that have come. */
static void read_commands(void)
{
	static char text[4096];
	static size_t have;
	ssize_t n = read(0, text + have, sizeof(text) - have - 1);
	char *end;

	if (n <= 0)
		state();
	have += (size_t)n;
	text[have] = 0;
	while ((end = strchr(text, '\n'))) {
		*end = 0;
		command(text);
		have -= (size_t)(end + 1 - text);
		memmove(text, end + 1, have + 1);
	}
	run_triggers();
}

static int unacknowledged(void)
{
	return c.open && !c.dead && !c.reset && !c.held &&
	       (c.acked < c.s.sent || (c.fin_sent && !c.fin_acked));
}

int cmd_tcppeer(int argc, char **argv)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct pollfd pfd[2] = { { .events = POLLIN }, { .events = POLLIN } };
	struct ifreq ifr;

	if (argc != 3 || inet_pton(AF_INET, argv[2], &own_ip) != 1)
		die("usage: tcppeer LINK ADDRESS");
	link_fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	memset(&ifr, 0, sizeof(ifr));
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", argv[1]);
	ll.sll_ifindex = (int)if_nametoindex(argv[1]);
	if (link_fd < 0 || bind(link_fd, (struct sockaddr *)&ll, sizeof(ll)) ||
	    ioctl(link_fd, SIOCGIFHWADDR, &ifr))
		die("%s: %s", argv[1], strerror(errno));
	memcpy(own_mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
	printf("{\"listening\":\"%s\"}\n", argv[2]);
	pfd[1].fd = link_fd;
	for (;;) {
		if (poll(pfd, 2, RESEND_MS / 3) < 0)
			die("poll: %s", strerror(errno));
		if (pfd[0].revents)
			read_commands();
		if (pfd[1].revents)
			receive();
		if (unacknowledged() && now_ms() - c.sent_at > RESEND_MS) {
			c.resent++;
			send_from(c.acked, 8);
		}
		if (c.stop_at && (c.dead || c.reset || (c.fin_received && c.fin_acked) ||
				  now_ms() > c.stop_at))
			state();
	}
}
