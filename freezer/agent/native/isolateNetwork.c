/*
 * Makes the addresses where clouds hand out a machine's credentials and user data unreachable from this network namespace,
 * and with them whatever else is named:
 *
 *   isolate-network [ADDRESS[/PREFIX] ...]
 *
 * ADDRESS is one of IPv4 or IPv6; PREFIX is the number of leading bits that count, by default all of them. Each gets a route of the kind `unreachable`, which is more specific than any other; a job without CAP_NET_ADMIN cannot remove
 * it, and a connection fails at once (EHOSTUNREACH) instead of after a timeout. Not to be used in the machine's own namespace.
 * A kernel without IPv6 needs no route for it. Exit status: 0, or 1 with the reason on stderr. Protocol: rtnetlink(7).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
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

struct request {
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

/* The kernel's answer as an errno, 0 for success. */
static int add_unreachable(int socket, const struct destination *to) {
  struct request request = {0};
  size_t size = size_of(to->family);
  memcpy(request.address, to->address, size);
  request.header.nlmsg_len = offsetof(struct request, address) + size;
  request.header.nlmsg_type = RTM_NEWROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  request.route.rtm_family = to->family;
  request.route.rtm_dst_len = to->prefix;
  request.route.rtm_table = RT_TABLE_MAIN;
  request.route.rtm_protocol = RTPROT_STATIC;
  request.route.rtm_scope = RT_SCOPE_UNIVERSE;
  request.route.rtm_type = RTN_UNREACHABLE;
  request.attribute.rta_type = RTA_DST;
  request.attribute.rta_len = RTA_LENGTH(size);
  if (send(socket, &request, request.header.nlmsg_len, 0) < 0) return errno;
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

/* 0, or -1 when the reason has been said. */
static int isolate(int socket, const char *text) {
  struct destination to;
  int error = parse(text, &to) == 0 ? add_unreachable(socket, &to) : EINVAL;
  if (error == 0 || (to.family == AF_INET6 && (error == EOPNOTSUPP || error == EAFNOSUPPORT))) return 0;
  fprintf(stderr, "isolate-network: %s: %s\n", text, strerror(error));
  return -1;
}

int main(int count, char **arguments) {
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (netlink < 0) {
    perror("isolate-network");
    return 1;
  }
  for (size_t at = 0; at < sizeof endpoints / sizeof *endpoints; at++)
    if (isolate(netlink, endpoints[at]) != 0) return 1;
  for (int at = 1; at < count; at++)
    if (isolate(netlink, arguments[at]) != 0) return 1;
  return 0;
}
