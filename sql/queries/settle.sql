-- Ends of tasks: the one way from tasks to task_history, for the engine, for
-- remote runners, for people who cancel (workers/work/settle.c).
--
-- A task runs while it has a worker. The event of an end is not stored: the row
-- in the history is it (task_events); nor is the progress of a run, until it
-- ends (run_events).
--
-- Locks: runs by id, then the tasks that end, then those that wait for them,
-- each in the order of ids. Whoever gives a task a dependent locks the task
-- and counts up `dependents`, which is part of the fence here: so the edges
-- that a statement sees of what it has locked are all there are.

-- name: task_succeed
-- Ends tasks $1 with success, result $4 and cost $5: those that nothing waits
-- for and that belong to no run, which is most. The same fence as in
-- task_settle: attempt $2, run by $3. Rows as of task_settle.
with gone as (
    delete from tasks t
    using unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::jsonb[],
        $5::bigint[]) k (id, attempt, worker_id, result, cost)
    where t.id = k.id and t.attempt = k.attempt
      and t.worker_id = k.worker_id and t.dependents = 0 and t.run_id is null
    returning t.*, k.result as end_result, k.cost as end_cost
), moved as (
    insert into task_history (id, owner_id, turn, run_at, created_at,
        updated_at, version, event_seq, started_seq, progress_seq,
        progress_first, progress_at, rank, cost_nano_usd, timeout_ms,
        backoff_ms, priority, attempt, attempt_base, max_attempts, remote,
        templated, run_on_failure, cancel_requested, state, kind, title,
        description, labels, input, project_id, parent_id, worker_id,
        deadline_at, started_at, finished_at, unique_key, limit_key, progress,
        progress_message, counters, result, error)
    select id, owner_id, turn, run_at, created_at,
        now(), version + 1, event_seq + 1, started_seq, progress_seq,
        progress_first, progress_at, rank, cost_nano_usd + end_cost,
        timeout_ms, backoff_ms, priority, attempt, attempt_base, max_attempts,
        remote, templated, run_on_failure, cancel_requested, 'succeeded', kind,
        title, description, labels, input, project_id, parent_id, worker_id,
        deadline_at, started_at, now(), unique_key, limit_key, progress,
        progress_message, counters, end_result, error
    from gone
)
select 'end' as what, id, owner_id, kind, limit_key, false as remote,
       'succeeded' as state, attempt, event_seq + 1 as seq,
       null::varchar as _channel, null::bigint as _offset,
       null::bigint as _first, null::varchar as _event,
       null::jsonb as _event_data, now() as _event_time
from gone

-- name: task_succeed_linked
-- The same of tasks that others wait for, $6 the count of their dependents, or
-- that belong to runs, which are $7. Nothing else ends or stops with them. In
-- the order of ids. $8: virtual time by kind, for those set free; $9: whether
-- to append events. Rows as of task_settle.
with r as materialized (
    select r.* from runs r where r.id = any ($7::uuid[])
    order by r.id for update
), gone as (
    delete from tasks t
    using unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::jsonb[],
        $5::bigint[], $6::integer[])
        k (id, attempt, worker_id, result, cost, dependents)
    where (select count(*) from r) >= 0
      and t.id = k.id and t.attempt = k.attempt and t.worker_id = k.worker_id
      and t.dependents = k.dependents
    returning t.*, k.result as end_result, k.cost as end_cost
), moved as (
    insert into task_history (id, owner_id, turn, run_at, created_at,
        updated_at, version, event_seq, started_seq, progress_seq,
        progress_first, progress_at, rank, cost_nano_usd, timeout_ms,
        backoff_ms, dependents, priority, attempt, attempt_base, max_attempts,
        remote, templated, run_on_failure, cancel_requested, state, kind,
        title, description, labels, input, project_id, run_id, parent_id,
        step, worker_id, deadline_at, started_at, finished_at, unique_key,
        limit_key, progress, progress_message, counters, result, error)
    select id, owner_id, turn, run_at, created_at,
        now(), version + 1, event_seq + 1, started_seq, progress_seq,
        progress_first, progress_at, rank, cost_nano_usd + end_cost,
        timeout_ms, backoff_ms, dependents, priority, attempt, attempt_base,
        max_attempts, remote, templated, run_on_failure, cancel_requested,
        'succeeded', kind, title, description, labels, input, project_id,
        run_id, parent_id, step, worker_id, deadline_at, started_at, now(),
        unique_key, limit_key, progress, progress_message, counters,
        end_result, error
    from gone
), freed as (
    update tasks t
    set deps_left = t.deps_left - w.n,
        state = case when t.deps_left > w.n or t.state <> 'blocked'
                then t.state when t.run_at > now() then 'scheduled'
                else 'ready' end,
        turn = case when t.deps_left > w.n then t.turn
               else coalesce(($8::jsonb->>t.kind)::bigint, 0) + w.place end,
        version = t.version + 1,
        event_seq = t.event_seq
            + (t.deps_left = w.n and t.state = 'blocked')::integer,
        updated_at = now()
    from (select d.child_id as id, count(*)::integer as n,
                 row_number() over (order by d.child_id) as place
          from gone g
          cross join lateral (select d.child_id from task_dependencies d
              where d.parent_id = g.id offset 0) d
          where g.dependents > 0
          group by d.child_id order by d.child_id) w
    where t.id = w.id and (t.state in ('blocked', 'paused')) is true
    returning t.id, t.owner_id, t.kind, t.state, t.deps_left, t.event_seq,
              t.limit_key, t.remote, t.turn
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from freed where state = 'ready' and deps_left = 0 and limit_key is null
    on conflict do nothing
), rolled as (
    update runs r
    set left_n = r.left_n - u.n, succeeded_n = r.succeeded_n + u.n,
        state = case when r.left_n > u.n then r.state
                when r.failed_n > 0 then 'failed'
                when r.cancelled_n > 0 then 'cancelled'
                else 'succeeded' end,
        finished_at = case when r.left_n = u.n then now() end,
        version = r.version + 1, event_seq = r.event_seq + 1,
        progress_first = case when r.left_n > u.n
            then coalesce(r.progress_first, r.event_seq + 1) end,
        updated_at = now()
    from (select run_id, count(*) as n from gone
          where run_id is not null group by run_id) u
    where r.id = u.run_id
    returning r.*
), told as (
    insert into events (channel, "offset", first, type, data, created_at)
    select 'workflow:' || r.id::text, r.event_seq, r.progress_first,
           'run.progress', run_tally(r.state, r.total_n, r.left_n,
               r.succeeded_n, r.failed_n, r.cancelled_n, r.skipped_n),
           r.updated_at
    from r join rolled u on u.id = r.id
    where $9::boolean and r.progress_first is not null and u.left_n = 0
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq, 'task.' || state,
           jsonb_build_object('state', state)
    from freed where $9 and deps_left = 0 and state <> 'paused'
    union all
    select 'workflow:' || id::text, event_seq, 'run.' || state,
           run_tally(state, total_n, left_n, succeeded_n, failed_n,
               cancelled_n, skipped_n)
    from rolled where $9 and left_n = 0
    returning channel, "offset", type, data, created_at
)
select 'end' as what, id, owner_id, kind, limit_key, false as remote,
       'succeeded' as state, attempt, event_seq + 1 as seq,
       null::varchar as _channel, null::bigint as _offset,
       null::bigint as _first, null::varchar as _event,
       null::jsonb as _event_data, now() as _event_time
from gone
union all
select 'free', id, owner_id, kind, limit_key, remote, null, null, null, null,
       null, null, null, null, null
from freed where state = 'ready' and deps_left = 0
union all
select 'event', null, null, null, null, false, null, null, null, channel,
       "offset", null, type, data, created_at
from event
union all
select 'event', null, null, null, null, false, null, null, null,
       'workflow:' || id::text, event_seq, progress_first, 'run.progress',
       run_tally(state, total_n, left_n, succeeded_n, failed_n, cancelled_n,
           skipped_n), now()
from rolled where $9 and left_n > 0

-- name: task_settle_changed
-- Which of tasks $1, in attempt $2 and run by $3 (null: not running), have
-- another count of dependents than $4: `place` is their number, from 1.
select k.place, t.dependents
from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::integer[])
    with ordinality k (id, attempt, worker_id, dependents, place)
join tasks t on t.id = k.id
where t.attempt = k.attempt and t.dependents <> k.dependents
  and t.worker_id is not distinct from k.worker_id
order by k.place

-- name: task_settle_lock
-- Before the end, other than by success, of tasks that have dependents or
-- belong to a run: locks all that task_settle will end or touch for $1, which
-- end as $2. Returns how many that are; to be repeated in the transaction
-- until it says the same twice, since what was waited for may have changed.
with recursive k as materialized (
    select * from unnest($1::uuid[], $2::text[]) k (id, state)
), r as materialized (
    select r.id, r.on_failure from runs r
    where r.id = any (array(
        select (select t.run_id from tasks t where t.id = k.id) from k))
    order by r.id for update
), l as materialized (
    select t.id, t.run_id, k.state from k join tasks t on t.id = k.id
    where (select count(*) from r) >= 0
    order by t.id for update of t
), down (id) as (
    select d.child_id
    from l
    cross join lateral (select d.child_id from task_dependencies d
        where d.parent_id = l.id offset 0) d
    where l.state <> 'succeeded'
      and (select c.state in ('blocked', 'paused') and not c.run_on_failure
           from tasks c where c.id = d.child_id)
    union
    select d.child_id
    from down
    cross join lateral (select d.child_id from task_dependencies d
        where d.parent_id = down.id offset 0) d
    where (select c.state in ('blocked', 'paused') and not c.run_on_failure
           from tasks c where c.id = d.child_id)
), reach as (
    select id from down
    union
    select t.id
    from l
    join r on r.id = l.run_id and r.on_failure = 'fail_fast'
    join tasks t on t.run_id = r.id
    where l.state = 'failed'
), reached as (
    select id from reach
    union
    select d.child_id
    from (select id from reach union all select id from l) a
    cross join lateral (select d.child_id from task_dependencies d
        where d.parent_id = a.id offset 0) d
), locked as materialized (
    select t.id from tasks t
    where t.id = any (array(select id from reached
                            except select id from l))
    order by t.id for update
)
select (select count(*) from l) + (select count(*) from locked) as n

-- name: task_settle
-- Ends tasks $1 as $4 with result $5, error $6 and cost $7. Each must be as
-- its caller knows it: attempt $2, run by $3 (null: not running), $8 the
-- count of its dependents. Those that are not are left alone. $9: virtual
-- time by kind, for those set free; $10: whether to append events.
--
-- Rows, by `what`: `end` (a task that ended: its id), `free` (one that
-- may run now), `stop` (one that runs and is asked to stop), `run` (a run
-- that ended), `event`.
with recursive k as materialized (
    select * from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[],
        $5::jsonb[], $6::jsonb[], $7::bigint[], $8::integer[])
        k (id, attempt, worker_id, state, result, error, cost, dependents)
), r as materialized (
    select r.* from runs r
    where r.id = any (array(
        select (select t.run_id from tasks t where t.id = k.id) from k))
    order by r.id for update
), l as materialized (
    select t.id, t.run_id, t.dependents, k.state, k.result, k.error, k.cost
    from k join tasks t on t.id = k.id
    where (select count(*) from r) >= 0
      and t.attempt = k.attempt and t.dependents = k.dependents
      and t.worker_id is not distinct from k.worker_id
    order by t.id for update of t
), down (id) as (
    select d.child_id
    from l
    cross join lateral (select d.child_id from task_dependencies d
        where d.parent_id = l.id offset 0) d
    where l.dependents > 0 and l.state <> 'succeeded'
      and (select c.state in ('blocked', 'paused') and not c.run_on_failure
           from tasks c where c.id = d.child_id)
    union
    select d.child_id
    from down
    cross join lateral (select d.child_id from task_dependencies d
        where d.parent_id = down.id offset 0) d
    where (select c.state in ('blocked', 'paused') and not c.run_on_failure
           from tasks c where c.id = d.child_id)
), doom as materialized (
    select id, 'skipped' as state from down
    union all
    select t.id, 'cancelled'
    from l
    join r on r.id = l.run_id and r.on_failure = 'fail_fast'
    join tasks t on t.run_id = r.id
    where l.state = 'failed' and t.worker_id is null
      and not t.run_on_failure and t.id not in (select id from down)
    group by t.id
), doomed as materialized (
    select t.id
    from tasks t
    where t.id = any (array(select id from doom except select id from l))
      and t.worker_id is null
    order by t.id for update
), gone as (
    delete from tasks t
    using (select id, state, result, error, cost from l
           union all
           select d.id, d.state, null, null, 0
           from doomed join doom d on d.id = doomed.id) e
    where t.id = e.id
    returning t.*, e.state as end_state, e.result as end_result,
              e.error as end_error, e.cost as end_cost
), moved as (
    insert into task_history (id, owner_id, turn, run_at, created_at,
        updated_at, version, event_seq, started_seq, progress_seq,
        progress_first, progress_at, rank, cost_nano_usd, timeout_ms,
        backoff_ms, deps_left, dependents, priority, attempt, attempt_base,
        max_attempts, remote, templated, run_on_failure, cancel_requested,
        state, kind, title, description, labels, input, project_id, run_id,
        parent_id, step, worker_id, deadline_at, started_at, finished_at,
        unique_key, limit_key, progress, progress_message, counters, result,
        error)
    select id, owner_id, turn, run_at, created_at,
        now(), version + 1, event_seq + 1, started_seq, progress_seq,
        progress_first, progress_at, rank, cost_nano_usd + end_cost,
        timeout_ms, backoff_ms, deps_left, dependents, priority, attempt,
        attempt_base, max_attempts, remote, templated, run_on_failure,
        cancel_requested, end_state, kind, title, description, labels, input,
        project_id, run_id, parent_id, step, worker_id, deadline_at,
        started_at, now(), unique_key, limit_key, progress, progress_message,
        counters, end_result, coalesce(end_error, error)
    from gone
), unqueued as (
    delete from task_ready q
    where q.ctid = any (array(
        select q.ctid
        from gone g cross join lateral (select q.ctid from task_ready q
            where q.lane = task_lane(g.remote, g.owner_id, g.kind)
              and q.turn = g.turn and q.id = g.id
            offset 0 for update skip locked) q
        where g.state = 'ready' and g.worker_id is null))
), attempts as (
    insert into task_attempts (task_id, attempt, outcome, worker_id,
        started_at, error)
    select id, attempt,
           case when end_error->>'code' in ('timed_out', 'lost')
               then end_error->>'code' else end_state end,
           worker_id, started_at, end_error
    from gone
    where worker_id is not null and end_state <> 'succeeded'
), parents as materialized (
    select d.child_id as id, count(*)::integer as n
    from gone g
    cross join lateral (select d.child_id from task_dependencies d
        where d.parent_id = g.id offset 0) d
    where g.dependents > 0
    group by d.child_id
), waiting as materialized (
    select t.id, p.n
    from (select * from parents order by id) p
    cross join lateral (select t.id from tasks t
        where t.id = p.id and t.id not in (select id from doomed)
          and t.state in ('blocked', 'paused')
        offset 0 for update) t
), freed as (
    update tasks t
    set deps_left = t.deps_left - w.n,
        state = case when t.deps_left > w.n or t.state <> 'blocked'
                then t.state when t.run_at > now() then 'scheduled'
                else 'ready' end,
        turn = case when t.deps_left > w.n then t.turn
               else coalesce(($9::jsonb->>t.kind)::bigint, 0) + w.place end,
        version = t.version + 1,
        event_seq = t.event_seq
            + (t.deps_left = w.n and t.state = 'blocked')::integer,
        updated_at = now()
    from (select id, n, row_number() over (order by id) as place
          from waiting) w
    where t.id = w.id
    returning t.id, t.owner_id, t.kind, t.state, t.deps_left, t.event_seq,
              t.limit_key, t.remote, t.turn
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from freed where state = 'ready' and deps_left = 0 and limit_key is null
    on conflict do nothing
), stopped as (
    update tasks t
    set cancel_requested = true, updated_at = now(), version = t.version + 1
    from (select distinct r.id
          from l join r on r.id = l.run_id and r.on_failure = 'fail_fast'
          where l.state = 'failed') f
    where t.run_id = f.id and t.worker_id is not null
      and not t.cancel_requested
      and not t.run_on_failure and t.id not in (select id from l)
    returning t.id, t.worker_id
), rolled as (
    update runs r
    set left_n = r.left_n - u.n,
        succeeded_n = r.succeeded_n + u.succeeded,
        failed_n = r.failed_n + u.failed,
        cancelled_n = r.cancelled_n + u.cancelled,
        skipped_n = r.skipped_n + u.skipped,
        state = case when r.left_n > u.n then r.state
                when r.failed_n + u.failed > 0 then 'failed'
                when r.cancelled_n + u.cancelled > 0 then 'cancelled'
                else 'succeeded' end,
        finished_at = case when r.left_n = u.n then now() end,
        version = r.version + 1, event_seq = r.event_seq + 1,
        progress_first = case when r.left_n > u.n
            then coalesce(r.progress_first, r.event_seq + 1) end,
        updated_at = now()
    from (select run_id, count(*) as n,
                 count(*) filter (where end_state = 'succeeded') as succeeded,
                 count(*) filter (where end_state = 'failed') as failed,
                 count(*) filter (where end_state = 'cancelled') as cancelled,
                 count(*) filter (where end_state = 'skipped') as skipped
          from gone where run_id is not null group by run_id) u
    where r.id = u.run_id
    returning r.*
), told as (
    insert into events (channel, "offset", first, type, data, created_at)
    select 'workflow:' || r.id::text, r.event_seq, r.progress_first,
           'run.progress', run_tally(r.state, r.total_n, r.left_n,
               r.succeeded_n, r.failed_n, r.cancelled_n, r.skipped_n),
           r.updated_at
    from r join rolled u on u.id = r.id
    where $10::boolean and r.progress_first is not null and u.left_n = 0
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq, 'task.' || state,
           jsonb_build_object('state', state)
    from freed where $10 and deps_left = 0 and state <> 'paused'
    union all
    select 'workflow:' || id::text, event_seq, 'run.' || state,
           run_tally(state, total_n, left_n, succeeded_n, failed_n,
               cancelled_n, skipped_n)
    from rolled where $10 and left_n = 0
    returning channel, "offset", type, data, created_at
)
select 'end' as what, id, owner_id, kind, limit_key, false as remote,
       end_state as state, attempt, event_seq + 1 as seq,
       null::varchar as _channel, null::bigint as _offset,
       null::bigint as _first, null::varchar as _event,
       null::jsonb as _event_data, now() as _event_time
from gone
union all
select 'free', id, owner_id, kind, limit_key, remote, null, null, null, null,
       null, null, null, null, null
from freed where state = 'ready' and deps_left = 0
union all
select 'stop', id, worker_id, null, null, false, null, null, null, null, null,
       null, null, null, null
from stopped
union all
select 'event', null, null, null, null, false, null, null, null, channel,
       "offset", null, type, data, created_at
from event
union all
select 'event', null, null, null, null, false, null, null, null,
       'workflow:' || id::text, event_seq, progress_first, 'run.progress',
       run_tally(state, total_n, left_n, succeeded_n, failed_n, cancelled_n,
           skipped_n), now()
from rolled where $10 and left_n > 0
