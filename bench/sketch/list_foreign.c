/* list_foreign THREADS DEPTH DIR: reads every file of every run whose directory lies so deep below DIR, and counts
 * their lines: what any listing has to do that computes averages. Prints a line for each run. */

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char **runs;
static long *lines;
static size_t count, room;
static atomic_size_t next;

static void find(const char *dir, int depth) {
    if (depth == 0) {
        if (count == room) runs = realloc(runs, (room = room ? 2 * room : 1024) * sizeof *runs);
        runs[count++] = strdup(dir);
        return;
    }
    DIR *entries = opendir(dir);
    if (!entries) return;
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.' || entry->d_type != DT_DIR) continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        find(path, depth - 1);
    }
    closedir(entries);
}

static long read_all(int parent, const char *name, char *buffer, size_t size) {
    int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = dir < 0 ? NULL : fdopendir(dir);
    long found = 0;
    if (!entries) return 0;
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.') continue;
        if (entry->d_type == DT_DIR) found += read_all(dir, entry->d_name, buffer, size);
        if (entry->d_type != DT_REG) continue;
        int file = openat(dir, entry->d_name, O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        for (ssize_t got; (got = read(file, buffer, size)) > 0;)
            for (char *at = buffer; (at = memchr(at, '\n', buffer + got - at)); at++) found++;
        close(file);
    }
    closedir(entries);
    return found;
}

static void *work(void *unused) {
    size_t size = 64 << 10, at;
    char *buffer = malloc(size);
    while ((at = atomic_fetch_add(&next, 1)) < count) lines[at] = read_all(AT_FDCWD, runs[at], buffer, size);
    free(buffer);
    return unused;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int threads = atoi(argv[1]);
    find(argv[3], atoi(argv[2]));
    lines = calloc(count, sizeof *lines);
    pthread_t all[64];
    if (!lines || threads < 1 || threads > 64) return 2;
    for (int i = 0; i < threads; i++) pthread_create(&all[i], NULL, work, NULL);
    for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
    for (size_t i = 0; i < count; i++) printf("%s %ld\n", runs[i], lines[i]);
    return 0;
}
