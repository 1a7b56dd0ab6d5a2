/* generate BYTES LINE BLOCK EVERY [TEXT]
 *
 * Writes BYTES in lines of LINE bytes (newline included), BLOCK bytes a write(2), cutting lines
 * where a block ends as stdio does.  Every EVERY-th block goes to stderr (0: none).  Each stream
 * ends with a whole line.  Each line begins with TEXT, as far as there is room.  The lines are made once,
 * so that the cost is that of the writes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: generate BYTES LINE BLOCK EVERY [TEXT]\n");
        return 2;
    }
    size_t bytes = strtoull(argv[1], NULL, 10), line = strtoull(argv[2], NULL, 10);
    size_t block = strtoull(argv[3], NULL, 10), every = strtoull(argv[4], NULL, 10);
    size_t err = every ? bytes / every / line * line : 0;
    size_t left[2] = {(bytes - err) / line * line, err};
    size_t done[2] = {0, 0};

    char *text = malloc(block + line); /* one block from any place in a line */
    if (text == NULL)
        return 1;
    const char *begins = argc == 6 ? argv[5] : "";
    size_t length = strlen(begins);
    for (size_t i = 0; i < block + line; i++) {
        size_t at = i % line;
        text[i] = at == line - 1 ? '\n' : at < length ? begins[at] : 'a' + at % 26;
    }

    for (size_t n = 1; left[0] || left[1]; n++) {
        int to = every && n % every == 0;
        if (left[to] == 0)
            to = !to;
        size_t size = left[to] < block ? left[to] : block;
        const char *from = text + done[to] % line;
        for (size_t sent = 0; sent < size;) {
            ssize_t got = write(to + 1, from + sent, size - sent);
            if (got < 0) {
                perror("generate: write");
                return 1;
            }
            sent += got;
        }
        done[to] += size;
        left[to] -= size;
    }
    return 0;
}
