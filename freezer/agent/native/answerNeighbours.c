/*
 * Lets this network namespace answer neighbours that it has no way to:
 *
 *   answer-neighbours
 *
 * isolate-network makes the container's own network unreachable, its gateway included. Packets go through the gateway all the
 * same. But the gateway must be told the container's hardware address when it asks (ARP), and a kernel that checks whether it has
 * a way back to who asks (rp_filter in ip-sysctl) would not answer: connections would break some minutes after the container had
 * begun. A container forwards nothing, and so needs no such check. Exit status: 0, or 1 with the reason on stderr.
 */
#include "ownProc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define INTERFACES "/proc/sys/net/ipv4/conf"

static int failed(const char *what) {
  fprintf(stderr, "answer-neighbours: %s: %s\n", what, strerror(errno));
  return 1;
}

int main(void) {
  if (mount_own_proc("answer-neighbours") != 0) return 1;
  DIR *interfaces = opendir(INTERFACES);
  if (interfaces == NULL) return failed(INTERFACES);
  for (struct dirent *entry; (entry = readdir(interfaces)) != NULL;) {
    char path[sizeof INTERFACES + sizeof entry->d_name + sizeof "//rp_filter"];
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s/rp_filter", INTERFACES, entry->d_name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, "0", 1) != 1) return failed(path);
    close(file);
  }
  return 0;
}
