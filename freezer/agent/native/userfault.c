#include "userfault.h"

#include <err.h>
#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "missingPages.h"

static enum placing refusal(int descriptor, uint64_t address) {
  switch (errno) {
    case EEXIST:
      wake(descriptor, address);
      return IS_THERE;
    case EAGAIN:
      return IS_CHANGING;
    case ENOENT:
      return NOT_MAPPED;
    case ESRCH:
      return IS_GONE;
    default:
      return CANNOT;
  }
}

enum placing place_pages(int descriptor, uint64_t address, const void *content, uint64_t pages, uint64_t *placed) {
  struct uffdio_copy copy = {.dst = address, .src = (uintptr_t)content, .len = pages * PAGE_BYTES};
  int result = ioctl(descriptor, UFFDIO_COPY, &copy);
  *placed = copy.copy > 0 ? copy.copy / PAGE_BYTES : 0;
  return result == 0 || *placed > 0 ? PLACED : refusal(descriptor, address);
}

enum placing place_zeros(int descriptor, uint64_t address) {
  struct uffdio_zeropage zeros = {.range = {.start = address, .len = PAGE_BYTES}};
  return ioctl(descriptor, UFFDIO_ZEROPAGE, &zeros) == 0 ? PLACED : refusal(descriptor, address);
}

void wake(int descriptor, uint64_t address) {
  struct uffdio_range page = {.start = address, .len = PAGE_BYTES};
  if (ioctl(descriptor, UFFDIO_WAKE, &page) != 0) err(1, "UFFDIO_WAKE");
}

bool read_event(int descriptor, struct uffd_msg *event) {
  ssize_t size = read(descriptor, event, sizeof *event);
  if (size == sizeof *event) return true;
  if (size >= 0 || (errno != EAGAIN && errno != EINTR)) err(1, "userfaultfd");
  return false;
}
