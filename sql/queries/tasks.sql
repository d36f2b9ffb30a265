-- Tasks, as people see and change them. $1 is always the caller, who must be
-- the owner.

-- name: task_projects (read)
-- Those of projects $2 that are theirs, by id.
select p.id from projects p
where p.owner_id = $1::uuid and p.id = any($2::uuid[])
order by p.id

-- name: tasks_lock
-- Locks those of tasks $2 that are not finished.
select t.id, t.state, t.rank
from tasks t
where t.owner_id = $1::uuid and t.id = any($2::uuid[])
order by t.id
for update

-- name: tasks_finished (read)
-- Those of tasks $2 that are finished. Joined, so that each id is looked up in
-- its own partition.
select h.id, h.state, h.rank
from unnest($2::uuid[]) k (id) join task_history h on h.id = k.id
where h.owner_id = $1::uuid

-- name: task_kind (read)
-- The kind of unfinished task $2.
select t.kind from tasks t where t.id = $2::uuid and t.owner_id = $1::uuid

-- name: task_update
-- Changes unfinished task $2, whose version is one of $3 when that is given,
-- by patch $4: an object of what columns become, with $5 as its turn should it
-- be ready and its place change. While a task runs, what its attempt was given
-- stays. No row: absent, not theirs, or finished; `_event` null: not changed,
-- and `fresh` and `state` say why.
with l as materialized (
    select t.id, t.state, t.limit_key, t.limit_slot, t.version,
           $3::text[] is null or t.version::text = any($3::text[]) as fresh
    from tasks t
    where t.id = $2::uuid and t.owner_id = $1::uuid
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
        state = n.new_state,
        turn = case when n.new_state = 'ready'
                and (n.state <> 'ready' or n.p ? 'priority')
            then $5::bigint else t.turn end,
        version = t.version + 1, event_seq = t.event_seq + 1,
        updated_at = now()
    from n
    where t.id = n.id
    returning t.id, t.state, t.kind, t.limit_key, t.limit_slot, t.version,
              t.event_seq
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
