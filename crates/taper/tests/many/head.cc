// Functions of one or two kilobytes each, and tables beside them.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdexcept>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

// How many instructions that do nothing each function has besides.
#define FILL 1500

namespace many {
typedef uint64_t made(uint64_t);

// What each does, and a filling.
#define WORDS_OF(number) #number
#define WORDS(number) WORDS_OF(number)
#define MADE(n)                                                        \
  __attribute__((noinline)) uint64_t f##n(uint64_t x) {                \
    asm volatile(".fill " WORDS(FILL) ", 1, 0x90");                    \
    for (uint64_t i = 1; i < 40; i++)                                  \
      x = x * (6364136223846793005ull + 2 * n) + (uint64_t)n * i;      \
    return x;                                                          \
  }
