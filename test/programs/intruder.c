/*
 * Leaves word that somebody ran it: appends the capabilities of the process to /workspace/intruded. As a program, or as a shared
 * library that is loaded by one (`cc -shared -fPIC`).
 */
#include <fcntl.h>
#include <unistd.h>

__attribute__((constructor)) static void leave_word(void) {
  char status[4096];
  int from = open("/proc/self/status", O_RDONLY);
  int to = open("/workspace/intruded", O_WRONLY | O_CREAT | O_APPEND, 0666);
  ssize_t size = read(from, status, sizeof status);
  if (size > 0 && write(to, status, size) < 0) _exit(1);
  close(from);
  close(to);
}

int main(void) { return 0; }
