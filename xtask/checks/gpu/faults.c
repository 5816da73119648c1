// Makes memory unreadable and brings it back when it is touched, as a package's runtime does,
// and remembers who touched what.
//
//     cc -O2 -fPIC -shared -o faults.so faults.c -ldl

#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>

enum { CHUNK = 1 << 16, RANGES = 256, TOUCHES = 1 << 20 };

struct range {
    uintptr_t start, end;
    int protection; // what it had
    int zeros;      // whether it comes back as zeros
};

struct touch {
    uintptr_t address, by;
};

static struct range ranges[RANGES];
static int count;
struct touch touches[TOUCHES];
volatile long touched;
static struct sigaction before;

static void handle(int number, siginfo_t *info, void *context) {
    uintptr_t address = (uintptr_t)info->si_addr;
    for (int i = 0; i < count; i++) {
        struct range *range = &ranges[i];
        if (address < range->start || address >= range->end) continue;
        uintptr_t start = address & ~(uintptr_t)(CHUNK - 1), end = start + CHUNK;
        if (start < range->start) start = range->start;
        if (end > range->end) end = range->end;
        long at = __sync_fetch_and_add(&touched, 1);
        if (at < TOUCHES) {
            touches[at].address = address;
            touches[at].by = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
        }
        if (range->zeros)
            mmap((void *)start, end - start, range->protection,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        else
            mprotect((void *)start, end - start, range->protection);
        return;
    }
    if (before.sa_flags & SA_SIGINFO && before.sa_sigaction)
        before.sa_sigaction(number, info, context);
    else
        signal(SIGSEGV, SIG_DFL);
}

// 0, or -1 where the memory cannot be guarded. `start` and `end` are whole pages.
int guard(uintptr_t start, uintptr_t end, int protection, int zeros) {
    if (count == RANGES) return -1;
    if (!count) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_sigaction = handle;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        if (sigaction(SIGSEGV, &action, &before)) return -1;
    }
    ranges[count] = (struct range){start, end, protection, zeros};
    __sync_synchronize();
    count++;
    return mprotect((void *)start, end - start, PROT_NONE);
}
