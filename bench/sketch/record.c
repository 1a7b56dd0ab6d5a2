/* record DIR...: for each directory, runs /bin/true as run-exec promises it, and no more: under a lock,
 * by a process of its own that is waited for by another, with three logs, a line for the start and
 * one for the end, a status that is replaced, and a result that a power cut does not undo.  There is
 * no program in it: nothing is parsed, read, copied or looked for. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *directory;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static const char *path(const char *name)
{
    static char paths[2][4096];
    static int turn;
    char *path = paths[turn++ & 1];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static int create(const char *name, int flags)
{
    int fd = open(path(name), flags | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        die(name);
    return fd;
}

/* Writes the same 600 bytes everywhere, which is what a document of a record has. */
static void fill(int fd, int durable)
{
    static char text[600];
    memset(text, ' ', sizeof text);
    if (write(fd, text, sizeof text) != sizeof text || (durable && fsync(fd) < 0) || close(fd) < 0)
        die("write");
}

static void replace(const char *scratch, const char *target, int durable)
{
    fill(create(scratch, O_WRONLY), durable);
    if (rename(path(scratch), path(target)) < 0)
        die(target);
}

static void supervise(const int *out, const int *err)
{
    fill(create("attempts.jsonl", O_WRONLY | O_APPEND), 0);
    replace("status.json.tmp", "status.json", 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    char *words[] = {"true", NULL};
    pid_t pid;
    int status;
    if (posix_spawn(&pid, "/bin/true", &actions, NULL, words, environ) != 0 || waitpid(pid, &status, 0) < 0)
        die("true");
    close(out[1]);
    close(err[1]);
    char byte;
    if (read(out[0], &byte, 1) != 0 || read(err[0], &byte, 1) != 0)
        die("read");
    fill(create("attempts.jsonl", O_WRONLY | O_APPEND), 0);
    replace("result.json.tmp", "result.json", 1);
    int fd = open(directory, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        die(directory);
    replace("status.json.tmp", "status.json", 0);
    _exit(0);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        directory = argv[i];
        int lock = create("lock", O_RDWR);
        if (flock(lock, LOCK_EX | LOCK_NB) < 0)
            die("lock");
        int logs[] = {create("stdout.log", O_WRONLY), create("stderr.log", O_WRONLY), create("combined.log", O_WRONLY)};
        int out[2], err[2], status;
        if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
            die("pipe");
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0)
            supervise(out, err);
        close(out[1]);
        close(err[1]);
        if (waitpid(pid, &status, 0) < 0 || status != 0)
            die("wait");
        int open_files[] = {logs[0], logs[1], logs[2], out[0], err[0], lock};
        for (size_t n = 0; n < sizeof open_files / sizeof *open_files; n++)
            close(open_files[n]);
    }
    return 0;
}
