/* consolidate OUT FILE...: writes flat objects of numbers, a line each, as CSV with the name of the directory
 * before them.  It takes the keys of the first line for those of all, checks nothing, and uses one thread: a
 * bound for what one pass over the bytes costs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 20 };

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    FILE *out = fopen(argv[1], "w");
    if (!out)
        return perror(argv[1]), 1;
    setvbuf(out, NULL, _IOFBF, BLOCK);
    char *line = NULL;
    size_t room = 0;
    for (int i = 2; i < argc; i++) {
        FILE *in = fopen(argv[i], "r");
        if (!in)
            return perror(argv[i]), 1;
        setvbuf(in, NULL, _IOFBF, BLOCK);
        char *end = strrchr(argv[i], '/'), *run = end;
        while (run > argv[i] && run[-1] != '/')
            run--;
        ssize_t length;
        for (int first = i == 2; (length = getline(&line, &room, in)) > 0; first = 0) {
            if (first) {
                fputs("run", out);
                for (char *at = line; (at = strchr(at, '"')); at++) {
                    char *stop = strchr(++at, '"');
                    putc_unlocked(',', out);
                    fwrite(at, 1, (size_t)(stop - at), out);
                    at = stop;
                }
                putc_unlocked('\n', out);
            }
            fwrite(run, 1, (size_t)(end - run), out);
            for (char *at = line; (at = memchr(at, ':', (size_t)(line + length - at)));) {
                at += 1 + (at[1] == ' ');
                size_t size = strcspn(at, ",}");
                putc_unlocked(',', out);
                fwrite(at, 1, size, out);
                at += size;
            }
            putc_unlocked('\n', out);
        }
        fclose(in);
    }
    return fclose(out) ? (perror("close"), 1) : 0;
}
