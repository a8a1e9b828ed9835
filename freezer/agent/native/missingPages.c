#include "missingPages.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

enum state { HERE, UNASKED, ASKED, WANTED };

/*
 * Memory between missing pages, up to this, belongs to an area like them, as pages that are here: a process whose every second page is
 * missing has a few areas. So areas may lie in one another once the process has moved some, but no missing page does.
 */
enum { LARGEST_GAP_PAGES = 1024 };

/* `first` is the place of its first page in `states`, where all areas are in the order of `image`, and so are the areas themselves. */
struct area {
  uint64_t image, address, pages;
  size_t first;
};

static void *resized(void *memory, size_t count, size_t size_bytes) {
  memory = reallocarray(memory, count, size_bytes);
  if (memory == NULL && count > 0) err(1, "memory");
  return memory;
}

static uint64_t least(uint64_t one, uint64_t other) { return one < other ? one : other; }

void missing_free(struct missing_pages *missing) {
  free(missing->areas);
  free(missing->states);
  *missing = (struct missing_pages){0};
}

static uint8_t *state_of(const struct missing_pages *missing, const struct area *area, uint64_t page) {
  return missing->states + area->first + page;
}

/* Adds pages in this state to the last area. */
static void extend(struct missing_pages *missing, uint64_t pages, enum state state) {
  missing->states = resized(missing->states, missing->state_count + pages, 1);
  memset(missing->states + missing->state_count, state, pages);
  missing->state_count += pages;
  missing->areas[missing->area_count - 1].pages += pages;
}

bool missing_add(struct missing_pages *missing, uint64_t image, uint64_t pages) {
  struct area *last = missing->area_count > 0 ? &missing->areas[missing->area_count - 1] : NULL;
  uint64_t end = last == NULL ? 0 : last->image + last->pages * PAGE_BYTES;
  if (pages == 0 || image < end || image % PAGE_BYTES != 0 || pages > (UINT64_MAX - image) / PAGE_BYTES) return false;
  uint64_t gap_pages = (image - end) / PAGE_BYTES;
  if (last == NULL || gap_pages > LARGEST_GAP_PAGES) {
    missing->areas = resized(missing->areas, missing->area_count + 1, sizeof *last);
    missing->areas[missing->area_count++] = (struct area){.image = image, .address = image, .first = missing->state_count};
  } else extend(missing, gap_pages, HERE);
  extend(missing, pages, UNASKED);
  missing->left += pages;
  return true;
}

void missing_copy(struct missing_pages *child, const struct missing_pages *parent) {
  *child = *parent;
  child->areas = resized(NULL, parent->area_count, sizeof *parent->areas);
  child->states = resized(NULL, parent->state_count, 1);
  if (parent->area_count == 0) return;
  memcpy(child->areas, parent->areas, parent->area_count * sizeof *parent->areas);
  for (size_t at = 0; at < parent->state_count; at++) child->states[at] = parent->states[at] == HERE ? HERE : UNASKED;
}

static void set_here(struct missing_pages *missing, const struct area *area, uint64_t page, uint64_t end) {
  for (; page < end; page++) {
    uint8_t *state = state_of(missing, area, page);
    if (*state != HERE) missing->left--;
    *state = HERE;
  }
}

/* The pages of a stretch that are in an area which begins at `begin`. */
static bool overlap(uint64_t begin, uint64_t area_pages, uint64_t from, uint64_t pages, uint64_t *first, uint64_t *end) {
  uint64_t to = from + pages * PAGE_BYTES, area_end = begin + area_pages * PAGE_BYTES;
  if (to <= begin || from >= area_end) return false;
  *first = from > begin ? (from - begin) / PAGE_BYTES : 0;
  *end = least(area_pages, (to - begin) / PAGE_BYTES);
  return true;
}

static void drop(struct missing_pages *missing, uint64_t address, uint64_t size_bytes, bool even_moved) {
  uint64_t first, end;
  for (struct area *area = missing->areas; area < missing->areas + missing->area_count; area++) {
    if (!even_moved && area->address != area->image) continue;
    if (overlap(area->address, area->pages, address, size_bytes / PAGE_BYTES, &first, &end)) set_here(missing, area, first, end);
  }
}

void missing_emptied(struct missing_pages *missing, uint64_t address, uint64_t size_bytes) { drop(missing, address, size_bytes, true); }

void missing_unmapped(struct missing_pages *missing, uint64_t address, uint64_t size_bytes) { drop(missing, address, size_bytes, false); }

/* Makes two of every area that has this address inside. */
static void split(struct missing_pages *missing, uint64_t address) {
  for (size_t at = 0; at < missing->area_count; at++) {
    struct area whole = missing->areas[at];
    if (address <= whole.address || address >= whole.address + whole.pages * PAGE_BYTES) continue;
    missing->areas = resized(missing->areas, missing->area_count + 1, sizeof whole);
    struct area *area = &missing->areas[at];
    memmove(area + 1, area, (missing->area_count++ - at) * sizeof whole);
    uint64_t before = (address - whole.address) / PAGE_BYTES;
    area[0].pages = before;
    area[1] = (struct area){whole.image + before * PAGE_BYTES, address, whole.pages - before, whole.first + before};
  }
}

void missing_moved(struct missing_pages *missing, uint64_t from, uint64_t to, uint64_t size_bytes) {
  drop(missing, to, size_bytes, true);
  split(missing, from);
  split(missing, from + size_bytes);
  for (struct area *area = missing->areas; area < missing->areas + missing->area_count; area++)
    if (area->address >= from && area->address < from + size_bytes) area->address += to - from;
}

static struct run run_of(const struct area *area, uint64_t first, uint64_t end) {
  return (struct run){area->image + first * PAGE_BYTES, area->address + first * PAGE_BYTES, end - first};
}

static struct area *area_of_state(const struct missing_pages *missing, size_t place) {
  size_t low = 0, high = missing->area_count - 1;
  while (low < high) {
    size_t middle = (low + high + 1) / 2;
    if (missing->areas[middle].first <= place) low = middle;
    else high = middle - 1;
  }
  return &missing->areas[low];
}

struct run missing_ask(struct missing_pages *missing, uint64_t most) {
  if (missing->left == 0) return (struct run){0};
  uint8_t *states = missing->states, *next = memchr(states + missing->next, UNASKED, missing->state_count - missing->next);
  if (next == NULL) next = memchr(states, UNASKED, missing->next);
  if (next == NULL) return (struct run){0};
  const struct area *area = area_of_state(missing, next - states);
  uint64_t first = next - states - area->first, end = first, limit = least(area->pages, first + most);
  while (end < limit && *state_of(missing, area, end) == UNASKED) *state_of(missing, area, end++) = ASKED;
  missing->next = area->first + end;
  return run_of(area, first, end);
}

/* Of a page that is not here; NULL where none is to come to this address. */
static const struct area *area_of(const struct missing_pages *missing, uint64_t address, uint64_t *page) {
  for (const struct area *area = missing->areas; area < missing->areas + missing->area_count; area++) {
    *page = (address - area->address) / PAGE_BYTES;
    if (address >= area->address && *page < area->pages && *state_of(missing, area, *page) != HERE) return area;
  }
  return NULL;
}

struct run missing_want(struct missing_pages *missing, uint64_t address, uint64_t most, bool *is_missing) {
  uint64_t first;
  const struct area *area = area_of(missing, address, &first);
  *is_missing = area != NULL;
  if (area == NULL || *state_of(missing, area, first) == WANTED) return (struct run){0};
  uint64_t end = first, limit = least(area->pages, first + most);
  for (; end < limit; end++) {
    uint8_t *state = state_of(missing, area, end);
    if (*state == HERE || *state == WANTED) break;
    *state = WANTED;
  }
  missing->next = area->first + end;
  return run_of(area, first, end);
}

struct run missing_find(const struct missing_pages *missing, uint64_t image, uint64_t pages) {
  uint64_t first, end;
  for (const struct area *area = missing->areas; area < missing->areas + missing->area_count; area++) {
    if (!overlap(area->image, area->pages, image, pages, &first, &end)) continue;
    while (first < end && *state_of(missing, area, first) == HERE) first++;
    if (first == end) continue;
    uint64_t until = first;
    while (until < end && *state_of(missing, area, until) != HERE) until++;
    return run_of(area, first, until);
  }
  return (struct run){0};
}

void missing_placed(struct missing_pages *missing, uint64_t image, uint64_t pages) {
  uint64_t first, end;
  for (const struct area *area = missing->areas; area < missing->areas + missing->area_count; area++)
    if (overlap(area->image, area->pages, image, pages, &first, &end)) set_here(missing, area, first, end);
}
