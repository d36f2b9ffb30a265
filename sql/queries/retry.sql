-- Finished tasks that are to be tried again: the one way back from the history
-- (workers/work/task_retry.c); runs as a whole have theirs in runs.sql. With a
-- task come back those that were skipped because of it.

-- name: retry_reach
-- Those of tasks $2 of $1 that have ended without success, and all that was
-- skipped after them, up to $3.
with recursive down (id) as (
    select h.id
    from unnest($2::uuid[]) k (id) join task_history h on h.id = k.id
    where (h.owner_id = $1::uuid) is true and h.state <> 'succeeded'
    union
    select d.child_id
    from down
    join task_dependencies d on d.parent_id = down.id
    where (select h.state = 'skipped'
           from task_history h where h.id = d.child_id)
)
select id from down limit $3::bigint

-- name: retry_lock_runs
-- Locks the runs of finished tasks $1.
select r.id
from runs r
where r.id = any (array(
    select (select h.run_id from task_history h where h.id = k.id)
    from unnest($1::uuid[]) k (id)))
order by r.id
for update

-- name: retry_lock
-- Locks finished tasks $1. `taken`: an unfinished task, or one before it here,
-- has its unique key.
select h.id, h.state, h.kind, h.priority, h.run_on_failure,
       h.unique_key is not null and exists (select from tasks t
           where t.owner_id = h.owner_id and t.kind = h.kind
             and t.unique_key = h.unique_key) as taken,
       h.unique_key
from unnest($1::uuid[]) k (id) join task_history h on h.id = k.id
order by h.id
for update of h

-- name: retry_lock_near
-- Locks the unfinished tasks that tasks $1 wait for, or that wait for them.
select t.id
from tasks t
where t.id in (
    select d.parent_id from unnest($1::uuid[]) k (id)
        join task_dependencies d on d.child_id = k.id
    union
    select d.child_id from unnest($1::uuid[]) k (id)
        join task_dependencies d on d.parent_id = k.id)
order by t.id
for update

-- name: retry_parents
-- What tasks $1 wait for: `state` null when it is not known any more.
select d.child_id, d.parent_id, coalesce(
    (select task_state(t.state, t.worker_id) from tasks t
     where t.id = d.parent_id),
    (select h.state::text from task_history h where h.id = d.parent_id))
    as state
from unnest($1::uuid[]) k (id)
join task_dependencies d on d.child_id = k.id
order by d.child_id

-- name: retry_move
-- Tasks $1, locked, go back to the unfinished ones, each to wait for $2 others,
-- with $3 as its turn; $4: no worker of ours runs it. The unfinished that they
-- wait for, or that wait for them, are locked; of the latter those that run
-- already do not wait any more. $5: whether to append events.
--
-- Rows, by `what`: `back` (with its state), `slot` (a limit key that was let
-- go), `event`.
with k as materialized (
    select * from unnest($1::uuid[], $2::integer[], $3::bigint[],
        $4::boolean[]) k (id, deps_left, turn, remote)
), moved as (
    delete from task_history h using k
    where h.id = k.id
    returning h.*, k.deps_left as new_deps_left, k.turn as new_turn,
              k.remote as new_remote
), back as (
    insert into tasks (id, owner_id, turn, run_at, created_at, updated_at,
        version, event_seq, rank, cost_nano_usd, timeout_ms, backoff_ms,
        deps_left, dependents, priority, attempt, attempt_base, max_attempts,
        remote, templated, run_on_failure, state, kind, title, description,
        labels, input, project_id, run_id, parent_id, step, deadline_at,
        unique_key, limit_key)
    select id, owner_id, new_turn, now(), created_at, now(), version + 1,
        event_seq + 1, rank, cost_nano_usd, timeout_ms, backoff_ms,
        new_deps_left, dependents, priority, attempt, attempt, max_attempts,
        new_remote, templated, run_on_failure,
        case when new_deps_left > 0 then 'blocked' else 'ready' end, kind,
        title, description, labels, input, project_id, run_id, parent_id,
        step, case when deadline_at > now() then deadline_at end, unique_key,
        limit_key
    from moved
    returning id, owner_id, kind, limit_key, state, event_seq, turn, remote
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from back where state = 'ready' and limit_key is null
    on conflict do nothing
), told as (
    update tasks t set dependents = t.dependents + 1
    where t.id in (select d.parent_id from k
                   join task_dependencies d on d.child_id = k.id)
), waiting as materialized (
    select t.id, w.n, t.limit_key, t.limit_slot, t.state, t.turn,
           task_lane(t.remote, t.owner_id, t.kind) as lane
    from (select d.child_id as id, count(*)::integer as n
          from k join task_dependencies d on d.parent_id = k.id
          group by d.child_id) w
    cross join lateral (select * from tasks t
        where t.id = w.id and t.worker_id is null offset 0) t
), raised as (
    update tasks t
    set deps_left = t.deps_left + w.n,
        state = case when t.state = 'paused' then 'paused'
            else 'blocked' end,
        limit_slot = false, version = t.version + 1, updated_at = now()
    from waiting w
    where t.id = w.id
), unqueued as (
    delete from task_ready q
    where q.ctid = any (array(
        select q.ctid
        from waiting w cross join lateral (select q.ctid from task_ready q
            where q.lane = w.lane and q.turn = w.turn and q.id = w.id
            offset 0 for update skip locked) q
        where w.state = 'ready'))
), served as (
    delete from task_dependencies d using k, tasks t
    where d.parent_id = k.id and t.id = d.child_id
      and t.worker_id is not null
), was as materialized (
    select r.* from runs r
    where r.id in (select run_id from moved) and r.progress_first is not null
), rolled as (
    update runs r
    set state = 'running', finished_at = null, cancel_requested = false,
        progress_first = null,
        left_n = r.left_n + m.n, failed_n = r.failed_n - m.failed,
        cancelled_n = r.cancelled_n - m.cancelled,
        skipped_n = r.skipped_n - m.skipped, version = r.version + 1,
        event_seq = r.event_seq + 1, updated_at = now()
    from (select run_id, count(*) as n,
                 count(*) filter (where state = 'failed') as failed,
                 count(*) filter (where state = 'cancelled') as cancelled,
                 count(*) filter (where state = 'skipped') as skipped
          from moved where run_id is not null group by run_id) m
    where r.id = m.run_id
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
    where $5::boolean and s."offset" > 1
    union all
    select 'workflow:' || id::text, event_seq, progress_first, 'run.progress',
           run_tally(state, total_n, left_n, succeeded_n, failed_n,
               cancelled_n, skipped_n), updated_at
    from was where $5
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq, 'task.retrying',
           jsonb_build_object('state', state)
    from back where $5::boolean
    union all
    select 'workflow:' || id::text, event_seq, 'run.retried',
           run_tally(state, total_n, left_n, succeeded_n, failed_n,
               cancelled_n, skipped_n)
    from rolled
    returning channel, "offset", type, data, created_at
)
select 'back' as what, id, kind, limit_key, state,
       null::varchar as _channel, null::bigint as _offset,
       null::varchar as _event, null::jsonb as _event_data,
       null::timestamptz as _event_time
from back
union all
select 'slot', null, null, limit_key, null, null, null, null, null, null
from waiting where limit_slot
union all
select 'event', null, null, null, null, channel, "offset", type, data,
       created_at
from event

-- name: tasks_failed (read)
-- Dead letters: up to $6 tasks of $1 that failed, oldest first, of kind $2,
-- with all labels $3, finished from $4 on and before $5, of run $7; NULL:
-- whichever.
select h.id
from task_history h
where h.owner_id = $1::uuid and h.state = 'failed'
  and ($2::text is null or h.kind = $2::text)
  and ($3::text[] is null or h.labels @> $3::text[])
  and ($4::timestamptz is null or h.finished_at >= $4::timestamptz)
  and ($5::timestamptz is null or h.finished_at < $5::timestamptz)
  and ($7::uuid is null or h.run_id = $7::uuid)
order by h.id
limit $6::bigint
