/* tee3 COMMAND [ARG...]: three logs with stamps, in one thread: the least that such a tool can do. */
#include "cri.h"

static struct stream streams[2];
static struct combined combined;
static char block[READ];

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    pid_t pid = start(argv + 1, streams, &combined);
    struct pollfd poll_fds[2] = {{streams[0].pipe, POLLIN, 0}, {streams[1].pipe, POLLIN, 0}};
    for (int open = 2; open > 0;) {
        if (poll(poll_fds, 2, -1) < 0)
            die("poll");
        for (int i = 0; i < 2; i++) {
            if (poll_fds[i].fd < 0 || poll_fds[i].revents == 0)
                continue;
            char when[STAMP + 1];
            ssize_t got = read(streams[i].pipe, block, READ);
            stamp(when);
            if (got > 0) {
                write_all(streams[i].log, block, got);
                combined_block(&combined, &streams[i], when, block, got);
            } else {
                combined_end(&combined, &streams[i], when);
                poll_fds[i].fd = -1; /* poll(2) skips it */
                open--;
            }
        }
    }
    return finish(pid);
}
