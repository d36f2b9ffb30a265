-- Statements of the task engine (workers/work/engine*.c, limits.c).

-- name: engine_register
-- A process that runs tasks: $1 its id, made for this start, $2 host, $3 pid;
-- $4, which it follows, is dead. Returns the virtual times that others have
-- reached.
with w as (
    insert into task_workers (id, host, pid)
    values ($1::uuid, $2::text, $3::integer)
), dead as (
    update task_workers set dead_at = now()
    where id = $4::uuid and dead_at is null
)
select k.key as kind, max(k.value::bigint) as turn
from task_workers o, jsonb_each_text(o.turns) k
group by k.key

-- name: engine_beat
-- Worker $1 is alive and has reached the virtual times $2. No row `alive`: it
-- has been taken for dead, and what it ran is others' now. Rows `stop`: tasks
-- of its that are asked to end, or (pause) to pause; `turn`: how far others
-- are.
with w as (
    update task_workers set seen_at = now(), turns = $2::jsonb
    where id = $1::uuid and dead_at is null
    returning id
)
select 'alive' as what, id, false as pause, null::text as kind,
       null::bigint as turn
from w
union all
select 'stop', t.id, not t.cancel_requested, null, null
from w join tasks t on t.worker_id = w.id
where t.cancel_requested or t.pause_requested
union all
select 'turn', null, false, k.key, max(k.value::bigint)
from w, task_workers o, jsonb_each_text(o.turns) k
where o.dead_at is null and o.id <> w.id
group by k.key

-- name: engine_leave
-- Worker $1 has ended in good order.
update task_workers set dead_at = now(), turns = $2::jsonb
where id = $1::uuid and dead_at is null

-- name: engine_claim
-- Takes up to $2 entries of the queue of kind $1, in order of turns from $3 up,
-- and with them the tasks that are still ready, for worker $4 as claim $5.
-- `seen`: how many entries that were; stale ones are gone with the others.
-- Entries that somebody else has are passed over, tasks that somebody else has
-- locked are waited for.
--
-- Nothing waits for the log to be flushed: should the server die before it is,
-- nobody has claimed them, and what the attempt says is refused. An attempt
-- begins after what this statement sees, so the clock is asked and not the
-- transaction: no two are ever seen with the same slot of a limit.
with q as (
    delete from task_ready r
    where r.ctid = any (array(
        select q.ctid
        from task_ready q
        where q.lane = $1::varchar and q.turn >= $3::bigint
        order by q.turn, q.id
        limit $2::integer
        for update skip locked))
    returning r.id
), u as (
    update tasks t
    set attempt = t.attempt + 1, worker_id = $4::uuid,
        started_at = clock_timestamp(), updated_at = now(),
        version = t.version + 1, event_seq = t.event_seq + 1,
        started_seq = t.event_seq + 1
    where t.id = any (array(select id from q))
      and (t.state = 'ready') is true and t.worker_id is null
      and t.attempt < 32767
    returning t.id, t.owner_id, t.attempt, t.dependents, t.turn, t.run_id,
              t.run_at, t.deadline_at, t.timeout_ms, t.templated, t.input,
              t.event_seq, t.rank > 0 as freed,
              (select count(*) from q) as seen
), claim as (
    insert into task_claims (worker_id, id, ids)
    select $4::uuid, $5::uuid, ids
    from (select array(select id from q) as ids) c
    where ids <> '{}'
      and (select set_config('synchronous_commit', 'off', true)) = 'off'
)
select id, owner_id, attempt, dependents, turn, run_id, run_at, deadline_at,
       timeout_ms, templated, input, event_seq, freed, seen
from u

-- name: engine_hold
-- As engine_claim, inside a transaction that also ends what it takes. Plain
-- tasks (nobody waits for them, they are of no run, hold no slot of a limit,
-- and nothing is to be filled in) are only locked and come back as `held`; the
-- others are claimed. The commit waits for the log only when there are held
-- ones.
with q as (
    delete from task_ready r
    where r.ctid = any (array(
        select q.ctid
        from task_ready q
        where q.lane = $1::varchar and q.turn >= $3::bigint
        order by q.turn, q.id
        limit $2::integer
        for update skip locked))
    returning r.id
), c as materialized (
    select t.id, t.owner_id, t.attempt + 1 as attempt, t.dependents, t.turn,
           t.run_id, t.run_at, t.deadline_at, t.timeout_ms, t.templated,
           t.input, t.event_seq + 1 as event_seq, t.rank > 0 as freed,
           t.dependents = 0 and t.run_id is null and t.limit_key is null
               and not t.templated as held
    from tasks t
    where t.id = any (array(select id from q))
      and (t.state = 'ready') is true and t.worker_id is null
      and t.attempt < 32767
    for update of t
), u as (
    update tasks t
    set attempt = t.attempt + 1, worker_id = $4::uuid,
        started_at = clock_timestamp(), updated_at = now(),
        version = t.version + 1, event_seq = t.event_seq + 1,
        started_seq = t.event_seq + 1
    where t.id = any (array(select id from c where not held))
    returning t.id
), claim as (
    insert into task_claims (worker_id, id, ids)
    select $4::uuid, $5::uuid, array_agg(id) from u having count(*) > 0
)
select id, owner_id, attempt, dependents, turn, run_id, run_at, deadline_at,
       timeout_ms, templated, input, event_seq, freed, held,
       (select count(*) from q) as seen
from c
where (select case when bool_or(held) then ''
           else set_config('synchronous_commit', 'off', true) end
       from c) is not null

-- name: engine_held_take
-- The held tasks $1, which did not succeed at once, are claimed for worker $2,
-- as claim $3, to be settled like any other.
with u as (
    update tasks t
    set attempt = t.attempt + 1, worker_id = $2::uuid, started_at = clock_timestamp(),
        updated_at = now(), version = t.version + 1,
        event_seq = t.event_seq + 1, started_seq = t.event_seq + 1
    where t.id = any ($1::uuid[])
    returning t.id
), claim as (
    insert into task_claims (worker_id, id, ids)
    select $2::uuid, $3::uuid, $1
)
select count(*) as n from u

-- name: engine_held_end
-- The held tasks $1 have succeeded, run by worker $2, with results $3 (an
-- object by id, or null). Returns how many.
with gone as (
    delete from tasks t
    where t.id = any ($1::uuid[])
    returning t.*
), moved as (
    insert into task_history (id, owner_id, turn, run_at, created_at,
        updated_at, version, event_seq, started_seq, progress_seq,
        progress_first, progress_at, rank, cost_nano_usd, timeout_ms,
        backoff_ms, priority, attempt, attempt_base, max_attempts,
        run_on_failure, state, kind, title, description, labels, input,
        project_id, parent_id, worker_id, deadline_at, started_at,
        finished_at, unique_key, progress, progress_message, counters, result,
        error)
    select id, owner_id, turn, run_at, created_at, now(), version + 2,
        event_seq + 2, event_seq + 1, progress_seq, progress_first,
        progress_at, rank, cost_nano_usd, timeout_ms, backoff_ms, priority,
        attempt + 1, attempt_base, max_attempts,
        run_on_failure, 'succeeded', kind, title, description, labels, input,
        project_id, parent_id, $2::uuid, deadline_at, now(),
        statement_timestamp(), unique_key, progress, progress_message,
        counters, $3::jsonb->id::text, error
    from gone
)
select count(*) as n from gone

-- name: engine_claims_done
-- Claims $2 of worker $1 have nothing under way any more.
delete from task_claims where worker_id = $1::uuid and id = any ($2::uuid[])

-- name: engine_poll (read)
-- Those of the kinds $1 that have a task to claim.
select k.kind from unnest($1::text[]) k (kind)
where exists (select from task_ready q where q.lane = k.kind)

-- name: engine_retry
-- Attempts that did not succeed: $2 of tasks $1, run by $3, with outcome $4
-- (null: it had not begun), error $5 and cost $6. $7: it is the last in any
-- case; $8: it does not count, and the task is as ready as before. $9: virtual
-- time by kind. Those whose attempts are used up, or that were cancelled, are
-- left as they are, for task_settle: `what` is then `spent` or `cancelled`.
-- An orphan's next attempt begins soon: the first was lost by our fault. $11:
-- milliseconds that the next attempt waits at least. The event of the start,
-- until now in the row, is stored with that of the end.
with k as materialized (
    select * from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[],
        $5::jsonb[], $6::bigint[], $7::boolean[], $8::boolean[],
        $11::integer[])
        k (id, attempt, worker_id, outcome, error, cost, final, kept, after)
), l as materialized (
    select t.id, k.outcome, k.error, k.cost, k.kept, t.attempt, t.worker_id,
           t.started_at,
           t.started_seq,
           case when t.cancel_requested then 'cancelled'
               when k.outcome = 'paused' or t.pause_requested then 'paused'
               when k.kept then 'ready'
               when k.final or t.attempt - t.attempt_base >= t.max_attempts
               then 'spent'
               else 'scheduled' end as what,
           greatest(least(k.after, 3600000), least(3600000,
               case when k.outcome = 'lost' then 2000 end,
               t.backoff_ms * power(2, least(30,
                   t.attempt - t.attempt_base - 1)))
               * (0.5 + random() / 2)) as delay
    from k join tasks t on t.id = k.id
    where t.attempt = k.attempt and t.worker_id = k.worker_id
    order by t.id for update of t
), u as (
    update tasks t
    set state = l.what,
        run_at = case when l.what = 'scheduled'
                 then now() + l.delay * interval '1 ms' else t.run_at end,
        turn = case when l.what = 'ready' then t.turn
               else coalesce(($9::jsonb->>t.kind)::bigint, t.turn) end,
        attempt_base = t.attempt_base
            + (l.kept or l.outcome = 'paused')::integer,
        error = coalesce(l.error, t.error),
        cost_nano_usd = t.cost_nano_usd + l.cost,
        worker_id = null, started_seq = null, lease_until = null,
        limit_slot = false,
        pause_requested = false, updated_at = now(),
        version = t.version + 1, event_seq = t.event_seq + 1
    from l
    where t.id = l.id and l.what in ('scheduled', 'ready', 'paused')
    returning t.id, t.owner_id, t.kind, t.state, t.attempt, t.limit_key,
              t.run_at, t.event_seq, t.turn, t.remote, l.outcome
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from u where state = 'ready' and limit_key is null
    on conflict do nothing
), attempts as (
    insert into task_attempts (task_id, attempt, outcome, worker_id,
        started_at, error)
    select id, attempt, outcome, worker_id, started_at, error
    from l
    where what in ('scheduled', 'ready', 'paused') and outcome is not null
), e as materialized (
    select 'task:' || id::text as channel, event_seq,
           case state when 'scheduled' then 'task.retrying'
               else 'task.' || state end as type,
           jsonb_strip_nulls(jsonb_build_object('state', state,
               'attempt', attempt, 'outcome', outcome, 'run_at',
               case when state = 'scheduled' then run_at end)) as data, id
    from u where $10::boolean
), event as (
    insert into events (channel, "offset", type, data, created_at)
    select channel, event_seq, type, data, now() from e
    union all
    select 'task:' || l.id::text, l.started_seq, 'task.running',
           jsonb_build_object('state', 'running', 'attempt', l.attempt),
           l.started_at
    from l join u on u.id = l.id
    where $10 and l.started_seq is not null
)
select u.state::text as what, u.id, u.owner_id, u.kind, u.limit_key,
       u.run_at, e.channel as _channel, e.event_seq as _offset,
       e.type as _event, e.data as _event_data
from u left join e on e.id = u.id
union all
select what, id, null, null, null, null, null, null, null, null
from l where what in ('spent', 'cancelled')

-- name: engine_progress
-- Progress $4 of tasks $1, attempt $2, run by $3, with message $5 and
-- counters $6; $7: whether that is an event. It replaces the one directly
-- before, which the row has told; when something else has happened since, that
-- one is stored.
with k as materialized (
    select * from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[],
        $5::text[], $6::jsonb[])
        k (id, attempt, worker_id, share, message, counters)
), l as materialized (
    select t.id, k.share, k.message, k.counters, t.event_seq, t.progress_seq,
           t.progress_first, t.progress_at, t.progress,
           t.progress_message as message_was, t.counters as counters_were
    from k join tasks t on t.id = k.id
    where t.attempt = k.attempt and t.worker_id = k.worker_id
    order by t.id for update of t
), u as (
    update tasks t
    set progress = l.share::real,
        progress_message = coalesce(l.message, t.progress_message),
        counters = coalesce(l.counters, t.counters),
        updated_at = now(), version = t.version + 1,
        event_seq = t.event_seq + $7::boolean::integer,
        progress_seq = case when $7 then t.event_seq + 1
            else t.progress_seq end,
        progress_first = case when not $7 or t.progress_seq = t.event_seq
            then t.progress_first else t.event_seq + 1 end,
        progress_at = case when $7 then now() else t.progress_at end
    from l where t.id = l.id
    returning t.id, t.event_seq, t.progress_first, t.progress,
              t.progress_message, t.counters
), told as (
    insert into events (channel, "offset", first, type, data, created_at)
    select 'task:' || id::text, progress_seq, progress_first, 'task.progress',
           task_progress(progress, message_was, counters_were), progress_at
    from l where $7 and progress_seq <> event_seq
)
select 'task:' || id::text as _channel, event_seq as _offset,
       progress_first as _first, 'task.progress' as _event,
       task_progress(progress, progress_message, counters) as _event_data,
       now() as _event_time
from u where $7

-- name: engine_bury
-- Workers that were silent for $1 ms are taken for dead.
with s as materialized (
    select id from task_workers
    where dead_at is null
      and seen_at < now() - $1::integer * interval '1 ms'
    order by id limit 100
    for update skip locked
)
update task_workers w set dead_at = now()
from s where w.id = s.id
returning w.id, w.host, w.pid

-- name: engine_forget
-- Deletes claims of which nothing is under way, other than those that a worker
-- looks after itself. Workers that died go with retention_workers.
delete from task_claims c
where not exists (select from task_workers w
                  where w.id = c.worker_id and w.dead_at is null)
  and not exists (select from tasks t
                  where t.id = any (c.ids) and t.worker_id = c.worker_id)

-- name: engine_orphans (read)
-- Up to $1 running tasks whose worker is dead or whose lease has run out,
-- `timed_out` with the time of the attempt.
with c as materialized (
    select c.worker_id, unnest(c.ids) as id
    from task_claims c
    where exists (select from task_workers w
                  where w.id = c.worker_id and w.dead_at is not null)
)
(select t.id, t.attempt, t.worker_id, t.dependents, t.run_id,
        t.kind, false as timed_out
 from c join tasks t on t.id = c.id and t.worker_id = c.worker_id
 limit $1::integer)
union all
(select t.id, t.attempt, t.worker_id, t.dependents, t.run_id,
        t.kind, coalesce(t.lease_until >= t.started_at
            + nullif(t.timeout_ms, 0) * interval '1 ms', false)
 from tasks t
 where t.lease_until is not null and t.lease_until < now()
   and t.worker_id is not null
 order by t.lease_until limit $1::integer)

-- name: engine_overdue (read)
-- Up to $1 tasks past their deadline that no engine runs; those that run on
-- one are its own to stop.
select t.id, t.attempt, t.worker_id, t.dependents, t.run_id,
       t.worker_id is not null as running
from tasks t
where t.deadline_at is not null and t.deadline_at <= now()
  and (t.worker_id is null or t.lease_until is not null)
order by t.deadline_at limit $1::integer

-- name: engine_due (read)
-- Up to $1 scheduled tasks whose time comes within $2 ms, and in how many.
select t.id, t.owner_id, t.kind, t.priority, greatest(0,
       ceil(extract(epoch from t.run_at - now()) * 1000))::integer as wait_ms
from tasks t
where t.state = 'scheduled'
  and t.run_at <= now() + $2::integer * interval '1 ms'
order by t.run_at limit $1::integer

-- name: engine_stage
-- Scheduled tasks $1 whose time has come are ready, with turns $2; $3:
-- whether to append events.
with k as materialized (
    select * from unnest($1::uuid[], $2::bigint[]) k (id, turn)
), l as materialized (
    select t.id, k.turn from k join tasks t on t.id = k.id
    where t.state = 'scheduled' and t.run_at <= now()
    order by t.id for update of t skip locked
), u as (
    update tasks t
    set state = 'ready', turn = l.turn, updated_at = now(),
        version = t.version + 1, event_seq = t.event_seq + 1
    from l where t.id = l.id
    returning t.id, t.owner_id, t.kind, t.limit_key, t.event_seq, t.turn,
              t.remote
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from u where limit_key is null
    on conflict do nothing
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq, 'task.ready',
           '{"state": "ready"}'::jsonb
    from u where $3::boolean
)
select owner_id, kind, limit_key, 'task:' || id::text as _channel,
       event_seq as _offset, 'task.ready' as _event,
       '{"state": "ready"}'::jsonb as _event_data
from u

-- name: engine_limit_lock
-- Whoever grants slots of the keys $2 of owners $1 comes by here first, so
-- that it sees in the next statement what others have granted.
select l.owner_id from task_limits l
join unnest($1::uuid[], $2::text[]) k (owner_id, key)
    on l.owner_id = k.owner_id and l.key = k.key
order by l.owner_id, l.key for update of l

-- name: engine_limit_grant
-- Gives the free slots of the keys $2 of owners $1 to those who wait, in order
-- of turns. A key without a limit has enough for all.
with k as materialized (
    select k.owner_id, k.key, coalesce(l.max, 1000000000)
        - (select count(*) from tasks t
           where t.owner_id = k.owner_id and t.limit_key = k.key
             and t.limit_slot) as free
    from unnest($1::uuid[], $2::text[]) k (owner_id, key)
    left join task_limits l on l.owner_id = k.owner_id and l.key = k.key
), g as materialized (
    select w.id
    from k cross join lateral (
        select t.id from tasks t
        where t.owner_id = k.owner_id and t.limit_key = k.key
          and t.limit_key is not null and t.state = 'ready'
          and t.worker_id is null and not t.limit_slot
        order by t.turn, t.id
        limit greatest(k.free, 0)) w
), l as materialized (
    select t.id from tasks t
    where t.id = any (array(select g.id from g))
      and (t.state = 'ready') is true and t.worker_id is null
      and not t.limit_slot
    order by t.id for update of t
), u as (
    update tasks t set limit_slot = true
    from l where t.id = l.id
    returning t.id, t.owner_id, t.kind, t.remote, t.turn
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id from u
    on conflict do nothing
)
select distinct kind from u

-- name: engine_limits_waiting (read)
-- Up to $1 keys for whose slots tasks wait.
with recursive k as (
    (select t.owner_id, t.limit_key from tasks t
     where t.limit_key is not null and t.state = 'ready' and not t.limit_slot
     order by t.owner_id, t.limit_key limit 1)
    union all
    select n.owner_id, n.limit_key
    from k cross join lateral (
        select t.owner_id, t.limit_key from tasks t
        where t.limit_key is not null and t.state = 'ready'
          and not t.limit_slot
          and (t.owner_id, t.limit_key) > (k.owner_id, k.limit_key)
        order by t.owner_id, t.limit_key limit 1) n
)
select owner_id, limit_key from k limit $1::integer

-- name: engine_held (read)
-- What worker $1 has run for longer than any claim of its can be under way.
select t.id, t.attempt
from task_claims c
cross join lateral (select t.id, t.attempt from tasks t
    where t.id = any (c.ids) and t.worker_id = c.worker_id
      and t.started_at < now() - interval '1 minute' offset 0) t
where c.worker_id = $1::uuid
