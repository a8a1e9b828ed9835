/*
 * Tries what a job must not be able to do, and says what came of it.
 *
 *   intrude privileges          calls that need a privilege, one line each: "NAME: refused REASON" or "NAME: DONE"
 *   intrude processes           reads the memory of every process that it sees and traces it; prints the printable text
 *   intrude connect NAME        to an abstract UNIX socket; prints what it answers
 *   intrude type TEXT           types into the terminal that it has, or into its standard streams
 *   intrude threads N           so many threads, which wait for 20 s
 *
 * Exit status: 0 when all was tried, whatever came of it; 2 for wrong usage.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *what, long result) {
  if (result < 0) printf("%s: refused %s\n", what, strerror(errno));
  else printf("%s: DONE\n", what);
}

/* Each in a process of its own: what works must not be in the way of the next. */
#define TRY(what, call) \
  do { \
    fflush(stdout); \
    if (fork() == 0) { tell(what, (long)(call)); fflush(stdout); _exit(0); } \
    wait(NULL); \
  } while (0)

static long in_new_namespace(int flags) {
  if (unshare(flags) != 0) return -1;
  return mount("none", "/tmp", "tmpfs", 0, NULL);
}

static long load_bpf(void) {
  union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
  return syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
}

static long open_perf(void) {
  struct perf_event_attr attributes = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attributes};
  return syscall(SYS_perf_event_open, &attributes, -1, 0, -1, 0);
}

static long set_clock(void) {
  struct timeval now;
  if (gettimeofday(&now, NULL) != 0) return -1;
  return settimeofday(&now, NULL);
}

static long enter(const char *namespace) {
  int file = open(namespace, O_RDONLY);
  return file < 0 ? -1 : setns(file, 0);
}

static long make_device(mode_t type, unsigned major, unsigned minor) {
  unlink("device");
  if (mknod("device", type | 0600, makedev(major, minor)) != 0) return -1;
  return open("device", O_RDONLY);
}

static long by_handle(void) {
  struct { struct file_handle head; unsigned char bytes[128]; } handle = {.head = {.handle_bytes = 8, .handle_type = 1}};
  handle.bytes[0] = 2; /* the root folder of most file systems */
  return open_by_handle_at(open("/", O_RDONLY), &handle.head, O_RDONLY);
}

static void try_privileges(void) {
  TRY("mount", mount("none", "/workspace", "tmpfs", 0, NULL));
  TRY("umount", umount2("/proc", MNT_DETACH));
  TRY("remount", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
  TRY("mount in a new namespace", in_new_namespace(CLONE_NEWNS));
  TRY("mount in a new user namespace", in_new_namespace(CLONE_NEWUSER | CLONE_NEWNS));
  TRY("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */));
  TRY("chroot", chroot("/proc/1/root"));
  TRY("pivot_root", syscall(SYS_pivot_root, "/", "/workspace"));
  TRY("enter the namespace of the first process", enter("/proc/1/ns/mnt"));
  TRY("bpf", load_bpf());
  TRY("perf_event_open of all processes", open_perf());
  TRY("keyctl", syscall(SYS_keyctl, 0, -5, 1));
  TRY("set the clock", set_clock());
  TRY("set the host's name", sethostname("floe-hostile", 12));
  TRY("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL)); /* disables Ctrl-Alt-Delete, no more */
  TRY("load a module", syscall(SYS_init_module, "", 0, ""));
  TRY("kexec", syscall(SYS_kexec_load, 0, 0, NULL, 0));
  TRY("swapon", syscall(SYS_swapon, "/workspace", 0));
  TRY("iopl", syscall(SYS_iopl, 3));
  TRY("real time", sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 50}));
  TRY("open by handle", by_handle());
  TRY("a device for the machine's memory", make_device(S_IFCHR, 1, 1));
  TRY("a device for the machine's disk", make_device(S_IFBLK, 254, 0));
  TRY("fanotify", syscall(SYS_fanotify_init, 0, O_RDONLY));
  TRY("a raw socket", socket(AF_INET, SOCK_RAW, 1));
  TRY("a packet socket", socket(AF_PACKET, SOCK_RAW, 0));
}

static void print_text(const char *bytes, ssize_t size) {
  for (ssize_t at = 0, from = 0; at <= size; at++) {
    if (at < size && isprint((unsigned char)bytes[at])) continue;
    if (at - from >= 16) printf("%.*s\n", (int)(at - from), bytes + from);
    from = at + 1;
  }
}

/* What can be read of its writable memory, by the file or by the call. */
static void read_memory(int pid) {
  static char bytes[1 << 20];
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *maps = fopen(path, "r");
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  int memory = open(path, O_RDONLY);
  if (maps == NULL) return;
  while (fgets(line, sizeof line, maps)) {
    unsigned long from, to;
    if (sscanf(line, "%lx-%lx rw", &from, &to) != 2 || to - from > sizeof bytes) continue;
    ssize_t size = pread(memory, bytes, to - from, (off_t)from);
    if (size <= 0) {
      struct iovec here = {bytes, to - from}, there = {(void *)from, to - from};
      size = process_vm_readv(pid, &here, 1, &there, 1, 0);
    }
    if (size > 0) print_text(bytes, size);
  }
  fclose(maps);
  close(memory);
}

static void trace(int pid) {
  if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0) return;
  printf("traced %d: DONE\n", pid);
  ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

static void try_processes(void) {
  DIR *processes = opendir("/proc");
  for (struct dirent *entry; processes && (entry = readdir(processes));) {
    int pid = atoi(entry->d_name);
    if (pid <= 0 || pid == getpid() || pid == getppid()) continue;
    read_memory(pid);
    trace(pid);
  }
}

static void try_connect(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
  int peer = socket(AF_UNIX, SOCK_STREAM, 0);
  char answer[256];
  if (connect(peer, (void *)&address, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)) != 0) {
    tell("connect", -1);
    return;
  }
  ssize_t size = read(peer, answer, sizeof answer);
  printf("connected: %.*s\n", (int)(size > 0 ? size : 0), answer);
}

static void try_type(const char *text) {
  const char *terminals[] = {"/dev/tty", "/dev/console", "/dev/tty0", "/dev/stdin", "/dev/stdout", "/dev/pts/0"};
  for (size_t at = 0; at < sizeof terminals / sizeof *terminals; at++) {
    int terminal = open(terminals[at], O_RDWR | O_NONBLOCK);
    long result = terminal < 0 ? -1 : 0;
    for (const char *letter = text; result == 0 && *letter; letter++) result = ioctl(terminal, TIOCSTI, letter);
    tell(terminals[at], result);
  }
}

static void *rest(void *nothing) {
  sleep(20);
  return nothing;
}

static void try_threads(long count) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 65536);
  long made = 0;
  for (pthread_t thread; made < count && pthread_create(&thread, &attributes, rest, NULL) == 0;) made++;
  printf("threads: %ld\n", made);
  fflush(stdout);
  sleep(3);
}

int main(int count, char **words) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  const char *what = count > 1 ? words[1] : "";
  if (strcmp(what, "privileges") == 0) try_privileges();
  else if (strcmp(what, "processes") == 0) try_processes();
  else if (strcmp(what, "connect") == 0 && count == 3) try_connect(words[2]);
  else if (strcmp(what, "type") == 0 && count == 3) try_type(words[2]);
  else if (strcmp(what, "threads") == 0 && count == 3) try_threads(atol(words[2]));
  else return 2;
  return 0;
}
