-- Tasks run by programs elsewhere, over HTTP (workers/work/runner_*.c). A claim
-- makes a lease: `worker_id` is its token, `lease_until` how long it is good.
-- Everything later is fenced by the token. A lease never outlasts the attempt's
-- time-out nor the task's deadline.

-- name: runner_ready (read)
-- Those of the kinds $2 of which owner $1 has a task to claim.
select k.kind from unnest($2::text[]) k (kind)
where exists (select from task_ready q
              where q.lane = task_lane(true, $1::uuid, k.kind))

-- name: runner_claim
-- Takes up to $3 tasks of kind $2 of owner $1, in order of turns, under lease
-- $4 for $5 ms; $6: whether to append events. As engine_claim does it, but
-- for the commit: what is handed out is safe.
with q as (
    delete from task_ready r
    where r.ctid = any (array(
        select q.ctid
        from task_ready q
        where q.lane = task_lane(true, $1::uuid, $2::varchar)
        order by q.turn, q.id
        limit $3::integer
        for update skip locked))
    returning r.id
), u as (
    update tasks t
    set attempt = t.attempt + 1, worker_id = $4::uuid,
        lease_until = least(c.now + $5::integer * interval '1 ms',
            c.now + nullif(t.timeout_ms, 0) * interval '1 ms', t.deadline_at),
        started_at = c.now, updated_at = now(), version = t.version + 1,
        event_seq = t.event_seq + 1, started_seq = t.event_seq + 1
    from (select clock_timestamp() as now) c
    where t.id = any (array(select id from q))
      and (t.state = 'ready') is true and t.worker_id is null
      and t.attempt < 32767
      and (t.deadline_at is null or t.deadline_at > now())
    returning t.*, (select count(*) from q) as seen
), claim as (
    insert into task_claims (worker_id, id, ids)
    select $4::uuid, gen_random_uuid(), ids
    from (select array(select id from q) as ids) c
    where ids <> '{}'
), e as materialized (
    select id, 'task:' || id::text as channel, event_seq,
           jsonb_build_object('state', 'running', 'attempt', attempt) as data
    from u where $6::boolean
)
select u.id, project_id, run_id, step, parent_id, kind, title, description,
       labels, priority, 'running' as state, run_at, deadline_at, timeout_ms,
       backoff_ms, attempt, max_attempts, unique_key, limit_key,
       case when run_on_failure then 'run' else 'skip' end
           as on_dependency_failure,
       progress, progress_message, counters, error, cost_nano_usd, version,
       created_at, updated_at, started_at, worker_id as lease_token,
       lease_until, input as _input, templated as _templated,
       dependents as _dependents, turn as _turn,
       run_at as _due, rank > 0 as _freed, seen as _seen,
       e.channel as _channel,
       e.event_seq as _offset, case when e.id is not null
           then 'task.running' end as _event, e.data as _event_data
from u left join e on e.id = u.id
order by turn, u.id

-- name: runner_heartbeat
-- Lease $3 of task $2 of owner $1 is good for $4 ms from now; one that is asked
-- to cancel is good for as long as it was, so that nobody can ignore it for
-- ever. No row: it is lost, or there is no such task.
update tasks t
set lease_until = case when t.cancel_requested then t.lease_until
        else least(now() + $4::integer * interval '1 ms',
            t.started_at + nullif(t.timeout_ms, 0) * interval '1 ms',
            t.deadline_at) end
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
  and t.worker_id = $3::uuid and t.lease_until is not null
  and least(t.started_at + nullif(t.timeout_ms, 0) * interval '1 ms',
            t.deadline_at, 'infinity') > now()
returning t.lease_until, t.cancel_requested, t.pause_requested

-- name: runner_progress
-- Progress $4, message $5, counters $6 of task $2 of owner $1 under lease $3,
-- which is good for $7 ms from now if that is longer. Not written when the task
-- has changed within the last quarter of a second and has said something
-- before. With $8 that was said about then, and is written unless the task has
-- changed since and has come as far. $9: whether it is an event, as of
-- engine_progress. No row: the lease is lost.
with l as materialized (
    select t.id, t.lease_until, t.cancel_requested, t.pause_requested,
           t.updated_at, t.event_seq, t.progress_seq, t.progress_first,
           t.progress_at, t.progress, t.progress_message, t.counters,
           case when $8::timestamptz is not null
               then t.updated_at <= $8 or coalesce($4::real > t.progress, false)
               else t.updated_at <= now() - interval '250 ms'
                 or (t.progress is null and t.progress_message is null
                     and t.counters is null) end as now_or_never
    from tasks t
    where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
      and t.worker_id = $3::uuid and t.lease_until is not null
    for update
), u as (
    update tasks t
    set progress = coalesce($4, t.progress),
        progress_message = coalesce($5::text, t.progress_message),
        counters = coalesce($6::jsonb, t.counters),
        lease_until = case when t.cancel_requested then t.lease_until
            else greatest(t.lease_until, least(
                now() + $7::integer * interval '1 ms',
                t.started_at + nullif(t.timeout_ms, 0) * interval '1 ms',
                t.deadline_at)) end,
        updated_at = greatest(t.updated_at, coalesce($8, now())),
        version = t.version + 1,
        event_seq = t.event_seq + $9::boolean::integer,
        progress_seq = case when $9 then t.event_seq + 1
            else t.progress_seq end,
        progress_first = case when not $9 or t.progress_seq = t.event_seq
            then t.progress_first else t.event_seq + 1 end,
        progress_at = case when $9 then now() else t.progress_at end
    from l where t.id = l.id and l.now_or_never
    returning t.id, t.lease_until, t.event_seq, t.progress_first, t.progress,
              t.progress_message, t.counters
), told as (
    insert into events (channel, "offset", first, type, data, created_at)
    select 'task:' || id::text, progress_seq, progress_first, 'task.progress',
           task_progress(progress, progress_message, counters), progress_at
    from l where $9 and now_or_never and progress_seq <> event_seq
)
select coalesce(u.lease_until, l.lease_until) as lease_until,
       l.cancel_requested, l.pause_requested,
       l.now_or_never as _written, now() as _now,
       l.updated_at + interval '250 ms' as _due,
       'task:' || u.id::text as _channel, u.event_seq as _offset,
       u.progress_first as _first, 'task.progress' as _event,
       task_progress(u.progress, u.progress_message, u.counters)
           as _event_data
from l left join u on u.id = l.id

-- name: runner_progress_late
-- The same for a task that has ended under the lease meanwhile, unless it had
-- come further: another process may have heard later words.
update task_history t
set progress = coalesce($4::real, t.progress),
    progress_message = coalesce($5::text, t.progress_message),
    counters = coalesce($6::jsonb, t.counters), version = t.version + 1
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true and t.worker_id = $3::uuid
  and coalesce($4, t.progress, 0) >= coalesce(t.progress, 0)

-- name: runner_held (read)
-- Task $2 of owner $1, if lease $3 holds it.
select t.attempt, t.dependents, t.run_id, t.kind, t.cancel_requested,
       t.pause_requested, (extract(epoch from now() - t.started_at)
                           * 1000000)::bigint as ran
from tasks t
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
  and t.worker_id = $3::uuid and t.lease_until is not null

-- name: runner_outcome (read)
-- Task $2 of owner $1 as it stands; _ended: it ended under lease $3, _outcome:
-- that of the attempt that did not succeed under it.
select t.id, task_state(t.state, t.worker_id) as state, t.attempt,
       t.max_attempts, t.run_at, null::timestamptz as finished_at, false as _ended,
       (select a.outcome::text from task_attempts a
        where a.task_id = t.id and a.worker_id = $3::uuid) as _outcome
from tasks t
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
union all
select t.id, t.state::text, t.attempt, t.max_attempts, t.run_at,
       t.finished_at, t.worker_id is not distinct from $3,
       (select a.outcome::text from task_attempts a
        where a.task_id = t.id and a.worker_id = $3)
from task_history t
where t.id = $2 and (t.owner_id = $1::uuid) is true

-- name: runner_cancel_late
-- Leases of tasks that were asked to cancel end within $1 ms.
with l as materialized (
    select t.id from tasks t
    where t.lease_until > now() + $1::integer * interval '1 ms'
      and t.cancel_requested and t.worker_id is not null
    order by t.id
    for update of t skip locked
)
update tasks t set lease_until = now() + $1 * interval '1 ms'
from l where t.id = l.id

-- name: runner_claims_done
-- Forgets those claims of leases $1 of which nothing is run any more.
delete from task_claims c
where c.worker_id = any ($1::uuid[])
  and not exists (select from tasks t
                  where t.id = any (c.ids) and t.worker_id = c.worker_id)

-- name: task_depths (read)
-- How many unfinished tasks there are of each kind and state, and how long the
-- oldest of those that are ready have been so.
select t.kind, task_state(t.state, t.worker_id) as state, count(*) as n,
       (extract(epoch from now() - min(t.updated_at)) * 1000000)::bigint
           as oldest
from tasks t
group by 1, 2
