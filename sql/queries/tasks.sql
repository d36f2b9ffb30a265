-- Tasks, as people see and change them. $1 is always the caller, who must be
-- the owner.

-- name: task_projects (read)
-- Those of projects $2 that are theirs, by id.
select p.id from projects p
where p.id = any($2::uuid[]) and (p.owner_id = $1::uuid) is true
order by p.id

-- name: tasks_lock
-- Locks those of tasks $2 that are not finished.
select t.id, task_state(t.state, t.worker_id) as state, t.rank
from tasks t
where t.id = any($2::uuid[]) and (t.owner_id = $1::uuid) is true
order by t.id
for update

-- name: tasks_finished (read)
-- Those of tasks $2 that are finished. Joined, so that each id is looked up in
-- its own partition.
select h.id, h.state, h.rank
from unnest($2::uuid[]) k (id) join task_history h on h.id = k.id
where (h.owner_id = $1::uuid) is true

-- name: task_kind (read)
-- The kind of unfinished task $2.
select t.kind from tasks t where t.id = $2::uuid and (t.owner_id = $1::uuid) is true

-- name: task_update
-- Changes unfinished task $2, whose version is one of $3 when that is given,
-- by patch $4: an object of what columns become, with $5 as its turn should it
-- be ready and its place change. While a task runs, what its attempt was given
-- stays. No row: absent, not theirs, or finished; `_event` null: not changed,
-- and `fresh` and `state` say why.
with l as materialized (
    select t.id, task_state(t.state, t.worker_id) as state, t.limit_key,
           t.limit_slot, t.turn, t.version,
           $3::text[] is null or t.version::text = any($3::text[]) as fresh
    from tasks t
    where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
    for update
), n as (
    select l.*, $4::jsonb as p,
           case when l.state in ('scheduled', 'ready') and $4::jsonb ? 'run_at'
               then case when ($4::jsonb->>'run_at')::timestamptz > now()
                   then 'scheduled' else 'ready' end
               else l.state end as new_state
    from l
    where l.fresh and (l.state <> 'running'
        or not $4::jsonb ?| array['run_at', 'input', 'limit_key'])
), changed as (
    update tasks t
    set title = coalesce(n.p->>'title', t.title),
        description = coalesce(n.p->>'description', t.description),
        input = coalesce(n.p->'input', t.input),
        labels = case when n.p ? 'labels'
            then array(select jsonb_array_elements_text(n.p->'labels'))
            else t.labels end,
        priority = coalesce((n.p->>'priority')::smallint, t.priority),
        run_at = coalesce((n.p->>'run_at')::timestamptz, t.run_at),
        deadline_at = case when n.p ? 'deadline_at'
            then (n.p->>'deadline_at')::timestamptz else t.deadline_at end,
        timeout_ms = case when n.p ? 'timeout_ms'
            then (n.p->>'timeout_ms')::integer else t.timeout_ms end,
        backoff_ms = coalesce((n.p->>'backoff_ms')::integer, t.backoff_ms),
        max_attempts = coalesce((n.p->>'max_attempts')::smallint,
            t.max_attempts),
        limit_key = case when n.p ? 'limit_key' then n.p->>'limit_key'
            else t.limit_key end,
        limit_slot = t.limit_slot and not n.p ? 'limit_key'
            and n.new_state in ('ready', 'running'),
        state = case n.new_state when 'running' then 'ready'
            else n.new_state end,
        turn = case when n.new_state = 'ready'
                and (n.state <> 'ready' or n.p ? 'priority')
            then $5::bigint else t.turn end,
        version = t.version + 1, event_seq = t.event_seq + 1,
        updated_at = now()
    from n
    where t.id = n.id
    returning t.id, t.owner_id, n.new_state as state, t.kind, t.limit_key,
              t.limit_slot, t.version, t.event_seq, t.turn, t.remote,
              n.state = 'ready' and (n.limit_key is null or n.limit_slot)
                  as was_queued, n.turn as old_turn,
              n.new_state = 'ready' and (t.limit_key is null or t.limit_slot)
                  as is_queued
), unqueued as (
    delete from task_ready q
    where q.ctid = any (array(
        select q.ctid
        from changed c join task_ready q
            on q.lane = task_lane(c.remote, c.owner_id, c.kind)
            and q.turn = c.old_turn and q.id = c.id
        where c.was_queued and (not c.is_queued or c.turn <> c.old_turn)
        for update of q skip locked))
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from changed
    where is_queued and (not was_queued or turn <> old_turn)
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || c.id::text, c.event_seq, 'task.updated',
           jsonb_build_object('version', c.version, 'state', c.state)
    from changed c
    returning channel, "offset", type, data, created_at
)
select l.fresh, l.state, l.version, c.state as new_state, c.kind,
       c.limit_key, case when l.limit_slot and not c.limit_slot
           then l.limit_key end as freed_limit,
       e.channel as _channel, e."offset" as _offset, e.type as _event,
       e.data as _event_data, e.created_at as _event_time
from l left join changed c on true left join event e on true

-- name: tasks_look (read)
-- What those of tasks $2 are doing that are not finished. `run_open`: they
-- belong to a run that has not ended.
select t.id, task_state(t.state, t.worker_id) as state, t.kind, t.priority,
       t.attempt, t.dependents, t.run_id, t.version, exists (select from runs r
           where r.id = t.run_id and r.state = 'running') as run_open
from tasks t
where t.id = any($2::uuid[]) and (t.owner_id = $1::uuid) is true

-- name: tasks_ask_stop
-- Asks those of tasks $2 to stop that run.
with l as materialized (
    select t.id, t.cancel_requested
    from tasks t
    where t.id = any($2::uuid[]) and (t.owner_id = $1::uuid) is true
      and t.worker_id is not null
    order by t.id
    for update
), changed as (
    update tasks t
    set cancel_requested = true, version = t.version + 1, updated_at = now()
    from l where t.id = l.id and not l.cancel_requested
)
select t.id, t.worker_id from l join tasks t on t.id = l.id

-- name: task_pause
-- Pauses unfinished task $2: at once, or, when it runs, by asking for it. $3:
-- whether to append the event. No row: absent, not theirs, or finished.
with l as materialized (
    select t.id, task_state(t.state, t.worker_id) as state, t.worker_id,
           t.limit_key, t.limit_slot, t.pause_requested
    from tasks t
    where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
    for update
), changed as (
    update tasks t
    set state = case when l.state = 'running' then 'ready'
            else 'paused' end,
        pause_requested = l.state = 'running',
        limit_slot = t.limit_slot and l.state = 'running',
        version = t.version + 1, updated_at = now(),
        event_seq = t.event_seq + (l.state <> 'running')::integer
    from l
    where t.id = l.id and l.state <> 'paused' and not l.pause_requested
    returning t.id, t.owner_id, t.kind, t.state, t.event_seq, t.turn,
              t.remote, l.state = 'ready' as was_queued
), unqueued as (
    delete from task_ready q
    where q.ctid = any (array(
        select q.ctid
        from changed c join task_ready q
            on q.lane = task_lane(c.remote, c.owner_id, c.kind)
            and q.turn = c.turn and q.id = c.id
        where c.was_queued
        for update of q skip locked))
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq, 'task.paused',
           jsonb_build_object('state', state)
    from changed where state = 'paused' and $3::boolean
    returning channel, "offset", type, data, created_at
)
select l.state, l.worker_id, case when l.limit_slot and l.state <> 'running'
           then l.limit_key end as freed_limit,
       e.channel as _channel, e."offset" as _offset, e.type as _event,
       e.data as _event_data, e.created_at as _event_time
from l left join event e on true

-- name: task_resume
-- Takes task $2 out of its pause; $3 is its turn should it be ready then. $4:
-- whether to append the event. No row: absent, not theirs, or finished;
-- `new_state` null: it is not paused.
with l as materialized (
    select t.id, task_state(t.state, t.worker_id) as state
    from tasks t
    where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
    for update
), changed as (
    update tasks t
    set state = case when t.deps_left > 0 then 'blocked'
            when t.run_at > now() then 'scheduled' else 'ready' end,
        turn = $3::bigint, pause_requested = false,
        version = t.version + 1, event_seq = t.event_seq + 1,
        updated_at = now()
    from l
    where t.id = l.id and l.state = 'paused'
    returning t.id, t.owner_id, t.state, t.kind, t.limit_key, t.event_seq,
              t.turn, t.remote
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from changed where state = 'ready' and limit_key is null
    on conflict do nothing
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq, 'task.resumed',
           jsonb_build_object('state', state)
    from changed where $4::boolean
    returning channel, "offset", type, data, created_at
)
select l.state, c.state as new_state, c.kind, c.limit_key,
       e.channel as _channel, e."offset" as _offset, e.type as _event,
       e.data as _event_data, e.created_at as _event_time
from l left join changed c on true left join event e on true

-- name: task_run
-- Has scheduled task $2 run now, at turn $3. $4: whether to append the event.
-- No row: absent, not theirs, or finished; `new_state` null: it is not
-- scheduled.
with l as materialized (
    select t.id, task_state(t.state, t.worker_id) as state
    from tasks t
    where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
    for update
), changed as (
    update tasks t
    set state = 'ready', run_at = now(), turn = $3::bigint,
        version = t.version + 1, event_seq = t.event_seq + 1,
        updated_at = now()
    from l
    where t.id = l.id and l.state = 'scheduled'
    returning t.id, t.owner_id, t.state, t.kind, t.limit_key, t.event_seq,
              t.turn, t.remote
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from changed where state = 'ready' and limit_key is null
    on conflict do nothing
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq, 'task.ready',
           jsonb_build_object('state', state)
    from changed where $4::boolean
    returning channel, "offset", type, data, created_at
)
select l.state, c.state as new_state, c.kind, c.limit_key,
       e.channel as _channel, e."offset" as _offset, e.type as _event,
       e.data as _event_data, e.created_at as _event_time
from l left join changed c on true left join event e on true

-- name: tasks_delete
-- Removes those of tasks $2 that are finished, with what is kept of their
-- attempts and edges, but for those of runs that have not ended. $3: whether to
-- append events.
with gone as (
    delete from task_history h
    using unnest($2::uuid[]) k (id)
    where h.id = k.id and (h.owner_id = $1::uuid) is true
      and not exists (select from runs r
          where r.id = h.run_id and (r.state = 'running') is true)
    returning h.id, h.event_seq, h.version
), attempt as (
    delete from task_attempts a using gone g where a.task_id = g.id
), above as (
    delete from task_dependencies d using gone g where d.parent_id = g.id
), below as (
    delete from task_dependencies d using gone g where d.child_id = g.id
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq + 1, 'task.deleted',
           jsonb_build_object('version', version)
    from gone where $3::boolean
    returning channel, "offset", type, data, created_at
)
select id, null::varchar as _channel, null::bigint as _offset,
       null::varchar as _event, null::jsonb as _event_data,
       null::timestamptz as _event_time
from gone
union all
select null, channel, "offset", type, data, created_at from event

-- name: task_result (read)
-- How task $2 ended. No row: it has not, or is absent or not theirs.
select h.state, h.result, h.error, h.version, h.finished_at
from task_history h
where h.id = $2::uuid and (h.owner_id = $1::uuid) is true

-- name: task_exists (read)
-- A row when task $2 is theirs: `live` when it is not finished.
select true as live from tasks t
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true
union all
select false from task_history h
where h.id = $2::uuid and (h.owner_id = $1::uuid) is true

-- name: task_attempts (read)
-- Up to $4 attempts of task $2 after number $3, with the one that runs or that
-- succeeded.
select a.attempt, a.outcome, a.started_at, a.finished_at, a.error
from task_attempts a
where a.task_id = $2::uuid and a.attempt > $3::bigint
  and (exists (select from tasks t
           where t.id = $2::uuid and (t.owner_id = $1::uuid) is true)
       or exists (select from task_history h
           where h.id = $2::uuid and (h.owner_id = $1::uuid) is true))
union all
select t.attempt, 'running', t.started_at, null, null
from tasks t
where t.id = $2::uuid and (t.owner_id = $1::uuid) is true and t.worker_id is not null
  and t.attempt > $3::bigint
union all
select h.attempt, 'succeeded', h.started_at, h.finished_at, null
from task_history h
where h.id = $2::uuid and (h.owner_id = $1::uuid) is true and h.state = 'succeeded'
  and h.attempt > $3::bigint
order by attempt
limit $4::bigint

-- name: task_events (read)
-- Up to $4 events of task $2, which is theirs, after offset $3.
select e."offset", coalesce(e.first, e."offset") as first, e.type, e.data,
       e.created_at
from task_events($2::uuid) e
where $1::uuid is not null and e."offset" > $3::bigint
order by e."offset"
limit $4::bigint

-- name: tasks_by_state (read)
-- How many tasks there are in each state, each counted to $2 at most.
select s.state, c.n
from unnest(array['blocked', 'scheduled', 'ready', 'running', 'paused'])
    s (state)
cross join lateral (select count(*) as n from (
    select from tasks t
    where t.owner_id = $1::uuid and t.state = s.state and s.state <> 'ready'
    union all
    select from ready_tasks t
    where t.owner_id = $1::uuid and s.state = 'ready'
    union all
    select from running_tasks t
    where (t.owner_id = $1::uuid) is true and s.state = 'running'
    limit $2::bigint) t) c
union all
select s.state, c.n
from unnest(array['succeeded', 'failed', 'cancelled', 'skipped']) s (state)
cross join lateral (select count(*) as n from (
    select from task_history h where h.owner_id = $1::uuid
        and h.state = s.state
    limit $2::bigint) t) c

-- name: tasks_by_kind (read)
-- How many unfinished tasks there are of each kind in each state, of $2 tasks
-- at most.
select t.kind, t.state, count(*) as n
from (select t.kind, task_state(t.state, t.worker_id) as state
      from tasks t where t.owner_id = $1::uuid
      limit $2::bigint) t
group by t.kind, t.state
order by t.kind, t.state
