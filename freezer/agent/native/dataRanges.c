/*
 * Tells where a sparse file has data: Node has no SEEK_DATA, and reading a hole of a terabyte to see that it is zero takes an hour.
 *
 *   data-ranges < FILE      prints a line `start end` in bytes for each range that is no hole, in order; end is exclusive
 *
 * A file system that knows no holes answers with one range, the whole file (lseek(2)). Exits with 1 and says why on an error.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    off_t start, end = 0;
    while ((start = lseek(STDIN_FILENO, end, SEEK_DATA)) >= 0) {
        end = lseek(STDIN_FILENO, start, SEEK_HOLE);
        if (end < 0) break;
        printf("%lld %lld\n", (long long)start, (long long)end);
    }
    /* ENXIO: nothing but a hole up to the end. */
    if (errno != ENXIO) {
        perror("data-ranges");
        return 1;
    }
    return fclose(stdout) == 0 ? 0 : 1;
}
