/*
 * The files of the reference job, in its working directory. They must go back and forth in time together with its memory.
 *
 *   memory.record        one line per step is appended, through a file that stays open
 *   memory.state         64 KiB, rewritten in place in every step
 *   memory.temporary-N   created in step N, gone after step N + 1: a file too many or too few does not verify
 */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE_BYTES = 32, LINES_VERIFIED = 64, STATE_WORDS = 8192 };

static int record, state;
static uint64_t lines[LINES_VERIFIED]; /* checksums of the latest steps, step N at N % LINES_VERIFIED */

static void format_line(char *line, uint64_t step, uint64_t checksum) {
  snprintf(line, LINE_BYTES + 1, "%-14u %016lx\n", (unsigned)step, checksum);
}

static uint64_t state_word(uint64_t step, size_t index) { return mix(step * STATE_WORDS + index); }

static void temporary_name(char *name, size_t size, uint64_t step) { snprintf(name, size, "memory.temporary-%lu", step); }

static void write_state(uint64_t step) {
  uint64_t words[STATE_WORDS];
  for (size_t index = 0; index < STATE_WORDS; index++) words[index] = state_word(step, index);
  if (pwrite(state, words, sizeof words, 0) != sizeof words) give_up("memory.state");
}

static void verify_state(uint64_t step) {
  uint64_t words[STATE_WORDS];
  if (pread(state, words, sizeof words, 0) != sizeof words) corrupt("step %lu: memory.state is too short", step);
  for (size_t index = 0; index < STATE_WORDS; index++)
    if (words[index] != state_word(step, index)) corrupt("step %lu: memory.state, word %zu is wrong", step, index);
}

static void append_line(uint64_t step, uint64_t checksum) {
  char line[LINE_BYTES + 1];
  format_line(line, step, checksum);
  lines[step % LINES_VERIFIED] = checksum;
  if (write(record, line, LINE_BYTES) != LINE_BYTES) give_up("memory.record");
}

/* The record ends with the line of `step`, under its name as well as through the open file. */
static void verify_record(uint64_t step) {
  struct stat before, named, opened;
  do { /* a move gives every file a new inode: where one came between, the two cannot be compared */
    if (fstat(record, &before) != 0 || stat("memory.record", &named) != 0 || fstat(record, &opened) != 0)
      corrupt("step %lu: memory.record is gone", step);
  } while (before.st_ino != opened.st_ino);
  if (opened.st_ino != named.st_ino) corrupt("step %lu: memory.record is another file than the open one", step);
  if (opened.st_size != (off_t)(step * LINE_BYTES))
    corrupt("step %lu: memory.record has %ld bytes instead of %lu", step, (long)opened.st_size, step * LINE_BYTES);
  for (uint64_t at = step; at > 0 && at + LINES_VERIFIED > step; at--) {
    char found[LINE_BYTES], wanted[LINE_BYTES + 1];
    format_line(wanted, at, lines[at % LINES_VERIFIED]);
    if (pread(record, found, LINE_BYTES, (at - 1) * LINE_BYTES) != LINE_BYTES || memcmp(found, wanted, LINE_BYTES) != 0)
      corrupt("step %lu: memory.record, line %lu is wrong", step, at);
  }
}

static void create_temporary(uint64_t step) {
  char name[64];
  temporary_name(name, sizeof name, step);
  int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (fd < 0 && errno == EEXIST) corrupt("step %lu: %s is there before its time", step, name);
  if (fd < 0 || write(fd, &step, sizeof step) != sizeof step || close(fd) != 0) give_up(name);
}

static void remove_temporary(uint64_t step) {
  char name[64];
  uint64_t found = 0;
  if (step == 0) return;
  temporary_name(name, sizeof name, step);
  int fd = open(name, O_RDONLY);
  if (fd < 0) corrupt("%s is missing", name);
  if (read(fd, &found, sizeof found) != sizeof found || found != step) corrupt("%s is wrong", name);
  if (close(fd) != 0 || unlink(name) != 0) give_up(name);
}

static void verify_removed(uint64_t step) {
  char name[64];
  if (step == 0) return;
  temporary_name(name, sizeof name, step);
  if (access(name, F_OK) == 0) corrupt("%s is back after it was removed", name);
}

static int open_new(const char *name, int flags) {
  int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | flags, 0644);
  if (fd < 0) give_up(name);
  return fd;
}

void open_files(void) {
  record = open_new("memory.record", O_APPEND);
  state = open_new("memory.state", 0);
  write_state(0);
}

void update_files(uint64_t step, uint64_t checksum) {
  verify_record(step - 1);
  verify_state(step - 1);
  if (step > 1) verify_removed(step - 2);
  append_line(step, checksum);
  write_state(step);
  remove_temporary(step - 1);
  create_temporary(step);
}

void close_files(uint64_t steps) {
  verify_record(steps);
  verify_state(steps);
  remove_temporary(steps);
}
