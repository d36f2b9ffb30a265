/* team.h: the members of a swarm and who is next to whom, as one run sees
 * them.
 *
 * Members are in the order in which they joined, the coordinator first. In a
 * star he is next to each other member, and they to nobody else. In a
 * hierarchy each has four below him: those of member i are 4i + 1 to 4i + 4
 * (reference/swarm.md, section 6). */

#ifndef HIVE_SWARM_TEAM_H
#define HIVE_SWARM_TEAM_H

#include "workers/runtime/arena.h"

#include "common/uuid.h"

#define AGENTS_MAX 100
#define FAN_OUT    4

typedef enum {
    AGENT_COORDINATOR, AGENT_RESEARCHER, AGENT_CODER, AGENT_ANALYST,
    AGENT_ARCHITECT, AGENT_TESTER, AGENT_REVIEWER, AGENT_OPTIMIZER,
    AGENT_DOCUMENTER, AGENT_MONITOR, AGENT_SPECIALIST, AGENT_WORKER,
    AGENT_TYPES
} agent_type_t;

/* "coordinator" ...; NULL-terminated, in the order of the enum. */
extern const char *const agent_types[];

/* Also knows other systems' names ("queen", "code-analyzer"); -1: unknown. */
int agent_type_parse(slice_t name);

typedef enum { TOPOLOGY_STAR, TOPOLOGY_HIERARCHICAL, TOPOLOGIES } topology_t;
extern const char *const topologies[];

typedef struct {
    hive_uuid_t id;
    slice_t name;
    agent_type_t type;
    const slice_t *capabilities;
    size_t ncapabilities;
    slice_t model;
    int capacity;               /* steps at once */
    int active;                 /* steps it has and has not finished */
    int64_t succeeded, failed;  /* so far */
    int64_t busy_ms;            /* of those that succeeded */
    int64_t nano_usd;
    int seq;                    /* of joining */
} agent_t;

typedef struct {
    topology_t topology;
    agent_t *agents;            /* the coordinator first */
    size_t count;
} team_t;

/* Puts them in order: the coordinator is the member of that id (NULL, or not
 * there: the first to have joined of that type, or of all when there is none).
 * `agents` are in the order of joining, and are moved. */
void team_order(team_t *team, const hive_uuid_t *coordinator);

/* Who is above that member; -1: nobody. */
long team_parent(const team_t *team, size_t member);

/* Whether one's output may be in the other's prompt. Nobody is next to
 * himself. */
int team_adjacent(const team_t *team, size_t a, size_t b);

/* A member that is next to both, through whom one's output can come to the
 * other; -1: there is none. */
long team_between(const team_t *team, size_t a, size_t b);

/* How the output of one comes to the other: TEAM_DIRECTLY (they are next to
 * each other, or the same), by way of the member that is returned, or
 * TEAM_NOT_AT_ALL. */
#define TEAM_DIRECTLY   (-1)
#define TEAM_NOT_AT_ALL (-2)
long team_path(const team_t *team, size_t from, size_t to);

#endif
