-- Deploy hive:tasks to pg

begin;

-- Checks are domains, and the search is an index over an expression: see
-- events. Words are compared as bytes: the collation of a language costs more
-- than the rest of an index descent.
create domain :"cell".task_word as varchar(200) collate "C" check (value <> '');
create domain :"cell".task_live as varchar(10) collate "C" check (value in (
    'blocked', 'scheduled', 'ready', 'paused'));
create domain :"cell".task_end as varchar(10) collate "C" check (value in (
    'succeeded', 'failed', 'cancelled', 'skipped'));
create domain :"cell".task_priority as smallint check (value between 0 and 9);
create domain :"cell".task_share as real check (value between 0 and 1);
create domain :"cell".task_amount as bigint check (value >= 0);
create domain :"cell".task_count as integer check (value >= 0);

-- Whose tasks, of which kind, as one number, which an index compares in a tenth
-- of the time that the two take: lists by kind have an index of it. Two that
-- share it by chance are told apart by what it was made of.
create function :"cell".task_flow(owner_id uuid, kind text)
returns bigint language sql immutable parallel safe
return uuid_hash_extended(owner_id, 0) # hashtextextended(kind collate "C", 0);

-- What is not finished. A finished task moves to task_history in the statement
-- that finishes it, so that this table holds the work there is and no more.
--
-- A task runs while it has a worker_id; what is stored as its state is then
-- still `ready`. A claim changes no column that an index knows, so that the
-- new version of the row stays on its page and no index is touched (HOT): the
-- half of what claims would cost.
create table :"cell".tasks (
    id             uuid primary key,
    owner_id       uuid not null,
    turn           bigint not null,    -- order of claims: workers/work/turn.h
    run_at         timestamptz not null,
    created_at     timestamptz not null,   -- the milliseconds of its id
    updated_at     timestamptz not null default now(),
    version        :"cell".ordinal not null default 1,
    event_seq      :"cell".ordinal not null default 1,
    started_seq    bigint,                 -- event_seq of its last start
    progress_seq   bigint,                 -- of its last progress, and of the
    progress_first bigint,                 -- first that this one replaced
    progress_at    timestamptz,
    rank           bigint not null default 0,  -- edges lead to higher ranks
    cost_nano_usd  :"cell".task_amount not null default 0,
    timeout_ms     integer,
    backoff_ms     :"cell".task_count not null default 1000,
    deps_left      :"cell".task_count not null default 0,
    dependents     integer not null default 0,  -- changes of its outgoing edges;
                                                -- 0: it never had one
    priority       :"cell".task_priority not null default 5,
    attempt        smallint not null default 0,
    attempt_base   smallint not null default 0, -- those before a retry by hand
    max_attempts   smallint not null default 5,
    remote         boolean not null default false,  -- run by no worker of ours
    limit_slot     boolean not null default false,  -- has one of its key's
    templated      boolean not null default false,  -- input quotes outputs
    run_on_failure boolean not null default false,  -- however its parents end
    cancel_requested boolean not null default false,
    pause_requested  boolean not null default false,
    state          :"cell".task_live not null,
    kind           :"cell".task_word not null,
    title          varchar(200) not null default '',
    description    varchar(10000) not null default '',
    labels         text[] not null default '{}',
    input          :"cell".document not null default '{}',
    project_id     uuid,
    run_id         uuid,
    parent_id      uuid,                   -- the running task that added it
    step           :"cell".task_word,      -- of its run
    worker_id      uuid,                   -- task_workers, or a runner's lease
    lease_until    timestamptz,            -- runners only
    deadline_at    timestamptz,
    started_at     timestamptz,
    finished_at    timestamptz,
    unique_key     :"cell".task_word,
    limit_key      :"cell".task_word,
    progress       :"cell".task_share,
    progress_message varchar(1000),
    counters       jsonb,
    result         jsonb,
    error          jsonb                   -- of the last attempt that failed
) with (
    fillfactor = 50,
    toast_tuple_target = 256,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 20000
);

-- Lists: of one owner, by state, newest first (ids are in order of creation).
create index tasks_owner on :"cell".tasks (owner_id, state, id);
create index tasks_kind on :"cell".tasks
    (:"cell".task_flow(owner_id, kind), id);

create index tasks_lease on :"cell".tasks (lease_until)
    where lease_until is not null;
create index tasks_due on :"cell".tasks (run_at) where state = 'scheduled';
create index tasks_deadline on :"cell".tasks (deadline_at)
    where deadline_at is not null;
create index tasks_limit on :"cell".tasks (owner_id, limit_key, turn, id)
    where limit_key is not null and state = 'ready';
create index tasks_asked on :"cell".tasks (id)
    where cancel_requested or pause_requested;
create unique index tasks_unique on :"cell".tasks (owner_id, kind, unique_key)
    where unique_key is not null;
create index tasks_run on :"cell".tasks (run_id, id) where run_id is not null;
create index tasks_parent on :"cell".tasks (parent_id, id)
    where parent_id is not null;
create index tasks_project on :"cell".tasks (project_id, id)
    where project_id is not null;
create index tasks_labels on :"cell".tasks using gin (labels)
    where labels <> '{}';
create index tasks_search on :"cell".tasks
    using gin (to_tsvector('simple', title || ' ' || description))
    where title <> '' or description <> '';

-- A change of state that is not of the list is refused, and any while the
-- task runs. The condition is evaluated in place; the function runs for
-- violations only. Starts and ends are not here: to start is to have a worker,
-- to end is to leave the table.
create function :"cell".task_transition_refused() returns trigger
language plpgsql as $$
begin
    raise exception 'task %: no way from % to %', old.id, old.state, new.state
        using errcode = 'HV001';
end
$$;

create trigger tasks_transition after update of state on :"cell".tasks
    for each row when (old.state <> new.state and (new.worker_id is not null
        or not case old.state
        when 'blocked' then new.state in ('scheduled', 'ready', 'paused')
        when 'scheduled' then new.state in ('blocked', 'ready', 'paused')
        when 'ready' then new.state in ('blocked', 'scheduled', 'paused')
        else new.state in ('blocked', 'scheduled', 'ready') end))
    execute function :"cell".task_transition_refused();

-- What can be claimed now, in order. Who makes a task ready adds a row here
-- (tasks that need a slot of their limit key: who grants it); claiming takes
-- it out. A row whose task is not ready any more is dropped by that.
create table :"cell".task_ready (
    lane :"cell".task_word not null,     -- task_lane()
    turn bigint not null,
    id   uuid not null,
    primary key (lane, turn, id)
) with (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);

-- Whose queue it is: of all workers by kind, or of the owner's own runners.
create function :"cell".task_lane(remote boolean, owner_id uuid, kind text)
returns text language sql immutable parallel safe
return case when remote then owner_id::text || ':' || kind else kind end;

-- The state as people see it (of finished ones too, which keep their worker).
create function :"cell".task_state(state text, worker_id uuid)
returns text language sql immutable parallel safe
return case when state = 'ready' and worker_id is not null then 'running'
    else state end;

-- What a claim took, by whom: how to find what somebody runs. A row goes when
-- none of its tasks is run by that one any more.
create table :"cell".task_claims (
    worker_id  uuid not null,
    id         uuid not null,
    claimed_at timestamptz not null default now(),
    ids        uuid[] not null,
    primary key (worker_id, id)
);

-- Finished ones, by the day of their id (UUIDv7: its first 48 bits are
-- milliseconds), so that a look-up by id touches one partition and retention
-- drops whole ones (sql/queries/retention.sql makes and drops them). What
-- falls outside of all days is in the default one.
create table :"cell".task_history (
    like :"cell".tasks including defaults
) partition by range (id);
alter table :"cell".task_history
    alter column state type :"cell".task_end,
    alter column finished_at set not null,
    add primary key (id);

create index task_history_owner on :"cell".task_history (owner_id, state, id);
create index task_history_kind on :"cell".task_history
    (:"cell".task_flow(owner_id, kind), id);
create index task_history_run on :"cell".task_history (run_id, id)
    where run_id is not null;
create index task_history_parent on :"cell".task_history (parent_id, id)
    where parent_id is not null;
create index task_history_project on :"cell".task_history (project_id, id)
    where project_id is not null;
create index task_history_labels on :"cell".task_history using gin (labels)
    where labels <> '{}';
create index task_history_search on :"cell".task_history
    using gin (to_tsvector('simple', title || ' ' || description))
    where title <> '' or description <> '';

create table :"cell".task_history_default
    partition of :"cell".task_history default;

-- These tables are analyzed often, while they are written to. What is asked of
-- them is planned as well with a small sample, and nothing asks what the words
-- of a search are: with the statistics of all others the planner has, one look
-- costs fifteen times as much. The partitions of days get this when they are
-- made.
create function :"cell".task_sample_little(relation regclass) returns void
language plpgsql as $$
begin
    execute (select format('alter table %s ', relation) || string_agg(
            format('alter column %I set statistics 10', a.attname), ', ')
        from pg_attribute a
        where a.attrelid = relation and a.attnum > 0 and not a.attisdropped);
    execute (select coalesce(string_agg(format('alter index %s '
            'alter column 1 set statistics %s', i.indexrelid::regclass,
            case a.atttypid when 'text'::regtype then 0 else 10 end), '; '),
            '')
        from pg_index i
        join pg_attribute a on a.attrelid = i.indexrelid and a.attnum = 1
        where i.indrelid = relation and i.indexprs is not null);
end
$$;
select :"cell".task_sample_little(format('%I.%I', :'cell', t.name)::regclass)
from unnest(array['tasks', 'task_history', 'task_history_default']) t (name);

-- As people see them: what is ready, and what runs (found by its claim, not
-- among all that is ready).
create view :"cell".ready_tasks as
    select t.id, t.owner_id, t.turn, t.run_at, t.created_at, t.updated_at, t.version,
           t.event_seq, t.started_seq, t.progress_seq, t.progress_first,
           t.progress_at, t.rank, t.cost_nano_usd, t.timeout_ms, t.backoff_ms,
           t.deps_left, t.dependents, t.priority, t.attempt,
           t.attempt_base, t.max_attempts, t.remote, t.limit_slot, t.templated,
           t.run_on_failure, t.cancel_requested, t.pause_requested, t.state,
           t.kind, t.title, t.description, t.labels, t.input, t.project_id,
           t.run_id, t.parent_id, t.step, t.worker_id, t.lease_until,
           t.deadline_at, t.started_at, t.finished_at, t.unique_key, t.limit_key,
           t.progress, t.progress_message, t.counters, t.result, t.error
    from :"cell".tasks t
    where t.state = 'ready' and t.worker_id is null;
create view :"cell".running_tasks as
    select t.id, t.owner_id, t.turn, t.run_at, t.created_at, t.updated_at, t.version,
           t.event_seq, t.started_seq, t.progress_seq, t.progress_first,
           t.progress_at, t.rank, t.cost_nano_usd, t.timeout_ms, t.backoff_ms,
           t.deps_left, t.dependents, t.priority, t.attempt,
           t.attempt_base, t.max_attempts, t.remote, t.limit_slot, t.templated,
           t.run_on_failure, t.cancel_requested, t.pause_requested,
           'running'::varchar as state, t.kind, t.title, t.description, t.labels,
           t.input, t.project_id, t.run_id, t.parent_id, t.step, t.worker_id,
           t.lease_until, t.deadline_at, t.started_at, t.finished_at,
           t.unique_key, t.limit_key, t.progress, t.progress_message, t.counters,
           t.result, t.error
    from :"cell".tasks t
    where t.worker_id is not null
      and t.id = any (array(select unnest(c.ids) from :"cell".task_claims c));
create view :"cell".all_tasks as
    select t.id, t.owner_id, t.turn, t.run_at, t.created_at, t.updated_at, t.version,
           t.event_seq, t.started_seq, t.progress_seq, t.progress_first,
           t.progress_at, t.rank, t.cost_nano_usd, t.timeout_ms, t.backoff_ms,
           t.deps_left, t.dependents, t.priority, t.attempt,
           t.attempt_base, t.max_attempts, t.remote, t.limit_slot, t.templated,
           t.run_on_failure, t.cancel_requested, t.pause_requested,
           :"cell".task_state(t.state, t.worker_id)::varchar as state, t.kind,
           t.title, t.description, t.labels, t.input, t.project_id, t.run_id,
           t.parent_id, t.step, t.worker_id, t.lease_until, t.deadline_at,
           t.started_at, t.finished_at, t.unique_key, t.limit_key, t.progress,
           t.progress_message, t.counters, t.result, t.error
    from :"cell".tasks t
    union all
    select * from :"cell".task_history;

-- What an event of progress says.
create function :"cell".task_progress(progress real, message text,
    counters jsonb)
returns jsonb language sql stable parallel safe
return jsonb_strip_nulls(jsonb_build_object('progress', progress,
    'progress_message', message, 'counters', counters));

-- The events that the row of a task tells itself: that it was made, its last
-- start, its last progress and its end. What happens to every task costs no
-- event row, nor does progress, which replaces itself until something else
-- happens.
create function :"cell".task_told(kind text, made_at timestamptz,
    started_seq bigint, started_at timestamptz, attempt smallint,
    progress_seq bigint, progress_first bigint, progress_at timestamptz,
    progress real, progress_message text, counters jsonb,
    end_seq bigint, state text, finished_at timestamptz)
returns table ("offset" bigint, first bigint, type text, data jsonb,
    created_at timestamptz)
language sql stable parallel safe
begin atomic
    select x.seq, x.first, x.type, x.data, x.at
    from (values
        (1::bigint, null::bigint, 'task.created',
            jsonb_build_object('kind', kind), made_at),
        (started_seq, null, 'task.running', jsonb_build_object('state',
            'running', 'attempt', attempt), started_at),
        (progress_seq, progress_first, 'task.progress',
            :"cell".task_progress(progress, progress_message, counters),
            progress_at),
        (end_seq, null, 'task.' || state, jsonb_build_object('state', state,
            'attempt', attempt), finished_at)) x (seq, first, type, data, at)
    where x.seq is not null;
end;

-- All events of a task: those that are stored, and those that its row tells.
-- Its id was made by another clock than the database's. Columns have the types
-- of the result, so that a condition on it reaches the index.
create function :"cell".task_events(task uuid)
returns table ("offset" bigint, first bigint, type text, data jsonb,
    created_at timestamptz)
language sql stable parallel safe
begin atomic
    select e."offset"::bigint, e.first, e.type::text, e.data, e.created_at
    from :"cell".events e
    where e.channel = 'task:' || task::text
      and e.created_at >= :"cell".id_time(task) - interval '1 day'
    union all
    select s."offset", s.first, s.type, s.data, s.created_at
    from (select kind, t.created_at, started_seq, started_at, attempt,
                 progress_seq, progress_first, progress_at, progress,
                 progress_message, counters, null::bigint as end_seq,
                 null::text as state, null::timestamptz as finished_at
          from :"cell".tasks t where t.id = task
          union all
          select kind, h.created_at, started_seq, started_at, attempt,
                 progress_seq, progress_first, progress_at, progress,
                 progress_message, counters, event_seq, h.state, finished_at
          from :"cell".task_history h where h.id = task) t
    cross join lateral :"cell".task_told(t.kind, t.created_at, t.started_seq,
        t.started_at, t.attempt, t.progress_seq, t.progress_first,
        t.progress_at, t.progress, t.progress_message, t.counters, t.end_seq,
        t.state, t.finished_at) s;
end;

-- A child waits for its parents. Ranks are copies of the tasks' own, kept by
-- whoever changes those: with every edge going up, a cycle cannot be stored.
create table :"cell".task_dependencies (
    parent_id   uuid not null,
    child_id    uuid not null,
    parent_rank bigint not null,
    child_rank  bigint not null,
    primary key (parent_id, child_id),
    constraint task_dependencies_acyclic check (parent_rank < child_rank)
);
create index task_dependencies_child on :"cell".task_dependencies (child_id);

-- Attempts that did not succeed; the one that did is told by its task.
create domain :"cell".task_outcome as varchar(10) collate "C" check (value in (
    'failed', 'timed_out', 'lost', 'cancelled', 'paused'));
create table :"cell".task_attempts (
    task_id     uuid not null,
    attempt     smallint not null,
    outcome     :"cell".task_outcome not null,
    worker_id   uuid,
    started_at  timestamptz,
    finished_at timestamptz not null default now(),
    error       jsonb,
    primary key (task_id, attempt)
);

-- A process that runs tasks: a row per start, never reused, so that nobody is
-- taken for the one before.
create table :"cell".task_workers (
    id         uuid primary key,
    host       text not null,
    pid        integer not null,
    started_at timestamptz not null default now(),
    seen_at    timestamptz not null default now(),
    dead_at    timestamptz,
    turns      jsonb not null default '{}'   -- hints: virtual time by kind
) with (fillfactor = 50);
create index task_workers_alive on :"cell".task_workers (seen_at)
    where dead_at is null;

-- How many tasks of one key may run at once. Whoever grants slots locks the
-- row first, then counts in a second statement.
create table :"cell".task_limits (
    owner_id uuid not null,
    key      :"cell".task_word not null,
    max      :"cell".task_count not null,
    primary key (owner_id, key)
);

grant select, insert, update, delete on
    :"cell".tasks, :"cell".task_history, :"cell".task_dependencies,
    :"cell".task_attempts, :"cell".task_workers, :"cell".task_limits,
    :"cell".task_ready to hive;     -- the queue: to lock, nothing changes
grant select, insert, delete on :"cell".task_claims to hive;
grant select on
    :"cell".all_tasks, :"cell".ready_tasks, :"cell".running_tasks to hive;

commit;
