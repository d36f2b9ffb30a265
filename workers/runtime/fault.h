/* fault.h: dying on purpose, at named points, for tests.
 *
 *     fault_point("before_commit");
 *
 * The environment arms points: HIVE_FAULT="name:action[:count][,...]" with
 * the actions kill (SIGKILL), stop (SIGSTOP), abort, segv and delay=MS. With
 * a count the action happens at that hit only, counted from 1 in each
 * process; without, at every hit. A delay suspends the fiber, or blocks the
 * loop's thread outside of one; it ends early when the fiber is cancelled.
 * Unarmed, a point costs one predictable branch. */

#ifndef HIVE_FAULT_H
#define HIVE_FAULT_H

extern int fault_armed;

/* Reads HIVE_FAULT; call once at the start. 0, or -1 when it is malformed,
 * with nothing armed and the reason in *error (static text). */
int fault_init(const char **error);

void fault_hit(const char *name);

static inline void
fault_point(const char *name)
{
    if (__builtin_expect(fault_armed, 0)) {
        fault_hit(name);
    }
}

#endif
