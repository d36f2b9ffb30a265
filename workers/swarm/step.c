/* step.c: the kind `swarm` of tasks: one step of a run, whatever its role.
 *
 * What a step has made is kept before its task ends, in one transaction with
 * the event that says so, and fenced by the attempt: an attempt that comes
 * after a death finds either nothing done, or all of it, and then only says so
 * to the engine. So no step is done twice, though its model may be asked
 * twice. */

#include "internal.h"

#include "workers/runtime/log.h"

#include <ctype.h>

/* ---- beginning ---- */

static slice_t
step_name(task_run_t *run)
{
    json_t *input = json_loadb(run->input.data, run->input.len, 0, NULL);
    const json_t *name = json_object_get(input, "step");

    arena_json(run->rq->arena, input);
    if (uuid_is_zero(&run->run) || !json_is_string(name)) {
        return SLICE_NONE;
    }
    return (slice_t) { json_string_value(name), json_string_length(name) };
}

static hive_uuid_t *
read_tried(request_t *rq, slice_t json, size_t *count)
{
    const slice_t *texts = read_texts(rq, json, count);
    hive_uuid_t *ids = arena_alloc(rq->arena, (*count + 2) * sizeof(*ids));

    for (size_t i = 0; i < *count; i++) {
        uuid_parse(texts[i].data, texts[i].len, &ids[i]);
    }
    return ids;
}

long
step_path(const team_t *team, const db_row_t *seen, size_t member)
{
    hive_uuid_t agent = db_uuid(seen, "agent_id");
    hive_uuid_t via = db_uuid(seen, "via_id");
    long from = team_find(team, &agent), between = team_find(team, &via);

    if (from >= 0) {
        return team_path(team, (size_t) from, member);
    }
    return between >= 0 ? between : TEAM_DIRECTLY;
}

static int
can_see(const team_t *team, const db_result_t *sees, size_t member)
{
    for (int n = 0; n < sees->nrows; n++) {
        db_row_t row = db_row_at(sees, n);

        if (step_path(team, &row, member) == TEAM_NOT_AT_ALL) {
            return 0;
        }
    }
    return 1;
}

/* Who may have it: whoever is next to the one who takes its output (to the
 * coordinator, when that one has retired), or is that one, and to whom all
 * that it sees can come. A reduction is the coordinator's. */
static void
find_eligible(step_run_t *step, const db_result_t *sees, unsigned char *may)
{
    const team_t *team = &step->team;
    hive_uuid_t consumer = db_uuid(step->row, "consumer_agent");
    long found = team_find(team, &consumer);
    size_t taker = found >= 0 ? (size_t) found : 0;

    for (size_t i = 0; i < team->count; i++) {
        may[i] = step->role == STEP_PART || step->role == STEP_LEAD
            ? team_path(team, i, taker) == TEAM_DIRECTLY
              && can_see(team, sees, i) : i == 0;
    }
}

/* Somebody else than those who failed; when there is nobody else, anybody. */
static long
reassign(step_run_t *step, const db_result_t *sees, const hive_uuid_t *tried,
    size_t ntried, score_t *scores)
{
    request_t *rq = step->rq;
    unsigned char *may = arena_zero(rq->arena, step->team.count);
    unsigned char *fresh = arena_zero(rq->arena, step->team.count);
    assign_t asked = { .may = fresh, .kind = (work_kind_t) slice_index(
        db_text(step->row, "kind"), work_kinds) };
    long found;

    asked.needs = read_texts(rq, db_text(step->row, "needs"), &asked.nneeds);
    find_eligible(step, sees, may);
    memcpy(fresh, may, step->team.count);
    for (size_t i = 0; i < ntried; i++) {
        long member = team_find(&step->team, &tried[i]);

        if (member >= 0) {
            fresh[member] = 0;
        }
    }
    found = assign(&step->team, &asked, scores);
    if (found < 0) {
        asked.may = may;
        found = assign(&step->team, &asked, scores);
    }
    return found;
}

/* The agent of this attempt: the one it was given to, or, when he has failed,
 * vanished with his process, retired, or what he needs is now made by somebody
 * from whom it cannot come to him, another. Returns the vector to keep. */
static slice_t
choose_agent(step_run_t *step, const db_result_t *sees, hive_uuid_t **tried,
    size_t *ntried)
{
    request_t *rq = step->rq;
    hive_uuid_t given = db_uuid(step->row, "agent_id");
    long member = team_find(&step->team, &given);
    score_t *scores = arena_alloc(rq->arena,
        (step->team.count + 1) * sizeof(*scores));
    int again = db_int(step->row, "attempt") > 0;
    buf_t out;

    *tried = read_tried(rq, db_text(step->row, "tried"), ntried);
    if (again && slice_equal(db_text(step->row, "state"), SLICE("running"))) {
        (*tried)[(*ntried)++] = given;      /* it never said how it ended */
    }
    if (member >= 0 && !again
        && can_see(&step->team, sees, (size_t) member)) {
        step->agent = (size_t) member;
        return db_is_null(step->row, db_column(step->row->result, "scores"))
            ? SLICE_NONE : db_text(step->row, "scores");
    }
    member = reassign(step, sees, *tried, *ntried, scores);
    if (member < 0) {
        rq_raise(rq, 422, "no_agent",
            "no agent that is left can do this, and may see what it needs");
    }
    step->agent = (size_t) member;
    buf_init(&out, rq->arena, 512);
    put_scores(&out, &step->team, step->agent, scores);
    return buf_slice(&out);
}

/* By whose hands what it sees comes to its agent: who made that and who takes
 * it may be others than when the run was made. Of whoever has retired stays
 * what is written. */
static slice_t
paths_json(step_run_t *step, const db_result_t *sees)
{
    buf_t out;

    buf_init(&out, step->rq->arena, 256);
    buf_putc(&out, '[');
    for (int n = 0; n < sees->nrows; n++) {
        db_row_t row = db_row_at(sees, n);
        hive_uuid_t from = db_uuid(&row, "agent_id");
        long via = step_path(&step->team, &row, step->agent);
        value_t id = via >= 0 ? value_uuid(step->team.agents[via].id)
                              : value_null();

        if (team_find(&step->team, &from) < 0) {
            continue;
        }
        buf_puts(&out, out.len > 1 ? ",{\"src\":" : "{\"src\":");
        json_put_string(&out, db_text(&row, "name"));
        buf_puts(&out, ",\"via\":");
        json_put_value(&out, &id);
        buf_putc(&out, '}');
    }
    buf_putc(&out, ']');
    return buf_slice(&out);
}

/* Nonzero when the step is this attempt's. */
static int
begin(step_run_t *step, const db_result_t *sees)
{
    request_t *rq = step->rq;
    hive_uuid_t *tried;
    size_t ntried;
    slice_t scores = choose_agent(step, sees, &tried, &ntried);
    const db_row_t *row;

    step->model = llm_model(rq, step->team.agents[step->agent].model);
    row = db_row(rq, Q_SWARM_STEP_START, value_uuid(step->run->run),
        value_text(step->name), value_int(step->run->attempt),
        value_uuid(step->run->id),
        value_uuid(step->team.agents[step->agent].id),
        scores.data != NULL ? value_json(scores) : value_null(),
        value_text(step->model.id), value_uuids(tried, ntried),
        value_json(paths_json(step, sees)));
    if (row == NULL) {
        return 0;
    }
    event_publish(rq, row);
    return 1;
}

/* ---- asking ---- */

void
step_generate(step_run_t *step, slice_t system, const json_t *messages,
    const json_t *schema)
{
    request_t *rq = step->rq;
    spender_t by = { .owner = step->run->owner,
        .project = db_uuid(step->row, "project_id"), .swarm = step->swarm,
        .agent = step->team.agents[step->agent].id, .run = step->run->run,
        .task = step->run->id, .attempt = step->run->attempt,
        .worker = task_worker(step->run) };
    generation_t generation = { .system = system, .messages = messages,
        .schema = step->model.schema ? schema : NULL,
        .max_tokens = db_int(step->row, "max_tokens"), .temperature = -1,
        .stream = 1 };
    char *channel = arena_alloc(rq->arena, 6 + UUID_TEXT);
    const token_counts_t *tokens;
    live_text_t *stream;

    memcpy(channel, "swarm:", 6);
    uuid_format(&step->swarm, channel + 6);
    stream = stream_open(step->run, (slice_t) { channel, 6 + UUID_TEXT });
    generation.piece = stream_piece;
    generation.arg = stream;
    llm_generate(rq, &by, &step->model, &generation, &step->answer);
    live_text_close(stream);

    tokens = &step->answer.said.tokens;
    step->input_tokens += tokens->input + tokens->cache_read
        + tokens->cache_write_5m + tokens->cache_write_1h;
    step->output_tokens += tokens->output;
    step->nano_usd += step->answer.nano_usd;
    task_cost(step->run, step->answer.nano_usd);
}

/* ---- ending ---- */

typedef struct {
    step_run_t *step;
    slice_t output;
    const planned_t *planned;
} ending_t;

/* In the order of locks (sql/queries/swarms.sql): the run of tasks, the step
 * and its agent, the swarm. */
static void
end(request_t *rq, void *arg)
{
    ending_t *ending = arg;
    step_run_t *step = ending->step;
    const planned_t *planned = ending->planned;
    const db_row_t *row;

    if (planned != NULL) {
        run_add_steps(step->run, planned->steps);
    }
    row = db_row(rq, Q_SWARM_STEP_DONE, value_uuid(step->run->run),
        value_text(step->name), value_int(step->run->attempt),
        value_text(ending->output), value_int(step->input_tokens),
        value_int(step->output_tokens), value_int(step->nano_usd),
        value_text(step->answer.said.stop_reason));
    if (row == NULL) {
        rq_raise(rq, 409, "step_taken",
            "another attempt has this step, or its run has ended");
    }
    event_publish(rq, row);
    if (planned != NULL) {
        publish_rows(rq, db_rows(rq, Q_SWARM_STEPS_ADD,
            value_uuid(step->run->run), value_uuid(step->swarm),
            value_json(planned->stored), value_json(planned->context),
            value_string("run.planned")));
    }
    if (step->role == STEP_REDUCE) {
        publish_rows(rq, db_rows(rq, Q_SWARM_RUN_DONE,
            value_uuid(step->run->run), value_text(ending->output)));
    }
}

static slice_t
result_json(step_run_t *step, slice_t output)
{
    buf_t out;

    buf_init(&out, step->rq->arena, output.len * 2 + 256);
    buf_puts(&out, "{\"text\":");
    json_put_string(&out, output);
    buf_puts(&out, ",\"agent\":");
    json_put_string(&out, step->team.agents[step->agent].name);
    buf_puts(&out, ",\"model\":");
    json_put_string(&out, step->model.id);
    buf_putc(&out, '}');
    return buf_slice(&out);
}

void
step_done(step_run_t *step, slice_t output, const planned_t *planned)
{
    ending_t ending = { step, output, planned };

    db_transact(step->rq, end, &ending);
    task_succeed(step->run, result_json(step, output));
}

void
step_fail(step_run_t *step, int final, const char *code,
    const char *message)
{
    request_t *rq = step->rq;
    int last = final || db_int(step->row, "failures") + 1 >= STEP_FAILURES
        || step->run->attempt - db_int(step->row, "attempt_base")
           >= STEP_ATTEMPTS;
    buf_t error;

    buf_init(&error, rq->arena, 256);
    buf_puts(&error, "{\"code\":");
    json_put_string(&error, (slice_t) { code, strlen(code) });
    buf_puts(&error, ",\"message\":");
    json_put_string(&error, (slice_t) { message, strlen(message) });
    buf_putc(&error, '}');
    publish_rows(rq, db_rows(rq, Q_SWARM_STEP_FAILED,
        value_uuid(step->run->run), value_text(step->name),
        value_int(step->run->attempt), value_json(buf_slice(&error)),
        value_int(step->nano_usd), value_bool(last)));
    task_fail(step->run, last, code, "%s", message);
}

void
step_fail_said(step_run_t *step)
{
    const generated_t *said = &step->answer.said;

    if (said->end == GENERATE_CANCELLED) {
        rq_raise_cancelled(step->rq);
    }
    if (said->retry_after_ms > 0) {
        task_retry_after(step->run, (unsigned) said->retry_after_ms);
    }
    step_fail(step, said->end == GENERATE_REFUSED, said->code,
        said->message);
}

/* ---- running ---- */

static int
is_blank(slice_t text)
{
    size_t i = 0;

    while (i < text.len && isspace((unsigned char) text.data[i])) {
        i++;
    }
    return i == text.len;
}

static void
work(step_run_t *step, const db_result_t *sees)
{
    request_t *rq = step->rq;
    prompt_t prompt = prompt_make(step, sees);
    const generated_t *said = &step->answer.said;
    json_t *messages;

    if (step->role == STEP_PLAN) {
        step_plan(step, &prompt);
        return;
    }
    messages = json_pack("[{s:s, s:s%}]", "role", "user", "content",
        prompt.user.data, prompt.user.len);
    arena_json(rq->arena, messages);
    step_generate(step, prompt.system, messages, NULL);
    if (said->end != GENERATED) {
        step_fail_said(step);
    } else if (slice_equal(said->stop_reason, SLICE("refusal"))) {
        step_fail(step, 0, "model_refused", "the model refused to answer");
    } else if (is_blank(said->text)) {
        step_fail(step, 0, "answer_empty", "the model answered with no text");
    } else {
        step_done(step, said->text, NULL);
    }
}

/* Done by an attempt that could not say so any more. */
static void
say_again(step_run_t *step)
{
    hive_uuid_t agent = db_uuid(step->row, "agent_id");
    long member = team_find(&step->team, &agent);

    step->agent = member < 0 ? 0 : (size_t) member;
    step->model.id = db_text(step->row, "model");
    log_info("a step had been done by an attempt before this one");
    task_succeed(step->run, result_json(step,
        db_text(step->row, "output")));
}

/* As an attempt before this one left it, which could not say so any more. */
static void
fail_again(step_run_t *step)
{
    slice_t text = db_text(step->row, "error");
    json_t *error = json_loadb(text.data, text.len, 0, NULL);
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *message = json_string_value(json_object_get(error,
        "message"));

    arena_json(step->rq->arena, error);
    task_fail(step->run, 1, code != NULL ? code : "failed", "%s",
        message != NULL ? message : "the step has failed");
}

static void
read_step(step_run_t *step)
{
    step->row = db_row(step->rq, Q_SWARM_STEP_GET, value_uuid(step->run->run),
        value_text(step->name), value_uuid(step->run->id));
}

static void
resume(request_t *rq, void *arg)
{
    step_run_t *step = arg;

    run_resume(rq, step->run->run, step->name);
}

/* Somebody has had tasks of a run that had ended tried again, under their own
 * names: the run as the swarm has it goes on. A step that has failed since
 * (attempts count on) is another matter: fail_again. (The process that stops
 * in the very moment in which its step fails forgives that attempt: then the
 * step has one more.) */
static void
resume_retried(step_run_t *step)
{
    slice_t run = db_text(step->row, "run_state");
    slice_t state = db_text(step->row, "state");

    if (slice_equal(run, SLICE("failed"))
        || slice_equal(run, SLICE("cancelled"))
        || slice_equal(state, SLICE("cancelled"))
        || (slice_equal(state, SLICE("failed"))
            && db_int(step->row, "attempt")
               <= db_int(step->row, "attempt_base"))) {
        db_transact(step->rq, resume, step);
        read_step(step);
    }
}

/* Nonzero when there is nothing left to do but to say so. */
static int
has_ended(step_run_t *step)
{
    slice_t state = db_text(step->row, "state");

    if (slice_equal(state, SLICE("succeeded"))) {
        say_again(step);
    } else if (slice_equal(state, SLICE("failed"))) {
        fail_again(step);
    } else if (!slice_equal(db_text(step->row, "run_state"),
                   SLICE("running"))) {
        task_fail(step->run, 1, "run_ended", "the run of this step has ended,"
            " and its swarm takes no more work");
    } else {
        return 0;
    }
    return 1;
}

void
execute_swarm(task_run_t *run)
{
    request_t *rq = run->rq;
    step_run_t step = { .run = run, .rq = rq, .name = step_name(run) };
    const db_result_t *sees;
    hive_uuid_t coordinator;

    if (step.name.data != NULL) {
        read_step(&step);
    }
    if (step.row == NULL) {
        task_fail(run, 1, "not_a_step", "tasks of this kind are made by"
            " POST /api/v1/swarms/{id}/tasks");
        return;
    }
    step.swarm = db_uuid(step.row, "swarm_id");
    step.role = (step_role_t) slice_index(db_text(step.row, "role"),
        step_roles);
    coordinator = db_uuid(step.row, "coordinator");
    step.team = team_read(rq, step.swarm, db_text(step.row, "topology"),
        &coordinator, (size_t) db_int(step.row, "max_agents"));
    if (step.team.count == 0) {
        task_fail(run, 1, "swarm_empty", "all agents have retired");
        return;
    }
    resume_retried(&step);
    if (step.row == NULL) {
        task_fail(run, 1, "not_a_step", "the swarm has been deleted");
        return;
    }
    if (has_ended(&step)) {
        return;
    }
    sees = db_rows(rq, Q_SWARM_STEP_SEES, value_uuid(run->run),
        value_text(step.name));
    if (begin(&step, sees)) {
        work(&step, sees);
        return;
    }
    read_step(&step);
    if (step.row == NULL || !has_ended(&step)) {
        task_fail(run, 0, "step_taken", "another attempt has this step");
    }
}
