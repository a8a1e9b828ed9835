/*
 * Checks that everything of Floe's is mounted where Floe put it, then starts the container's main process:
 *
 *   check-mounts [--entrance PATH] [--env NAME=VALUE]... MOUNT... [-- COMMAND [ARGUMENT ...]]
 *
 *   MOUNT   PATH=DEVICE:INODE      PATH is the folder that has these numbers (st_dev and st_ino of stat(2), decimal)
 *           PATH=DEVICE:INODE:ro   and cannot be written to
 *           PATH=tmpfs             PATH is a file system in memory
 *
 * An engine follows the symbolic links of an image when it looks for the place of a mount. The files of an image, of a job's
 * input and of a checkpoint are an attacker's: a link can put a volume in the place of the toolbox, or the toolbox elsewhere.
 * So each PATH must lead to its folder through folders alone, and below /floe must be no mount that was not named.
 *
 * As the first program of a container this one is mounted at a random name in the root folder. No link can have that name, so it
 * is certainly this program that runs. PATH of --entrance is that place: it is taken away before anything else is started.
 * COMMAND gets the environment of --env and nothing of the image's. Without COMMAND the check is all.
 *
 * Exit status: COMMAND's, 0 without one, 94 when a mount is not in its place, 1 when that could not be found out. The reason is on
 * stderr.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { CANNOT_TELL = 1, MISPLACED = 94 };

#define OURS "/floe"

static _Noreturn void misplaced(const char *path, const char *why) {
  fprintf(stderr, "floe: %s %s\n", path, why);
  exit(MISPLACED);
}

static _Noreturn void cannot_tell(const char *what) {
  fprintf(stderr, "floe: %s: %s\n", what, strerror(errno));
  exit(CANNOT_TELL);
}

/* Opens a folder for looking at, through folders alone. What is wrong is told with the very component that is a link. */
static int open_folder(const char *path) {
  int folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) cannot_tell("/");
  char *rest = strdup(path), *saved = NULL;
  if (rest == NULL) cannot_tell(path);
  for (char *name = strtok_r(rest, "/", &saved); name != NULL; name = strtok_r(NULL, "/", &saved)) {
    int next = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0) misplaced(path, "is not there, though it was mounted");
    struct stat found;
    if (fstat(next, &found) != 0) cannot_tell(path);
    if (S_ISLNK(found.st_mode)) {
      fprintf(stderr, "floe: %s is reached through a symbolic link, \"%s\"\n", path, name);
      exit(MISPLACED);
    }
    if (!S_ISDIR(found.st_mode)) misplaced(path, "is reached through what is not a folder");
    close(folder);
    folder = next;
  }
  free(rest);
  return folder;
}

static void check_folder(const char *path, const char *expected) {
  char *end;
  uintmax_t device = strtoumax(expected, &end, 10);
  if (*end != ':') misplaced(path, "is not described as a mount is");
  uintmax_t inode = strtoumax(end + 1, &end, 10);
  int folder = open_folder(path);
  struct stat found;
  struct statvfs system;
  if (fstat(folder, &found) != 0 || fstatvfs(folder, &system) != 0) cannot_tell(path);
  if (found.st_dev != device || found.st_ino != inode) misplaced(path, "is another folder than the one that was mounted there");
  if (strcmp(end, ":ro") == 0 && (system.f_flag & ST_RDONLY) == 0) misplaced(path, "can be written to");
  close(folder);
}

static void check_tmpfs(const char *path) {
  int folder = open_folder(path);
  struct statfs system;
  if (fstatfs(folder, &system) != 0) cannot_tell(path);
  if (system.f_type != TMPFS_MAGIC) misplaced(path, "is not in memory");
  close(folder);
}

static void check(const char *mount, int only_for_links) {
  const char *expected = strrchr(mount, '=');
  if (mount[0] != '/' || expected == NULL) misplaced(mount, "is not described as a mount is");
  char *path = strndup(mount, expected - mount);
  if (path == NULL) cannot_tell("check-mounts");
  if (only_for_links) close(open_folder(path));
  else if (strcmp(expected + 1, "tmpfs") == 0) check_tmpfs(path);
  else check_folder(path, expected + 1);
  free(path);
}

/* Blanks, tabs, line breaks and backslashes stand in mountinfo as \ and three octal digits. */
static void unescape(char *text) {
  char *to = text;
  for (const char *from = text; *from != '\0'; to++) {
    unsigned value;
    if (*from == '\\' && sscanf(from + 1, "%3o", &value) == 1) *to = (char)value, from += 4;
    else *to = *from++;
  }
  *to = '\0';
}

static int is_ours(const char *path) {
  size_t length = strlen(OURS);
  return strncmp(path, OURS, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

static int is_named(const char *path, char **mounts, int count) {
  for (int at = 0; at < count; at++) {
    size_t length = strlen(path);
    if (strncmp(mounts[at], path, length) == 0 && strrchr(mounts[at], '=') == mounts[at] + length) return 1;
  }
  return 0;
}

/* What else is mounted at or below /floe was led there by a link. */
static void refuse_others(char **mounts, int count) {
  struct statfs system;
  if (statfs("/proc/self", &system) != 0 || system.f_type != PROC_SUPER_MAGIC) misplaced("/proc", "is not the kernel's");
  FILE *file = fopen("/proc/self/mountinfo", "re");
  if (file == NULL) cannot_tell("/proc/self/mountinfo");
  char *line = NULL;
  size_t size = 0;
  while (getline(&line, &size, file) > 0) {
    char *point = line;
    for (int field = 0; field < 4 && point != NULL; field++) point = strchr(point, ' '), point += point != NULL;
    if (point == NULL) cannot_tell("/proc/self/mountinfo");
    point[strcspn(point, " ")] = '\0';
    unescape(point);
    if (is_ours(point) && !is_named(point, mounts, count)) misplaced(point, "has a mount that is not Floe's");
  }
  if (ferror(file)) cannot_tell("/proc/self/mountinfo");
  free(line);
  fclose(file);
}

/* This program goes on to run: the kernel keeps what it has open. */
static void leave(const char *entrance) {
  if (umount2(entrance, MNT_DETACH | UMOUNT_NOFOLLOW) != 0 || unlink(entrance) != 0) cannot_tell(entrance);
}

int main(int count, char **arguments) {
  static char *none[] = {NULL};
  char **environment = calloc(count + 1, sizeof *environment);
  const char *entrance = NULL;
  if (environment == NULL) cannot_tell("check-mounts");
  int at = 1, variables = 0;
  for (; at + 1 < count && strncmp(arguments[at], "--", 2) == 0 && arguments[at][2] != '\0'; at += 2) {
    if (strcmp(arguments[at], "--entrance") == 0) entrance = arguments[at + 1];
    else environment[variables++] = arguments[at + 1];
  }
  char **mounts = arguments + at;
  int mount_count = 0;
  while (at < count && strcmp(arguments[at], "--") != 0) at++, mount_count++;
  char **command = at + 1 < count ? arguments + at + 1 : none;
  /* Links first: they are the reason of whatever else is wrong. */
  for (int mount = 0; mount < mount_count; mount++) check(mounts[mount], 1);
  for (int mount = 0; mount < mount_count; mount++) check(mounts[mount], 0);
  refuse_others(mounts, mount_count);
  if (entrance != NULL) leave(entrance);
  if (command[0] == NULL) return 0;
  execve(command[0], command, environment);
  cannot_tell(command[0]);
}
