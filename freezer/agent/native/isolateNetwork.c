/*
 * Makes the addresses where clouds hand out a machine's credentials and user data unreachable from this network namespace:
 *
 *   isolate-network
 *
 * Each gets a route of the kind `unreachable`, which is more specific than any other; a job without CAP_NET_ADMIN cannot remove
 * it, and a connection fails at once (EHOSTUNREACH) instead of after a timeout. Not to be used in the machine's own namespace.
 * A kernel without IPv6 needs no route for it. Exit status: 0, or 1 with the reason on stderr. Protocol: rtnetlink(7).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct {
  int family;
  const char *address;
} endpoints[] = {
    {AF_INET, "169.254.169.254"},  /* EC2, GCP, Azure and others */
    {AF_INET, "169.254.170.2"},    /* ECS tasks */
    {AF_INET, "169.254.170.23"},   /* EKS pods */
    {AF_INET, "100.100.100.200"},  /* Alibaba */
    {AF_INET6, "fd00:ec2::254"},   /* EC2 */
    {AF_INET6, "fd00:ec2::23"},    /* EKS pods */
    {AF_INET6, "fd20:ce::254"},    /* GCP */
};

struct request {
  struct nlmsghdr header;
  struct rtmsg route;
  struct rtattr attribute;
  unsigned char address[sizeof(struct in6_addr)];
};

/* The kernel's answer as an errno, 0 for success. */
static int add_unreachable(int socket, int family, const char *text) {
  struct request request = {0};
  size_t size = family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
  if (inet_pton(family, text, request.address) != 1) return EINVAL;
  request.header.nlmsg_len = offsetof(struct request, address) + size;
  request.header.nlmsg_type = RTM_NEWROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  request.route.rtm_family = family;
  request.route.rtm_dst_len = 8 * size;
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

int main(void) {
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (netlink < 0) {
    perror("isolate-network");
    return 1;
  }
  for (size_t at = 0; at < sizeof endpoints / sizeof *endpoints; at++) {
    int error = add_unreachable(netlink, endpoints[at].family, endpoints[at].address);
    if (error == 0) continue;
    if (endpoints[at].family == AF_INET6 && (error == EOPNOTSUPP || error == EAFNOSUPPORT)) continue;
    fprintf(stderr, "isolate-network: %s: %s\n", endpoints[at].address, strerror(error));
    return 1;
  }
  return 0;
}
