/* read_status THREADS DIR [NAME...]: opens and reads the status file of every run below DIR, or the named files of its
 * record, and prints how many there were and how many bytes they have.  It looks into none of them and asks about
 * nothing else: no listing that opens these files of a run can do less with as many threads. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK = 16, THREADS = 64, READ = 64 << 10 };

static char **names, *status[] = {"status.json"}, **read_of = status;
static int read_count = 1;
static size_t count;
static int dir;
static atomic_size_t next;
static atomic_size_t files, bytes;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *read_some(void *unused)
{
    static _Thread_local char path[512], block[READ];
    size_t first, found = 0, size = 0;
    (void)unused;
    while ((first = atomic_fetch_add(&next, CHUNK)) < count)
        for (size_t i = first * read_count; i < (first + CHUNK) * read_count && i < count * read_count; i++) {
            snprintf(path, sizeof path, "%s/.run/%s", names[i / read_count], read_of[i % read_count]);
            int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                die(path);
            ssize_t got = read(fd, block, READ);
            if (got <= 0 || got == READ)
                die("read");
            close(fd);
            found++;
            size += got;
        }
    atomic_fetch_add(&files, found);
    atomic_fetch_add(&bytes, size);
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc >= 3 ? atoi(argv[1]) : 0;
    if (threads < 1 || threads > THREADS)
        return 2;
    if (argc > 3)
        read_of = argv + 3, read_count = argc - 3;
    DIR *list = opendir(argv[2]);
    if (list == NULL)
        die(argv[2]);
    dir = dirfd(list);
    size_t room = 0;
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        if (entry->d_name[0] == '.' || entry->d_type == DT_REG) // a batch has files of its own
            continue;
        if (count == room) {
            room = room * 2 + 1024;
            names = realloc(names, room * sizeof *names);
        }
        if (names == NULL || (names[count++] = strdup(entry->d_name)) == NULL)
            die("memory");
    }
    pthread_t others[THREADS];
    for (int i = 1; i < threads; i++)
        if (pthread_create(&others[i], NULL, read_some, NULL) != 0)
            die("pthread_create");
    read_some(NULL);
    for (int i = 1; i < threads; i++)
        pthread_join(others[i], NULL);
    printf("%zu %zu\n", (size_t)files, (size_t)bytes);
    return 0;
}
