/* Prints the lines of /proc/self/status that say what this process may do: its capabilities, NoNewPrivs, Seccomp. */
#include <stdio.h>
#include <string.h>

int main(void) {
  char line[256];
  FILE *status = fopen("/proc/self/status", "r");
  if (!status) {
    perror("/proc/self/status");
    return 1;
  }
  while (fgets(line, sizeof line, status))
    if (strncmp(line, "Cap", 3) == 0 || strncmp(line, "NoNewPrivs:", 11) == 0 || strncmp(line, "Seccomp:", 8) == 0) fputs(line, stdout);
  return fclose(status) == 0 ? 0 : 1;
}
