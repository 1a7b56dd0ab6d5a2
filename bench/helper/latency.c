/* latency LOG RESULT LINES
 *
 * Writes a line to stdout every millisecond and looks how long it takes until the line stands in
 * LOG, the file that whoever reads our stdout writes.  RESULT gets one number a line: nanoseconds
 * from just before write(2) to the return of the pread(2) that saw the line's end.
 *
 * Between lines this program sleeps; while it waits for a line it polls, and offers the processor
 * to others between two polls (sched_yield), so that a logger queued behind it is not kept waiting.
 * The first hundred lines are not counted.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WARM = 100, PERIOD = 1000000 };
static const long long PATIENCE = 10000000000LL; /* ten seconds for one line: then give up */

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sleep_until(long long when)
{
    struct timespec t = {when / 1000000000, when % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: latency LOG RESULT LINES\n");
        return 2;
    }
    int lines = atoi(argv[3]), log = -1;
    off_t seen = 0;
    FILE *result = fopen(argv[2], "w");
    if (result == NULL) {
        perror(argv[2]);
        return 1;
    }
    long long next = now();
    for (int i = -WARM; i < lines; i++) {
        char line[64], text[4096];
        int size = snprintf(line, sizeof line, "step %8d loss 0.6931 lr 3e-4\n", i);
        sleep_until(next += PERIOD);
        long long start = now(), end;
        if (write(1, line, size) != size) {
            perror("latency: write");
            return 1;
        }
        for (;;) { /* the log has one line more than was seen: what follows is that line */
            if (log < 0)
                log = open(argv[1], O_RDONLY);
            ssize_t got = log < 0 ? 0 : pread(log, text, sizeof text, seen);
            end = now();
            if (got >= size && memcmp(text + got - size, line, size) == 0) {
                seen += got;
                break;
            }
            if (end - start > PATIENCE) {
                fprintf(stderr, "latency: line %d never appeared in '%s'\n", i, argv[1]);
                return 1;
            }
            sched_yield();
        }
        if (i >= 0)
            fprintf(result, "%lld\n", end - start);
        if (end > next)
            next += (end - next) / PERIOD * PERIOD; /* late: no burst to catch up */
    }
    return fclose(result) != 0;
}
