/* task_load.c: puts tasks into a queue through the database layer, as the
 * workers do (tasks_enqueue), and says how fast.
 *
 *     task_load -d CONNINFO -o OWNER [-k KIND] [-n TASKS] [-b BATCH] [-f]
 *
 * One client with one connection, which has one statement at a time; the next
 * call is prepared meanwhile, by a second fiber, as requests would be. With -f
 * it is one call: a fan-in, TASKS tasks and one that waits for all of them.
 * Prints a line of JSON: seconds, and the id of the last task. */

#include "workers/db/db.h"
#include "workers/runtime/job.h"
#include "workers/runtime/log.h"
#include "workers/work/task.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_MS 10
#define FIBERS  2

static struct {
    const char *conninfo;
    hive_uuid_t owner;
    slice_t kind;
    size_t tasks, batch;
    int fan_in;

    uv_loop_t loop;
    uint64_t began, ended;
    size_t left;
    unsigned fibers;
    hive_uuid_t last;
    int failed;
} load = { .kind = { "noop", 4 }, .tasks = 50000, .batch = 5000 };

typedef struct {
    new_task_t *tasks;
    size_t count;
    edge_t *edges;
    size_t nedges;
} call_t;

static void
fill(new_task_t *task)
{
    memset(task, 0, sizeof(*task));
    task_defaults(task);
    task->owner = load.owner;
    task->kind = load.kind;
    task->input = SLICE("{}");
}

static void
enqueue(request_t *rq, void *arg)
{
    call_t *call = arg;

    tasks_enqueue(rq, call->tasks, call->count, call->edges, call->nedges);
}

static int
step(request_t *rq, call_t *call)
{
    int status;

    for (size_t i = 0; i < call->count; i++) {
        fill(&call->tasks[i]);
    }
    for (size_t i = 0; i < call->nedges; i++) {
        uint32_t join = (uint32_t) call->nedges;

        call->edges[i] = (edge_t) { (uint32_t) i, join };
        call->tasks[i].dependents = 1;
        call->tasks[join].rank = 1 << 20;
        call->tasks[join].deps_left = (int) call->nedges;
    }
    status = job_step(rq, enqueue, call);
    load.last = call->tasks[call->count - 1].id;
    return status;
}

static void
stopped(void *arg)
{
    (void) arg;
    uv_stop(&load.loop);
}

static void
run(request_t *rq, void *arg)
{
    call_t call = { .count = load.fan_in ? load.left : load.batch };
    db_facts_t facts;

    (void) arg;
    do {
        fiber_sleep(WAIT_MS);
        db_facts(&facts);
    } while (!facts.reachable || !facts.version_ok);

    if (load.fan_in) {
        call.nedges = load.tasks;
        call.edges = calloc(call.nedges, sizeof(edge_t));
    }
    call.tasks = calloc(call.count, sizeof(new_task_t));

    if (load.began == 0) {
        load.began = uv_hrtime();
    }
    while (load.left > 0 && !load.failed) {
        call.count = load.left < call.count ? load.left : call.count;
        load.left -= call.count;
        load.failed |= step(rq, &call) != 0;
    }
    load.ended = uv_hrtime();

    free(call.tasks);
    free(call.edges);
    if (--load.fibers == 0) {
        db_stop(stopped, NULL);
    }
}

static int
read_options(int argc, char **argv)
{
    int option, owner = 0;

    while ((option = getopt(argc, argv, "d:o:k:n:b:f")) != -1) {
        switch (option) {
        case 'd':
            load.conninfo = optarg;
            break;
        case 'o':
            owner = uuid_parse(optarg, strlen(optarg), &load.owner) == 0;
            break;
        case 'k':
            load.kind = (slice_t) { optarg, strlen(optarg) };
            break;
        case 'n':
            load.tasks = strtoul(optarg, NULL, 10);
            break;
        case 'b':
            load.batch = strtoul(optarg, NULL, 10);
            break;
        case 'f':
            load.fan_in = 1;
            break;
        default:
            return -1;
        }
    }
    return load.conninfo != NULL && owner && load.tasks > 0 && load.batch > 0
           ? 0 : -1;
}

int
main(int argc, char **argv)
{
    static const char secret[] = "of nothing that task_load makes";
    db_config_t config = {
        .cell_schema = "cell0", .read_lanes = 1, .write_lanes = 1,
        .insert_lanes = 1, .transactions = 1, .queue_max = 16,
        .statement_timeout_ms = 60000, .lock_timeout_ms = 30000
    };
    char last[UUID_TEXT + 1] = "";
    fiber_sched_t *fibers;

    if (read_options(argc, argv) != 0) {
        fprintf(stderr, "usage: task_load -d CONNINFO -o OWNER [-k KIND] "
            "[-n TASKS] [-b BATCH] [-f]\n");
        return 2;
    }
    config.conninfo = load.conninfo;
    log_set_level(LOG_LEVEL_WARN);
    resource_init(0, (slice_t) { secret, sizeof(secret) - 1 });
    uv_loop_init(&load.loop);
    fibers = fiber_sched_new(&load.loop, 16, 4);
    if (fibers == NULL || db_start(&load.loop, &config) != 0) {
        fprintf(stderr, "task_load: cannot start\n");
        return 1;
    }
    load.left = load.tasks + (load.fan_in ? 1 : 0);
    for (int i = 0; i < (load.fan_in ? 1 : FIBERS); i++) {
        if (job_start(fibers, "load", run, NULL, NULL) != 0) {
            fprintf(stderr, "task_load: cannot start\n");
            return 1;
        }
        load.fibers++;
    }
    uv_run(&load.loop, UV_RUN_DEFAULT);

    uuid_format(&load.last, last);
    printf("{\"seconds\":%.6f,\"last\":\"%s\"}\n",
        (double) (load.ended - load.began) / 1e9, last);
    return load.failed;
}
