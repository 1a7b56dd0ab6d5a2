/* What the two log sketches share: starting a command with its output in two pipes, and turning
 * blocks of bytes into lines `2026-01-29T12:00:00.123456Z stdout F text`. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    READ = 256 << 10,  /* bytes a read */
    PIPE = 1 << 20,    /* size of the pipe asked for */
    PIECE = 16 << 10,  /* a longer line is cut into pieces marked P */
    OUT = 1 << 20,     /* combined lines collected before a write */
    STAMP = 27,        /* 2026-01-29T12:00:00.123456Z */
    PREFIX = STAMP + 10, /* and ` stdout F ` */
};

struct stream {
    const char *name;  /* stdout or stderr */
    int pipe, log;     /* log takes the bytes as they come */
    size_t held;       /* the beginning of a line whose end has not come */
    char hold[PIECE];
};

struct combined {
    int log;
    size_t used;
    char out[OUT];
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void write_all(int fd, const char *from, size_t size)
{
    while (size > 0) {
        ssize_t got = write(fd, from, size);
        if (got < 0)
            die("write");
        from += got;
        size -= got;
    }
}

static void stamp(char to[STAMP + 1])
{
    static time_t second;
    static char text[32];
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (t.tv_sec != second) {
        struct tm tm;
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.", gmtime_r(&t.tv_sec, &tm));
        second = t.tv_sec;
    }
    memcpy(to, text, 20);
    snprintf(to + 20, 8, "%06uZ", (unsigned)t.tv_nsec / 1000 % 1000000);
}

static void combined_flush(struct combined *c)
{
    write_all(c->log, c->out, c->used);
    c->used = 0;
}

/* Adds one line: what the stream holds, then `size` bytes at `from`. */
static void combined_put(struct combined *c, struct stream *s, char prefix[PREFIX + 1], char kind,
                         const char *from, size_t size)
{
    if (c->used + PREFIX + s->held + size + 1 > OUT)
        combined_flush(c);
    char *to = c->out + c->used;
    memcpy(to, prefix, PREFIX);
    to[PREFIX - 2] = kind;
    to += PREFIX;
    if (s->held > 0) {
        memcpy(to, s->hold, s->held);
        to += s->held;
        s->held = 0;
    }
    memcpy(to, from, size);
    to += size;
    *to++ = '\n';
    c->used = to - c->out;
}

#ifdef LOOK
static unsigned long seen; /* lines that would be read; printed by nobody, kept so that the look is not left out */

/* Says whether a line may be a row of metrics, as far as a first look tells: it begins with a word for the step and a
 * number, and no word follows.  run-exec's own first look knows more formats. */
static int look(const char *line, size_t size)
{
    static const char *const words[] = {"step", "epoch", "episode", "iter", "iteration", "update"};
    if (size < 5 || !strchr("sSeEiIuU", line[0]))
        return 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i]);
        if (size <= length || strncasecmp(line, words[i], length) != 0)
            continue;
        if (line[length] != ' ' && line[length] != ':' && line[length] != '=')
            continue;
        size_t at = length + 1;
        while (at < size && line[at] >= '0' && line[at] <= '9')
            at++;
        return at + 1 >= size || line[at] != ' ' || !((line[at + 1] | 32) >= 'a' && (line[at + 1] | 32) <= 'z');
    }
    return 0;
}
#endif

/* Adds the lines of a block, keeps an unfinished last one, and writes. */
static void combined_block(struct combined *c, struct stream *s, const char *when, const char *from,
                           size_t size)
{
    char prefix[PREFIX + 1];
    const char *end = from + size;
    snprintf(prefix, sizeof prefix, "%s %s F ", when, s->name);
    while (from < end) {
        const char *newline = memchr(from, '\n', end - from);
        size_t length = (newline ? newline : end) - from;
        if (s->held + length > PIECE) {
            size_t fits = PIECE - s->held;
            combined_put(c, s, prefix, 'P', from, fits);
            from += fits;
        } else if (newline) {
#ifdef LOOK
            seen += look(from, length);
#endif
            combined_put(c, s, prefix, 'F', from, length);
            from = newline + 1;
        } else {
            memcpy(s->hold + s->held, from, length);
            s->held += length;
            from = end;
        }
    }
    combined_flush(c);
}

/* Writes the unfinished last line of a stream that has ended. */
static void combined_end(struct combined *c, struct stream *s, const char *when)
{
    char prefix[PREFIX + 1];
    if (s->held == 0)
        return;
    snprintf(prefix, sizeof prefix, "%s %s F ", when, s->name);
    combined_put(c, s, prefix, 'F', "", 0);
    combined_flush(c);
}

static int create(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        die(path);
    return fd;
}

/* Opens the three logs in the current directory and starts the command. */
static pid_t start(char **argv, struct stream s[2], struct combined *c)
{
    int fds[2][2];
    for (int i = 0; i < 2; i++) {
        s[i].name = i == 0 ? "stdout" : "stderr";
        s[i].log = create(i == 0 ? "stdout.log" : "stderr.log");
        if (pipe2(fds[i], O_CLOEXEC) < 0)
            die("pipe");
        fcntl(fds[i][0], F_SETPIPE_SZ, PIPE);
        s[i].pipe = fds[i][0];
    }
    c->log = create("combined.log");
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        dup2(fds[0][1], 1);
        dup2(fds[1][1], 2);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(fds[0][1]);
    close(fds[1][1]);
    return pid;
}

static int finish(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) < 0)
        die("wait");
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
