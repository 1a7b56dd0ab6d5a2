/* tee3_mt COMMAND [ARG...]: three logs with stamps, in two threads.  The first reads and writes the
 * byte-for-byte logs, the second makes combined.log of large blocks.  Small blocks are done by the
 * first thread when the second is idle: a line that comes alone waits for no other thread. */
#include "cri.h"

#include <pthread.h>

enum { SLOTS = 4, LARGE = 64 << 10 };

static struct stream streams[2];
static struct combined combined;

static struct {
    struct stream *stream;
    size_t size; /* 0: the end of the stream */
    char when[STAMP + 1];
    char bytes[READ];
} slots[SLOTS];
static int taken, given, over; /* slots handed over, slots done; modulo SLOTS is the place */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void combine(int slot)
{
    struct stream *s = slots[slot].stream;
    if (slots[slot].size > 0)
        combined_block(&combined, s, slots[slot].when, slots[slot].bytes, slots[slot].size);
    else
        combined_end(&combined, s, slots[slot].when);
}

static void *second_thread(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (given == taken && !over)
            pthread_cond_wait(&changed, &lock);
        if (given == taken)
            break;
        pthread_mutex_unlock(&lock);
        combine(given % SLOTS); /* only this thread changes `given` */
        pthread_mutex_lock(&lock);
        given++;
        pthread_cond_signal(&changed);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    pid_t pid = start(argv + 1, streams, &combined);
    pthread_t second;
    if (pthread_create(&second, NULL, second_thread, NULL) != 0)
        die("pthread_create");
    struct pollfd poll_fds[2] = {{streams[0].pipe, POLLIN, 0}, {streams[1].pipe, POLLIN, 0}};
    for (int open = 2; open > 0;) {
        if (poll(poll_fds, 2, -1) < 0)
            die("poll");
        for (int i = 0; i < 2; i++) {
            if (poll_fds[i].fd < 0 || poll_fds[i].revents == 0)
                continue;
            pthread_mutex_lock(&lock);
            while (taken - given == SLOTS)
                pthread_cond_wait(&changed, &lock);
            int idle = taken == given;
            pthread_mutex_unlock(&lock);

            int slot = taken % SLOTS; /* only this thread changes `taken` */
            ssize_t got = read(streams[i].pipe, slots[slot].bytes, READ);
            stamp(slots[slot].when);
            slots[slot].stream = &streams[i];
            slots[slot].size = got > 0 ? got : 0;
            if (got <= 0) {
                poll_fds[i].fd = -1; /* poll(2) skips it */
                open--;
            }
            int hand_over = !idle || got >= LARGE;
            if (hand_over) {
                pthread_mutex_lock(&lock);
                taken++;
                pthread_cond_signal(&changed);
                pthread_mutex_unlock(&lock);
            }
            write_all(streams[i].log, slots[slot].bytes, slots[slot].size); /* still ours to read */
            if (!hand_over)
                combine(slot);
        }
    }
    pthread_mutex_lock(&lock);
    over = 1;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(second, NULL);
    return finish(pid);
}
