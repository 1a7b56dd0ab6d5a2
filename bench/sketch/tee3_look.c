/* tee3_look COMMAND [ARG...]: tee3_mt that also takes a first look at each line, as run-exec does for metrics. */
#define LOOK
#include "tee3_mt.c"
