/* fiber_crash.c: last words when a fiber runs off its stack, or faults. An
 * overflow meets the guard area, where no handler could run on the same
 * stack: hence the alternate one, without which the process would end without
 * a word. */

#include "fiber.h"

#include "fiber_stack.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static struct sigaction former_segv, former_bus;

static void
crash_write(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));

    (void) written;
}

/* Only what is async-signal-safe. The signal comes back by itself when the
 * faulting instruction runs again; one that was sent has to be sent again. */
static void
crash_handler(int number, siginfo_t *info, void *context)
{
    const fiber_t *fiber = fiber_self();

    (void) context;
    crash_write("{\"level\":\"error\",\"msg\":\"");
    if (fiber != NULL && info->si_code > 0
        && fiber_stack_guards(fiber_stack_of(fiber), info->si_addr)) {
        crash_write("stack overflow in fiber ");
        crash_write(fiber_name(fiber));
    } else if (fiber != NULL) {
        crash_write("memory fault in fiber ");
        crash_write(fiber_name(fiber));
    } else {
        crash_write("memory fault outside of fibers");
    }
    crash_write("\"}\n");
    sigaction(SIGSEGV, &former_segv, NULL);
    sigaction(SIGBUS, &former_bus, NULL);
    if (info->si_code <= 0) {
        raise(number);
    }
}

int
fiber_crash_install(void)
{
    static char stack[64 * 1024];
    stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
    struct sigaction action = {
        .sa_sigaction = crash_handler,
        .sa_flags = SA_SIGINFO | SA_ONSTACK
    };

    sigemptyset(&action.sa_mask);
    if (sigaltstack(&alternate, NULL) != 0
        || sigaction(SIGSEGV, &action, &former_segv) != 0
        || sigaction(SIGBUS, &action, &former_bus) != 0) {
        return -errno;
    }
    return 0;
}
