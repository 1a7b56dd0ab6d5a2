/* prime BYTES: takes that much memory, touches it and gives it back.
 *
 * A virtual machine may hand free memory back to its host, after which the first use of each page is
 * several times as slow.  Priming before a timed run gives each the same memory to start with. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
    size_t bytes = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    if (bytes == 0 || mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) {
        fprintf(stderr, "prime: no memory\n");
        return 1;
    }
    return 0;
}
