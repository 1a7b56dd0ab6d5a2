/* two_fsync DIR...: for each directory, runs /bin/true and leaves two small files that a power cut
 * does not undo: one before the start, one after the end.  The least that a durable record costs.
 * With one DIR, called from a loop, it pays for a process of its own as run-exec does. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void record(const char *dir, const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    size_t size = strlen(text);
    if (fd < 0 || write(fd, text, size) != (ssize_t)size || fsync(fd) < 0 || close(fd) < 0)
        die(path);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        int status;
        char text[128];
        record(argv[i], "status.json", "{\"status\":\"running\",\"command\":[\"/bin/true\"]}\n");
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(127);
        }
        if (waitpid(pid, &status, 0) < 0)
            die("wait");
        snprintf(text, sizeof text, "{\"status\":\"completed\",\"exit_code\":%d}\n", WEXITSTATUS(status));
        record(argv[i], "result.json", text);
    }
    return 0;
}
