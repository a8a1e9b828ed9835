#include "filledProcesses.h"

#include <err.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "fillMessages.h"
#include "missingPages.h"
#include "userfault.h"

enum {
  EXPECTED = -1,
  /* Whoever waits for a page will most likely want those behind it, and the engine has the whole chunk. */
  WANTED_PAGES = 64,
  /* Enough that the engine always knows what is next. */
  MOST_ASKED_PAGES = 4 * MOST_PAGES,
  /* After so many, each time with a millisecond for an event, no more is waited for where there is no mapping: before Linux 5.15 the event
   * may come after the refusal. */
  MOST_REFUSALS = 20,
  LOOK_EVERY = 64,
  /* Below what any process may map (vm.mmap_min_addr). */
  NEVER_MAPPED = PAGE_BYTES,
  /* At a time: others have some, too, and answers come meanwhile. */
  MOST_EVENTS = 64,
};

struct process {
  uint64_t name;
  uint32_t id;
  int descriptor, epoll;
  bool is_forked, is_gone;
  /* For want of a mapping, all in all. */
  unsigned refusals;
  struct missing_pages missing;
};

static struct process **all;
static size_t count;
/* Pages that the engine was asked for and has not answered. */
static uint64_t asked_pages;

static struct process *add_process(uint32_t id) {
  static uint64_t next_name = FIRST_PROCESS;
  struct process *process = calloc(1, sizeof *process);
  all = reallocarray(all, count + 1, sizeof *all);
  if (process == NULL || all == NULL) err(1, "memory");
  process->name = next_name++;
  process->id = id;
  process->descriptor = EXPECTED;
  return all[count++] = process;
}

static struct process *expected(uint32_t id) {
  for (size_t at = 0; at < count; at++)
    if (all[at]->id == id && all[at]->descriptor == EXPECTED) return all[at];
  return add_process(id);
}

void expect_pages(uint32_t id, uint64_t address, uint64_t pages) {
  if (!missing_add(&expected(id)->missing, address, pages)) errx(1, "process %u: pages at %lx", id, address);
}

static void watch(struct process *process, int descriptor, int epoll) {
  process->descriptor = descriptor;
  process->epoll = epoll;
  struct epoll_event events = {.events = EPOLLIN, .data.u64 = process->name};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &events) != 0) err(1, "epoll");
}

void attach_process(uint32_t id, int descriptor, int epoll) { watch(expected(id), descriptor, epoll); }

static void ask(enum kind kind, const struct process *process, struct run run) {
  if (run.pages == 0) return;
  send_message((struct message){kind, process->id, run.image, run.pages});
  asked_pages += run.pages;
}

static void put_zeros(struct process *process, uint64_t address) {
  switch (place_zeros(process->descriptor, address)) {
    case PLACED:
    case IS_THERE:
      break;
    case IS_CHANGING:
    case NOT_MAPPED:
      /* It comes back when what changes has changed, or ends as it should. */
      wake(process->descriptor, address);
      break;
    case IS_GONE:
      process->is_gone = true;
      break;
    case CANNOT:
      err(1, "process %u: a page at %lx", process->id, address);
  }
}

static void page_fault(struct process *process, uint64_t address) {
  bool is_missing;
  address -= address % PAGE_BYTES;
  ask(WANTED, process, missing_want(&process->missing, address, WANTED_PAGES, &is_missing));
  /* It never was in the checkpoint, or the process has let go of it. */
  if (!is_missing) put_zeros(process, address);
}

/* Of children that have ended nobody tells. A job may fork many, and each takes a descriptor and a state for each page. */
static void look_for_gone(void) {
  for (size_t at = 0; at < count; at++)
    if (all[at]->is_forked && place_zeros(all[at]->descriptor, NEVER_MAPPED) == IS_GONE) all[at]->is_gone = true;
}

static void forked(const struct process *parent, int descriptor) {
  struct process *child = add_process(parent->id);
  child->is_forked = true;
  missing_copy(&child->missing, &parent->missing);
  watch(child, descriptor, parent->epoll);
  if (count % LOOK_EVERY == 0) look_for_gone();
}

static void handle_event(struct process *process, const struct uffd_msg *event) {
  uint64_t removed_bytes = event->arg.remove.end - event->arg.remove.start;
  switch (event->event) {
    case UFFD_EVENT_PAGEFAULT:
      return page_fault(process, event->arg.pagefault.address);
    case UFFD_EVENT_FORK:
      return forked(process, event->arg.fork.ufd);
    case UFFD_EVENT_REMAP:
      return missing_moved(&process->missing, event->arg.remap.from, event->arg.remap.to, event->arg.remap.len);
    case UFFD_EVENT_REMOVE:
      return missing_emptied(&process->missing, event->arg.remove.start, removed_bytes);
    case UFFD_EVENT_UNMAP:
      return missing_unmapped(&process->missing, event->arg.remove.start, removed_bytes);
    default:
      errx(1, "process %u: an unknown event %u", process->id, event->event);
  }
}

/* Whether these were all: there may be new ones as fast as they are handled. */
static bool handle_events(struct process *process) {
  for (int left = MOST_EVENTS; left > 0 && !process->is_gone; left--) {
    struct uffd_msg event;
    if (!read_event(process->descriptor, &event)) return true;
    handle_event(process, &event);
  }
  return process->is_gone;
}

void process_has_events(uint64_t name) {
  for (size_t at = 0; at < count; at++)
    if (all[at]->name == name) {
      handle_events(all[at]);
      return;
    }
}

static void await_event(struct process *process) {
  struct pollfd events = {.fd = process->descriptor, .events = POLLIN};
  poll(&events, 1, 1);
  handle_events(process);
}

/*
 * There is no mapping at the first page of the run. That is as it should be where it was moved and then unmapped (missing_unmapped),
 * and in a child that was forked while another thread changed its mappings: whether that was before or after, the kernel does not tell,
 * and the child cannot count on it. Anywhere else it would be lost.
 */
static void not_mapped(struct process *process, struct run run) {
  if (process->refusals++ < MOST_REFUSALS) return await_event(process);
  if (!process->is_forked && run.address == run.image) errx(1, "process %u has no page at %lx", process->id, run.address);
  missing_placed(&process->missing, run.image, 1);
}

/* Some of the run, or nothing when that is not possible yet. */
static void place_some(struct process *process, struct run run, const uint8_t *content) {
  for (uint64_t pages = run.pages, placed;; pages /= 2) {
    switch (place_pages(process->descriptor, run.address, content, pages, &placed)) {
      case PLACED:
        return missing_placed(&process->missing, run.image, placed);
      case IS_THERE:
        return missing_placed(&process->missing, run.image, 1);
      case IS_CHANGING:
        return await_event(process);
      case NOT_MAPPED:
        if (pages > 1) continue;
        return not_mapped(process, run);
      case IS_GONE:
        process->is_gone = true;
        return;
      case CANNOT:
        err(1, "process %u: a page at %lx", process->id, run.address);
    }
  }
}

void place_answer(uint32_t id, uint64_t address, const uint8_t *content, uint64_t pages) {
  asked_pages -= pages;
  /* A child that is forked meanwhile comes last, and gets its own. */
  for (size_t at = 0; at < count; at++) {
    struct process *process = all[at];
    if (process->id != id || process->descriptor == EXPECTED) continue;
    for (struct run run; !process->is_gone && (run = missing_find(&process->missing, address, pages)).pages > 0;)
      place_some(process, run, content + (run.image - address));
  }
}

void ask_ahead(void) {
  for (size_t at = 0; at < count && asked_pages < MOST_ASKED_PAGES; at++)
    for (struct run run; asked_pages < MOST_ASKED_PAGES; ask(NEXT, all[at], run))
      if ((run = missing_ask(&all[at]->missing, MOST_PAGES)).pages == 0) break;
}

static bool is_through(struct process *process, bool is_restored) {
  if (process->is_gone) return true;
  if (!is_restored || process->missing.left > 0) return false;
  /* There may be a child that it has forked while something was missing. */
  return process->descriptor == EXPECTED || (handle_events(process) && process->missing.left == 0);
}

bool release_processes(bool is_restored) {
  size_t kept = 0;
  for (size_t at = 0; at < count; at++) {
    struct process *process = all[at];
    if (is_restored && process->descriptor == EXPECTED && process->missing.left > 0)
      errx(1, "process %u was not restored", process->id);
    if (is_through(process, is_restored)) {
      if (process->descriptor != EXPECTED) close(process->descriptor);
      missing_free(&process->missing);
      free(process);
    } else all[kept++] = process;
  }
  count = kept;
  return count == 0;
}
