-- Runs of workflows (workers/work/run*.c). Locks: the run first, then its
-- tasks by id, as in settle.sql.

-- name: run_get (read)
-- Run $2 of caller $1, with what came out of the steps that no other waits
-- for, once it has ended. No row: absent or not theirs.
select r.id, r.owner_id, r.project_id, r.workflow_id, r.workflow_version,
       r.name, r.on_failure, r.state, r.cancel_requested, r.input,
       r.total_n as total, r.left_n as "left",
       r.succeeded_n as succeeded, r.failed_n as failed,
       r.cancelled_n as cancelled, r.skipped_n as skipped,
       round((1 - r.left_n::numeric / greatest(r.total_n, 1)), 4)::float8
           as progress,
       r.version, r.created_at, r.updated_at, r.finished_at,
       case when r.state <> 'running' then (
           select jsonb_object_agg(h.step, h.result)
           from (select h.step, h.result from task_history h
                 where h.run_id = r.id and h.step is not null
                   and h.dependents = 0 and h.state = 'succeeded'
                 limit 1000) h) end as output,
       r.event_seq as _offset
from runs r
where r.id = $2::uuid and (r.owner_id = $1::uuid) is true

-- name: run_exists (read)
-- A row when run $2 is the caller's.
select r.id from runs r where r.id = $2::uuid and (r.owner_id = $1::uuid) is true

-- name: run_events (read)
-- The events of run $1 behind offset $2, at most $3.
select e."offset", coalesce(e.first, e."offset") as first, e.type, e.data,
       e.created_at
from run_events($1::uuid) e
where e."offset" > $2::bigint
order by e."offset"
limit $3::bigint

-- name: run_inputs (read)
-- What templates may quote of run $1.
select r.id, r.name, r.workflow_id, r.input from runs r where r.id = $1::uuid

-- name: run_results_near (read)
-- Of the steps that task $1 waits for, those that are named $2, with how they
-- ended.
select h.step, h.state, h.result, h.error
from task_dependencies d
join task_history h on h.id = d.parent_id
where d.child_id = $1::uuid and (h.step = any($2::text[])) is true

-- name: run_results (read)
-- Of the steps of run $1 that have ended, those that are named $2.
select h.step, h.state, h.result, h.error
from task_history h
where h.run_id = $1::uuid and h.step = any($2::text[])

-- name: run_lock
-- Run $2 of caller $1, locked.
select r.id, r.state, r.cancel_requested, r.version
from runs r
where r.id = $2::uuid and (r.owner_id = $1::uuid) is true
for update

-- name: run_cancel
-- Marks run $1, which is locked.
update runs
set cancel_requested = true, version = version + 1, updated_at = now()
where id = $1::uuid and not cancel_requested

-- name: run_tasks_lock
-- The unfinished tasks of run $1, which is locked.
select t.id, task_state(t.state, t.worker_id) as state, t.attempt,
       t.dependents, t.rank
from tasks t
where t.run_id = $1::uuid
order by t.id
for update

-- name: run_tasks_stop
-- Asks those that run to stop; the run and its tasks are locked. Returns who
-- runs them.
update tasks t
set cancel_requested = true, version = t.version + 1, updated_at = now()
where t.run_id = $1::uuid and t.worker_id is not null
  and not t.cancel_requested
returning t.id, t.worker_id

-- name: run_retry
-- The tasks of run $1, which is locked and has ended, that did not succeed go
-- back to the unfinished ones, to be tried anew: those that wait for one of
-- them, or for one that is unfinished elsewhere, blocked. $2: virtual time by
-- kind; $3: whether to append events.
--
-- Rows, by `what`: `free` (one that may run now), `run`, `event`.
with moved as materialized (
    delete from task_history h
    where h.run_id = $1::uuid and h.state <> 'succeeded'
    returning h.*
), elsewhere as materialized (
    select t.id from tasks t
    where t.id in (select d.parent_id from moved m
                   join task_dependencies d on d.child_id = m.id)
    order by t.id for update
), told as (
    update tasks t set dependents = t.dependents + 1
    from elsewhere e where t.id = e.id
), waiting as (
    select d.child_id as id, count(*)::integer as n
    from moved m
    join task_dependencies d on d.child_id = m.id
    where d.parent_id in (select id from moved)
       or d.parent_id in (select id from elsewhere)
    group by d.child_id
), back as (
    insert into tasks (id, owner_id, turn, run_at, created_at, updated_at,
        version, event_seq, rank, cost_nano_usd, timeout_ms, backoff_ms,
        deps_left, dependents, priority, attempt, attempt_base, max_attempts,
        remote, templated, run_on_failure, state, kind, title, description,
        labels, input, project_id, run_id, parent_id, step, deadline_at,
        unique_key, limit_key)
    select m.id, m.owner_id,
        coalesce(($2::jsonb->>m.kind)::bigint, 0)
            + row_number() over (order by m.id),
        now(), m.created_at, now(), m.version + 1,
        m.event_seq + (w.n is null)::integer, m.rank, m.cost_nano_usd,
        m.timeout_ms, m.backoff_ms, coalesce(w.n, 0), m.dependents,
        m.priority, m.attempt, m.attempt, m.max_attempts, m.remote,
        m.templated, m.run_on_failure,
        case when w.n is null then 'ready' else 'blocked' end, m.kind,
        m.title, m.description, m.labels, m.input, m.project_id, m.run_id,
        m.parent_id, m.step,
        case when m.deadline_at > now() then m.deadline_at end,
        m.unique_key, m.limit_key
    from moved m left join waiting w on w.id = m.id
    returning id, owner_id, kind, limit_key, state, event_seq, turn, remote
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from back where state = 'ready' and limit_key is null
    on conflict do nothing
), r as (
    update runs r
    set state = 'running', cancel_requested = false, finished_at = null,
        left_n = r.left_n + c.n, failed_n = r.failed_n - c.failed,
        cancelled_n = r.cancelled_n - c.cancelled,
        skipped_n = r.skipped_n - c.skipped, version = r.version + 1,
        event_seq = r.event_seq + 1, updated_at = now()
    from (select count(*) as n,
                 count(*) filter (where state = 'failed') as failed,
                 count(*) filter (where state = 'cancelled') as cancelled,
                 count(*) filter (where state = 'skipped') as skipped
          from moved) c
    where r.id = $1::uuid and c.n > 0
    returning r.*
), told_before as (
    insert into events (channel, "offset", first, type, data, created_at)
    select 'task:' || m.id::text, s."offset", s.first, s.type, s.data,
           s.created_at
    from moved m
    cross join lateral task_told(m.kind, m.created_at, m.started_seq,
        m.started_at, m.attempt, m.progress_seq, m.progress_first,
        m.progress_at, m.progress, m.progress_message, m.counters,
        m.event_seq, m.state, m.finished_at) s
    where $3::boolean and s."offset" > 1
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq, 'task.ready',
           jsonb_build_object('state', state)
    from back where $3::boolean and state = 'ready'
    union all
    select 'workflow:' || id::text, event_seq, 'run.retried',
           run_tally(state, total_n, left_n, succeeded_n, failed_n,
               cancelled_n, skipped_n)
    from r
    returning channel, "offset", type, data, created_at
)
select 'free' as what, owner_id, kind, limit_key, null::varchar as _channel,
       null::bigint as _offset, null::varchar as _event,
       null::jsonb as _event_data, null::timestamptz as _event_time
from back where state = 'ready' group by owner_id, kind, limit_key
union all
select 'run', owner_id, null, null, null, null, null, null, null from r
union all
select 'event', null, null, null, channel, "offset", type, data, created_at
from event

-- name: task_children_run
-- The run of task $1, locked before the task.
select r.id, r.total_n, r.cancel_requested from runs r
where r.id = (select t.run_id from tasks t where t.id = $1::uuid)
for update

-- name: task_children_parent
-- Task $1, locked, when it is run by worker $2 in attempt $3 (either may be
-- null: whichever) and, when $4 is given, belongs to that user.
select t.id, t.owner_id, t.project_id, t.run_id, t.rank, t.priority,
       t.cancel_requested
from tasks t
where t.id = $1::uuid and t.worker_id is not null
  and ($2::uuid is null or t.worker_id = $2::uuid)
  and ($3::smallint is null or t.attempt = $3::smallint)
  and ($4::uuid is null or t.owner_id = $4::uuid)
for update

-- name: task_children_waiting
-- Who waits for task $1, which is locked; locked too.
select t.id
from tasks t
where t.id in (select d.child_id from task_dependencies d
               where d.parent_id = $1::uuid)
  and (t.state in ('blocked', 'paused')) is true and t.deps_left > 0
order by t.id
for update

-- name: task_children_link
-- Tasks $1 wait for new tasks $2, and so does run $3; those are locked. $4:
-- whether to return the event of the run.
with e as (
    insert into task_dependencies (parent_id, child_id, parent_rank,
        child_rank)
    select p.id, c.id, p.rank, c.rank
    from tasks p, tasks c
    where p.id = any($2::uuid[]) and c.id = any($1::uuid[])
), c as (
    update tasks t
    set deps_left = t.deps_left + cardinality($2::uuid[]),
        version = t.version + 1, updated_at = now()
    where t.id = any($1::uuid[])
), r as (
    update runs r
    set total_n = r.total_n + cardinality($2::uuid[]),
        left_n = r.left_n + cardinality($2::uuid[]),
        version = r.version + 1,
        event_seq = r.event_seq + 1,
        progress_first = coalesce(r.progress_first, r.event_seq + 1),
        updated_at = now()
    where r.id = $3::uuid
    returning r.*
)
select 'workflow:' || id::text as _channel, event_seq as _offset,
       progress_first as _first, 'run.progress' as _event,
       run_tally(state, total_n, left_n, succeeded_n, failed_n, cancelled_n,
           skipped_n) as _event_data, now() as _event_time
from r where $4::boolean
