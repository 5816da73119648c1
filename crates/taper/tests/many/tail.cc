uint64_t expected(uint64_t n, uint64_t x) {
  for (uint64_t i = 1; i < 40; i++) x = x * (6364136223846793005ull + 2 * n) + n * i;
  return x;
}

const int count = sizeof all / sizeof *all;

// How many of the functions from `first` on give something else than they should.
long wrong(int first, int step) {
  long found = 0;
  for (int n = first; n < count; n += step) found += all[n](n) != expected(n, n);
  return found;
}
}  // namespace many

using namespace many;

extern "C" {
uint64_t call(int n, uint64_t x) {
  if (n >= count) return *(volatile uint64_t *)(uintptr_t)(n & 7);
  return all[n](x);
}

// Threads of which each third runs the same functions.
static pthread_barrier_t together;
static void *worker(void *number) {
  pthread_barrier_wait(&together);
  return (void *)wrong((long)number % 3, 1);
}
static long run_threads(int number, pthread_attr_t *attributes) {
  pthread_t threads[64];
  long found = 0;
  pthread_barrier_init(&together, 0, number);
  for (long i = 0; i < number; i++)
    if (pthread_create(&threads[i], attributes, worker, (void *)i)) return -1;
  for (int i = 0; i < number; i++) {
    void *result;
    pthread_join(threads[i], &result);
    found += (long)result;
  }
  return found;
}
long threads(int number) { return run_threads(number, 0); }

long small_stack(void) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  // What glibc asks for at least, and a page.
  pthread_attr_setstacksize(&attributes, 16384 + 4096);
  return run_threads(4, &attributes);
}

static void *with_own_stack(void *) {
  static char memory[8192];
  stack_t own = {};
  own.ss_sp = memory;
  own.ss_size = sizeof memory;
  sigaltstack(&own, 0);
  return (void *)wrong(1, 2);
}
long alternate_stack(void) {
  pthread_t thread;
  void *result;
  pthread_create(&thread, 0, with_own_stack, 0);
  pthread_join(thread, &result);
  return (long)result;
}

long all_blocked(void) {
  sigset_t every, before;
  sigfillset(&every);
  pthread_sigmask(SIG_BLOCK, &every, &before);
  long found = wrong(2, 3);
  sigprocmask(SIG_SETMASK, &before, 0);
  return found;
}

static volatile long handled = -1;
static void handler(int) { handled = wrong(3, 5); }
long in_a_handler(void) {
  struct sigaction action = {};
  action.sa_handler = handler;
  sigfillset(&action.sa_mask);
  sigaction(SIGUSR1, &action, 0);
  raise(SIGUSR1);
  return handled;
}

static void profile(int) { all[(time(0) * 31 + clock()) % count](1); }
void storm(int on) {
  struct sigaction action = {};
  action.sa_handler = on ? profile : SIG_IGN;
  action.sa_flags = SA_RESTART;
  sigaction(SIGPROF, &action, 0);
  struct itimerval timer = {};
  timer.it_interval.tv_usec = timer.it_value.tv_usec = on ? 200 : 0;
  setitimer(ITIMER_PROF, &timer, 0);
}

long keeps_errno(void) {
  for (int n = 0; n < count; n += 40) {
    errno = n + 1;
    all[n](n);
    if (errno != n + 1) return n + 1;
  }
  return 0;
}

long keeps_registers(void) {
  double a = 1.5, b = 2.25, c = 3.125;
  uint64_t p = 11, q = 22, r = 33;
  for (int n = 7; n < count; n += 30) {
    uint64_t value = 0, argument = n;
    made *function = all[n];
    double x = a + n, y = b * n, z = c - n;
    asm volatile("" : "+x"(x), "+x"(y), "+x"(z), "+r"(p), "+r"(q), "+r"(r));
    // Read a byte of it: whatever comes back must leave every register as it is.
    asm volatile("movzbl (%1), %k0" : "=r"(value) : "r"(function) : "memory");
    asm volatile("" : "+x"(x), "+x"(y), "+x"(z), "+r"(p), "+r"(q), "+r"(r));
    if (x != a + n || y != b * n || z != c - n || p != 11 || q != 22 || r != 33) return n;
    if (function(argument) != expected(n, n)) return n;
  }
  return 0;
}

__attribute__((noinline)) static void throws(int n) {
  if (all[n](n) != 1) throw std::runtime_error("thrown");
}
long exceptions(void) {
  long found = 0;
  for (int n = 5; n < count; n += 60) {
    try {
      throws(n);
      found++;
    } catch (const std::runtime_error &error) {
      found += strcmp(error.what(), "thrown") != 0;
    }
  }
  return found;
}

// What the kernel is given directly.
static const struct timespec moment = {0, 1000};
static const char sentence[] = "a constant that is written\n";
long constants(void) {
  int file = open("/proc/self/status", O_RDONLY);
  if (file < 0) return 1;
  close(file);
  int null = open("/dev/null", O_WRONLY);
  if (write(null, sentence, sizeof sentence) != sizeof sentence) return 2;
  close(null);
  if (nanosleep(&moment, 0)) return 3;
  return access("/proc", F_OK) ? 4 : 0;
}

static void one(int) {}
static void two(int, siginfo_t *, void *) {}
long sigaction_answers(void) {
  struct sigaction action = {}, before = {};
  sigaction(SIGSEGV, 0, &before);
  if (before.sa_handler != SIG_DFL) return 1;
  if (signal(SIGSEGV, one) != SIG_DFL) return 2;
  action.sa_sigaction = two;
  action.sa_flags = SA_SIGINFO | SA_RESETHAND;
  sigaction(SIGSEGV, &action, &before);
  if (before.sa_handler != one) return 3;
  if (wrong(11, 13)) return 4;
  raise(SIGSEGV);
  sigaction(SIGSEGV, 0, &before);
  return before.sa_handler == SIG_DFL ? 0 : 5;
}

// True crashes: a write to cold code, a jump into data.
void writes(void) { *(volatile char *)all[1000] = 1; }
void jumps(void) { ((void (*)(void))(uintptr_t)sentence)(); }

// A page that came back and that somebody makes unreadable is no cold page.
void unreadable(void) {
  all[1700](1);
  mprotect((void *)((uintptr_t)all[1700] & ~4095ul), 4096, PROT_NONE);
  all[1700](1);
}

// A program that goes on after its own faults, on either stack, calls what is cold meanwhile,
// and has much on the stack of its handler.
static sigjmp_buf again;
static volatile long recovered, mistakes;
static void recover(int) {
  volatile char large[40000];
  memset((void *)large, 1, sizeof large);
  long n = (1100 + recovered * 7) % count;
  mistakes += all[n](n) != expected(n, n);
  recovered++;
  siglongjmp(again, 1);
}
long recovers(int apart) {
  static char memory[1 << 17];
  stack_t own = {}, before = {};
  own.ss_sp = memory;
  own.ss_size = sizeof memory;
  if (apart) sigaltstack(&own, &before);
  struct sigaction action = {};
  action.sa_handler = recover;
  action.sa_flags = apart ? SA_ONSTACK : 0;
  sigaction(SIGSEGV, &action, 0);
  for (int n = 0; n < 100; n++)
    if (!sigsetjmp(again, 1)) *(volatile char *)(uintptr_t)8 = 1;
  signal(SIGSEGV, SIG_DFL);
  if (apart) sigaltstack(&before, 0);
  return mistakes ? -mistakes : recovered;
}

// The error that a call of function `n` raises, or nothing.
const char *caught(int n) {
  static char text[1000];
  text[0] = 0;
  try {
    all[n](n);
  } catch (const std::exception &error) {
    strncpy(text, error.what(), sizeof text - 1);
  }
  return text;
}
}
