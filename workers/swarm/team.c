/* team.c: the members of a swarm and who is next to whom. */

#include "team.h"

const char *const agent_types[] = { "coordinator", "researcher", "coder",
    "analyst", "architect", "tester", "reviewer", "optimizer", "documenter",
    "monitor", "specialist", "worker", NULL };

const char *const topologies[] = { "star", "hierarchical", NULL };

static const struct {
    const char *name;
    agent_type_t type;
} aliases[] = {
    { "queen", AGENT_COORDINATOR },
    { "task-orchestrator", AGENT_COORDINATOR },
    { "code-analyzer", AGENT_ANALYST },
    { "perf-analyzer", AGENT_OPTIMIZER },
    { "api-docs", AGENT_DOCUMENTER },
    { "performance-benchmarker", AGENT_MONITOR },
    { "system-architect", AGENT_ARCHITECT },
};

int
agent_type_parse(slice_t name)
{
    int found = slice_index(name, agent_types);

    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        const char *alias = aliases[i].name;

        if (slice_equal(name, (slice_t) { alias, strlen(alias) })) {
            found = (int) aliases[i].type;
        }
    }
    return found;
}

void
team_order(team_t *team, const hive_uuid_t *coordinator)
{
    size_t found = 0;
    agent_t first;

    while (found < team->count && (coordinator == NULL
               || !uuid_equal(&team->agents[found].id, coordinator))) {
        found++;
    }
    if (found == team->count) {
        found = 0;
        while (found < team->count
               && team->agents[found].type != AGENT_COORDINATOR) {
            found++;
        }
    }
    if (found == team->count || found == 0) {
        return;
    }
    first = team->agents[found];
    memmove(&team->agents[1], &team->agents[0],
        found * sizeof(team->agents[0]));
    team->agents[0] = first;
}

long
team_parent(const team_t *team, size_t member)
{
    if (member == 0) {
        return -1;
    }
    return team->topology == TOPOLOGY_STAR ? 0
        : (long) ((member - 1) / FAN_OUT);
}

int
team_adjacent(const team_t *team, size_t a, size_t b)
{
    return team_parent(team, a) == (long) b || team_parent(team, b) == (long) a;
}

long
team_between(const team_t *team, size_t a, size_t b)
{
    for (size_t i = 0; i < team->count; i++) {
        if (team_adjacent(team, a, i) && team_adjacent(team, i, b)) {
            return (long) i;
        }
    }
    return -1;
}

long
team_path(const team_t *team, size_t from, size_t to)
{
    long between;

    if (from == to || team_adjacent(team, from, to)) {
        return TEAM_DIRECTLY;
    }
    between = team_between(team, from, to);
    return between < 0 ? TEAM_NOT_AT_ALL : between;
}
