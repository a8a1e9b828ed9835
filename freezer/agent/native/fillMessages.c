#include "fillMessages.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "missingPages.h"

enum { ENGINE = STDIN_FILENO };

/* Takes more until there are `size_bytes`, of which `*taken` are. False while some are missing. */
static bool take(void *into, size_t size_bytes, size_t *taken) {
  while (*taken < size_bytes) {
    ssize_t more = recv(ENGINE, (char *)into + *taken, size_bytes - *taken, MSG_DONTWAIT);
    if (more == 0) errx(1, "the engine has left");
    if (more < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (more < 0) err(1, "the engine");
    *taken += more;
  }
  return true;
}

bool receive_message(struct message *message, const uint8_t **content) {
  static struct message next;
  static uint8_t pages[MOST_PAGES * PAGE_BYTES];
  static size_t next_taken, pages_taken;
  if (!take(&next, sizeof next, &next_taken)) return false;
  bool has_content = next.kind == PAGES;
  if (has_content && (next.pages == 0 || next.pages > MOST_PAGES)) errx(1, "the engine answers with %lu pages", next.pages);
  if (has_content && !take(pages, next.pages * PAGE_BYTES, &pages_taken)) return false;
  next_taken = pages_taken = 0;
  *message = next;
  *content = pages;
  return true;
}

static char *waiting;
static size_t waiting_bytes;

void send_message(struct message message) {
  waiting = reallocarray(waiting, waiting_bytes + sizeof message, 1);
  if (waiting == NULL) err(1, "memory");
  memcpy(waiting + waiting_bytes, &message, sizeof message);
  waiting_bytes += sizeof message;
}

bool send_waiting(void) {
  while (waiting_bytes > 0) {
    ssize_t sent = send(ENGINE, waiting, waiting_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (sent < 0) err(1, "the engine");
    waiting_bytes -= sent;
    memmove(waiting, waiting + sent, waiting_bytes);
  }
  return true;
}

bool engine_has_left(void) {
  static char dropped[1 << 16];
  ssize_t size;
  while ((size = recv(ENGINE, dropped, sizeof dropped, MSG_DONTWAIT)) > 0);
  return size == 0 || (errno != EAGAIN && errno != EINTR);
}
