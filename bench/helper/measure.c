/* measure RESULT SECONDS COMMAND [ARG...]
 *
 * Runs COMMAND and writes one line of numbers to RESULT:
 *     wall_ns user_us system_us max_rss_kib status strays
 * status is that of a shell (128+N for signal N; 124 when SECONDS were not enough).  Wall time ends
 * with COMMAND; CPU time covers every descendant; max_rss is that of the largest single process.
 *
 * Why not from Python: ru_maxrss of a child is never less than what its parent had in memory when
 * it forked, so that a Python parent hides everything below its own 15 MiB.
 *
 * This process is a child subreaper.  Descendants that COMMAND left behind are given two seconds,
 * then counted as strays and killed; so are all when time is up or when this process is told to end.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STRAY_SECONDS = 2, TIMED_OUT = 124, INTERRUPTED = 125 };

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Kills every child until none is left; orphaned grandchildren become children as it goes. */
static int kill_all(void)
{
    int killed = 0, pid;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    for (;;) {
        FILE *list = fopen(path, "r");
        if (list == NULL)
            return killed;
        while (fscanf(list, "%d", &pid) == 1 && kill(pid, SIGKILL) == 0)
            killed++;
        fclose(list);
        if (wait(NULL) < 0)
            return killed;
    }
}

/* Reaps until `pid` has ended (pid 0: until there are no children), or the deadline has passed, or
 * a signal says stop.  Returns 0, TIMED_OUT or INTERRUPTED. */
static int reap(pid_t pid, int *status, const sigset_t *set, long long deadline)
{
    for (;;) {
        int st;
        pid_t got;
        while ((got = waitpid(-1, &st, WNOHANG)) > 0)
            if (got == pid) {
                *status = WIFSIGNALED(st) ? 128 + WTERMSIG(st) : WEXITSTATUS(st);
                return 0;
            }
        if (got < 0)
            return 0;
        long long left = deadline - now();
        if (left <= 0)
            return TIMED_OUT;
        struct timespec wait = {left / 1000000000, left % 1000000000};
        int sig = sigtimedwait(set, NULL, &wait);
        if (sig > 0 && sig != SIGCHLD)
            return INTERRUPTED;
    }
}

int main(int argc, char **argv)
{
    sigset_t set, old;
    int status = INTERRUPTED;
    if (argc < 4) {
        fprintf(stderr, "usage: measure RESULT SECONDS COMMAND [ARG...]\n");
        return 2;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* no measurement without a harness */
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, &old);

    long long start = now();
    pid_t pid = fork();
    if (pid < 0) {
        perror("measure: fork");
        return 1;
    }
    if (pid == 0) {
        setpgid(0, 0);
        sigprocmask(SIG_SETMASK, &old, NULL);
        execvp(argv[3], argv + 3);
        perror(argv[3]);
        _exit(127);
    }
    int end = reap(pid, &status, &set, start + atoll(argv[2]) * 1000000000LL);
    long long wall = now() - start;
    if (end == 0)
        end = reap(0, &status, &set, now() + STRAY_SECONDS * 1000000000LL);
    else
        status = end;
    int strays = kill_all();

    struct rusage use;
    getrusage(RUSAGE_CHILDREN, &use);
    FILE *out = fopen(argv[1], "w");
    if (out == NULL) {
        perror(argv[1]);
        return 1;
    }
    fprintf(out, "%lld %lld %lld %ld %d %d\n", wall,
            use.ru_utime.tv_sec * 1000000LL + use.ru_utime.tv_usec,
            use.ru_stime.tv_sec * 1000000LL + use.ru_stime.tv_usec, use.ru_maxrss, status, strays);
    return fclose(out) != 0 || end == INTERRUPTED;
}
