-- Tasks in: the one way into the table of unfinished tasks
-- (workers/work/enqueue.c). Who a task is for, where it begins and which turn
-- it has is said by the caller. The event of its making is not stored: the row
-- is it (task_events).

-- name: task_create (insert)
-- A task that can collide with nothing: without unique key, limit and edges.
-- $20: the lane it is ready in, '' when it is not.
with made as (
    insert into tasks (id, owner_id, created_at, updated_at, kind, state, turn,
        run_at, priority, title, input, remote, description, labels,
        project_id, parent_id, deadline_at, timeout_ms, backoff_ms,
        max_attempts, run_on_failure)
    values ($1::uuid, $2::uuid, $3::timestamptz, $3::timestamptz, $4::text,
        $5::text, $6::bigint, $7::timestamptz, $8::smallint, $9::text,
        $10::jsonb, $11::boolean, $12::text, $13::text[], $14::uuid,
        $15::uuid, $16::timestamptz, $17::integer, $18::integer,
        $19::smallint, $21::boolean)
)
insert into task_ready (lane, turn, id)
select $20::text, $6::bigint, $1::uuid where $20::text <> ''

-- name: tasks_enqueue
-- Tasks $1, whose columns are arrays: of one item where all are alike (hence
-- "coalesce"), else of as many as there are tasks. What few tasks have is in
-- $13, by column. $14 to $17: edges between them. $18: the lanes they are ready
-- in, '' for those that are not. $20: the run that they are of, to be made too,
-- by column, or null; $19: whether to append its event.
--
-- Sets are unnested in the select list, where they advance together without
-- being stored first.
with run as (
    insert into runs (id, owner_id, project_id, workflow_id,
        workflow_version, name, on_failure, input, total_n, left_n,
        created_at, updated_at)
    select r.id, r.owner_id, r.project_id, r.workflow_id, r.workflow_version,
           r.name, r.on_failure, r.input, r.total, r.total, r.created_at,
           r.created_at
    from jsonb_to_record($20::jsonb) r (id uuid, owner_id uuid,
        project_id uuid, workflow_id uuid, workflow_version bigint, name text,
        on_failure text, input jsonb, total integer, created_at timestamptz)
    where $20::jsonb is not null
    returning id, state, total_n, created_at
), edge as (
    insert into task_dependencies (parent_id, child_id, parent_rank,
        child_rank)
    select unnest($14::uuid[]), unnest($15::uuid[]), unnest($16::bigint[]),
           unnest($17::bigint[])
), queued as (
    insert into task_ready (lane, turn, id)
    select coalesce(lane, ($18::text[])[1]), turn, id
    from (select unnest($1::uuid[]) as id, unnest($6::bigint[]) as turn,
                 unnest($18::text[]) as lane) q
    where coalesce(lane, ($18::text[])[1]) <> ''
), event as (
    insert into events (channel, "offset", type, data, created_at)
    select 'workflow:' || r.id::text, 1, 'run.created',
           jsonb_build_object('state', r.state, 'total', r.total_n,
               'left', r.total_n), r.created_at
    from run r where $19::boolean
)
insert into tasks (id, owner_id, created_at, updated_at, kind, state, turn,
    run_at, priority, title, input, remote, description, labels, project_id,
    run_id, parent_id, step, deadline_at, timeout_ms, backoff_ms,
    max_attempts, unique_key, limit_key, rank, deps_left, dependents,
    run_on_failure, templated)
select id, coalesce(owner_id, ($2::uuid[])[1]),
    coalesce(created_at, ($3::timestamptz[])[1]),
    coalesce(created_at, ($3::timestamptz[])[1]),
    coalesce(kind, ($4::text[])[1]), coalesce(state, ($5::text[])[1]), turn,
    coalesce(run_at, ($7::timestamptz[])[1]),
    coalesce(priority, ($8::smallint[])[1]),
    coalesce(title, ($9::text[])[1]), coalesce(input, ($10::jsonb[])[1]),
    coalesce(remote, ($11::boolean[])[1]),
    coalesce(more->>'description', ''),
    case when more ? 'labels'
        then array(select jsonb_array_elements_text(more->'labels'))
        else '{}' end,
    (more->>'project_id')::uuid, (more->>'run_id')::uuid,
    (more->>'parent_id')::uuid, more->>'step',
    (more->>'deadline_at')::timestamptz, (more->>'timeout_ms')::integer,
    coalesce((more->>'backoff_ms')::integer, ($12::bigint[])[1]),
    coalesce((more->>'max_attempts')::smallint, ($12::bigint[])[2]),
    more->>'unique_key', more->>'limit_key',
    coalesce((more->>'rank')::bigint, 0),
    coalesce((more->>'deps_left')::integer, 0),
    coalesce((more->>'dependents')::integer, 0),
    coalesce((more->>'run_on_failure')::boolean, false),
    coalesce((more->>'templated')::boolean, false)
from (select unnest($1::uuid[]) as id, unnest($2::uuid[]) as owner_id,
             unnest($3::timestamptz[]) as created_at,
             unnest($4::text[]) as kind, unnest($5::text[]) as state,
             unnest($6::bigint[]) as turn, unnest($7::timestamptz[]) as run_at,
             unnest($8::smallint[]) as priority, unnest($9::text[]) as title,
             unnest($10::jsonb[]) as input, unnest($11::boolean[]) as remote,
             unnest($13::jsonb[]) as more) u

-- name: tasks_enqueue_unique
-- As tasks_enqueue, without edges: of tasks with a unique key, those whose key
-- no unfinished task of that owner and kind has. Returns the ids of those
-- made. In the order of keys, so that two batches wait for each other one way
-- round only.
with made as (
    insert into tasks (id, owner_id, created_at, updated_at, kind, state,
        turn, run_at, priority, title, input, remote, description, labels,
        project_id, run_id, parent_id, step, deadline_at, timeout_ms,
        backoff_ms, max_attempts, unique_key, limit_key, rank, deps_left,
        dependents, run_on_failure, templated)
    select id, coalesce(owner_id, ($2::uuid[])[1]),
        coalesce(created_at, ($3::timestamptz[])[1]),
        coalesce(created_at, ($3::timestamptz[])[1]),
        coalesce(kind, ($4::text[])[1]), coalesce(state, ($5::text[])[1]),
        turn, coalesce(run_at, ($7::timestamptz[])[1]),
        coalesce(priority, ($8::smallint[])[1]),
        coalesce(title, ($9::text[])[1]), coalesce(input, ($10::jsonb[])[1]),
        coalesce(remote, ($11::boolean[])[1]),
        coalesce(more->>'description', ''),
        case when more ? 'labels'
            then array(select jsonb_array_elements_text(more->'labels'))
            else '{}' end,
        (more->>'project_id')::uuid, (more->>'run_id')::uuid,
        (more->>'parent_id')::uuid, more->>'step',
        (more->>'deadline_at')::timestamptz, (more->>'timeout_ms')::integer,
        coalesce((more->>'backoff_ms')::integer, ($12::bigint[])[1]),
        coalesce((more->>'max_attempts')::smallint, ($12::bigint[])[2]),
        more->>'unique_key', more->>'limit_key',
        coalesce((more->>'rank')::bigint, 0),
        coalesce((more->>'deps_left')::integer, 0),
        coalesce((more->>'dependents')::integer, 0),
        coalesce((more->>'run_on_failure')::boolean, false),
        coalesce((more->>'templated')::boolean, false)
    from (select unnest($1::uuid[]) as id, unnest($2::uuid[]) as owner_id,
                 unnest($3::timestamptz[]) as created_at,
                 unnest($4::text[]) as kind, unnest($5::text[]) as state,
                 unnest($6::bigint[]) as turn,
                 unnest($7::timestamptz[]) as run_at,
                 unnest($8::smallint[]) as priority,
                 unnest($9::text[]) as title, unnest($10::jsonb[]) as input,
                 unnest($11::boolean[]) as remote,
                 unnest($13::jsonb[]) as more) u
    order by coalesce(owner_id, ($2::uuid[])[1]),
             coalesce(kind, ($4::text[])[1]), more->>'unique_key'
    on conflict (owner_id, kind, unique_key) where unique_key is not null
        do nothing
    returning id, owner_id, kind, remote, turn, state, limit_key
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from made where state = 'ready' and limit_key is null
)
select id from made

-- name: tasks_find_unique (read)
-- The unfinished tasks with unique keys $3 of kinds $2 of owners $1, with
-- `place`, the number of the key from 1.
select k.place, t.id, task_state(t.state, t.worker_id) as state
from unnest($1::uuid[], $2::text[], $3::text[])
    with ordinality k (owner_id, kind, unique_key, place)
join tasks t on t.owner_id = k.owner_id and t.kind = k.kind
    and t.unique_key = k.unique_key

-- name: tasks_lock_unique
-- The same, locked: they stay what they are until the transaction ends.
select k.place, t.id, task_state(t.state, t.worker_id) as state
from unnest($1::uuid[], $2::text[], $3::text[])
    with ordinality k (owner_id, kind, unique_key, place)
join tasks t on t.owner_id = k.owner_id and t.kind = k.kind
    and t.unique_key = k.unique_key
order by t.id
for update of t

-- name: task_limits_set
-- How many ($3) tasks with keys $2 of owners $1 may run at once. Rows are only
-- locked when that is new.
insert into task_limits (owner_id, key, max)
select l.owner_id, l.key, l.max
from unnest($1::uuid[], $2::text[], $3::bigint[]) l (owner_id, key, max)
where not exists (select from task_limits x
    where x.owner_id = l.owner_id and x.key = l.key and x.max = l.max)
order by l.owner_id, l.key
on conflict (owner_id, key) do update set max = excluded.max

-- name: tasks_unfinished (read)
-- How many unfinished tasks owner $1 has, counting to $2 at most.
select count(*) as n
from (select from tasks t where t.owner_id = $1::uuid limit $2::bigint) t
