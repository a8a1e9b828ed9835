/*
 * Makes the addresses where clouds hand out a machine's credentials and user data unreachable from this network namespace,
 * and with them whatever else is named:
 *
 *   isolate-network [ADDRESS[/PREFIX] ...]
 *
 * ADDRESS is one of IPv4 or IPv6; PREFIX is the number of leading bits that count, by default all of them. A job without
 * CAP_NET_ADMIN cannot undo it. Not to be used in the machine's own namespace. Each address gets two things:
 *
 * - A route of the kind `unreachable`, more specific than any other. A connection fails at once (EHOSTUNREACH) instead of after a timeout.
 *   Its scope is the narrowest, because the kernel overlooks wider ones for a packet that is not to be routed (SO_DONTROUTE in socket(7)).
 * - A policy that drops what goes there (ip-xfrm(8)). The kernel takes an address for a neighbour's in spite of the routes when a program
 *   names the device: SO_BINDTODEVICE, IP_UNICAST_IF, IP_PKTINFO, or the scope of an IPv6 address. A policy holds for these, too (EPERM).
 *
 * A kernel without IPv6 needs none of it for IPv6. One without policies (CONFIG_XFRM_USER) has the routes alone.
 * Exit status: 0, or 1 with the reason on stderr. Protocols: rtnetlink(7), <linux/xfrm.h>.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const endpoints[] = {
    "169.254.169.254", /* EC2, GCP, Azure and others */
    "169.254.170.2",   /* ECS tasks */
    "169.254.170.23",  /* EKS pods */
    "100.100.100.200", /* Alibaba */
    "fd00:ec2::254",   /* EC2 */
    "fd00:ec2::23",    /* EKS pods */
    "fd20:ce::254",    /* GCP */
};

struct destination {
  int family;
  unsigned char prefix;
  unsigned char address[sizeof(struct in6_addr)];
};

struct route_request {
  struct nlmsghdr header;
  struct rtmsg route;
  struct rtattr attribute;
  unsigned char address[sizeof(struct in6_addr)];
};

static size_t size_of(int family) { return family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr); }

/* The kernel refuses a route whose address has bits beyond its prefix. */
static void clear_host_bits(struct destination *to) {
  for (size_t bit = to->prefix; bit < 8 * size_of(to->family); bit++) to->address[bit / 8] &= ~(0x80 >> bit % 8);
}

/* 0, or -1 for a text that names no destination. */
static int parse(const char *text, struct destination *to) {
  char address[INET6_ADDRSTRLEN];
  size_t length = strcspn(text, "/");
  if (length >= sizeof address) return -1;
  memcpy(address, text, length);
  address[length] = '\0';
  to->family = strchr(address, ':') ? AF_INET6 : AF_INET;
  if (inet_pton(to->family, address, to->address) != 1) return -1;
  unsigned long most = 8 * size_of(to->family), prefix = most;
  if (text[length] == '/') {
    char *end;
    prefix = strtoul(text + length + 1, &end, 10);
    if (end == text + length + 1 || *end != '\0' || prefix > most) return -1;
  }
  to->prefix = prefix;
  clear_host_bits(to);
  return 0;
}

struct policy_request {
  struct nlmsghdr header;
  struct xfrm_userpolicy_info policy;
};

/* The kernel's answer as an errno, 0 for success. */
static int ask(int socket, const struct nlmsghdr *request) {
  if (send(socket, request, request->nlmsg_len, 0) < 0) return errno;
  struct {
    struct nlmsghdr header;
    struct nlmsgerr error;
    char rest[1024];
  } answer;
  ssize_t received = recv(socket, &answer, sizeof answer, 0);
  if (received < 0) return errno;
  if (answer.header.nlmsg_type != NLMSG_ERROR) return EPROTO;
  return -answer.error.error;
}

static int add_unreachable(int socket, const struct destination *to) {
  struct route_request request = {0};
  size_t size = size_of(to->family);
  memcpy(request.address, to->address, size);
  request.header.nlmsg_len = offsetof(struct route_request, address) + size;
  request.header.nlmsg_type = RTM_NEWROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  request.route.rtm_family = to->family;
  request.route.rtm_dst_len = to->prefix;
  request.route.rtm_table = RT_TABLE_MAIN;
  request.route.rtm_protocol = RTPROT_STATIC;
  request.route.rtm_scope = RT_SCOPE_HOST;
  request.route.rtm_type = RTN_UNREACHABLE;
  request.attribute.rta_type = RTA_DST;
  request.attribute.rta_len = RTA_LENGTH(size);
  return ask(socket, &request.header);
}

/* A policy for all that leaves. Of several that match, the kernel takes the one with the lowest number. */
static struct policy_request policy_of(int family, unsigned char action, unsigned int priority) {
  struct policy_request request = {0};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = XFRM_MSG_UPDPOLICY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.policy.sel.family = family;
  request.policy.lft.soft_byte_limit = request.policy.lft.hard_byte_limit = XFRM_INF;
  request.policy.lft.soft_packet_limit = request.policy.lft.hard_packet_limit = XFRM_INF;
  request.policy.priority = priority;
  request.policy.dir = XFRM_POLICY_OUT;
  request.policy.action = action;
  return request;
}

static int add_block(int socket, const struct destination *to) {
  struct policy_request request = policy_of(to->family, XFRM_POLICY_BLOCK, 2);
  memcpy(&request.policy.sel.daddr, to->address, size_of(to->family));
  request.policy.sel.prefixlen_d = to->prefix;
  return ask(socket, &request.header);
}

/* The namespace itself must ask its gateway for its hardware address, and answer it: in IPv6, these are packets like others. */
static int allow_neighbours(int socket) {
  static const unsigned char types[] = {135, 136}; /* neighbour solicitation and advertisement, RFC 4861 */
  int error = 0;
  for (size_t at = 0; at < sizeof types && error == 0; at++) {
    struct policy_request request = policy_of(AF_INET6, XFRM_POLICY_ALLOW, 1);
    request.policy.sel.proto = IPPROTO_ICMPV6;
    request.policy.sel.sport = htons(types[at]);
    request.policy.sel.sport_mask = 0xffff;
    error = ask(socket, &request.header);
  }
  return error;
}

/* `policies` is below 0 where the kernel has none. 0, or -1 when the reason has been said. */
static int isolate(int routes, int policies, const char *text) {
  struct destination to;
  int error = parse(text, &to) == 0 ? add_unreachable(routes, &to) : EINVAL;
  if (error == 0 && policies >= 0) error = add_block(policies, &to);
  if (error == 0 || (to.family == AF_INET6 && (error == EOPNOTSUPP || error == EAFNOSUPPORT))) return 0;
  fprintf(stderr, "isolate-network: %s: %s\n", text, strerror(error));
  return -1;
}

int main(int count, char **arguments) {
  int routes = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  int policies = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_XFRM);
  if (routes < 0 || (policies < 0 && errno != EPROTONOSUPPORT)) {
    perror("isolate-network");
    return 1;
  }
  int error = policies < 0 ? 0 : allow_neighbours(policies);
  if (error != 0 && error != EOPNOTSUPP && error != EAFNOSUPPORT) {
    fprintf(stderr, "isolate-network: neighbours: %s\n", strerror(error));
    return 1;
  }
  for (size_t at = 0; at < sizeof endpoints / sizeof *endpoints; at++)
    if (isolate(routes, policies, endpoints[at]) != 0) return 1;
  for (int at = 1; at < count; at++)
    if (isolate(routes, policies, arguments[at]) != 0) return 1;
  return 0;
}
