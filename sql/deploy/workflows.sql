-- Deploy hive:workflows to pg

begin;

-- A definition is a graph of steps, checked by workers/work/workflow.c before
-- it is stored; running it copies what it needs into tasks.
create domain :"cell".failure_policy as varchar(10) collate "C" check (
    value in ('fail_fast', 'continue', 'skip'));
create domain :"cell".run_state as varchar(10) collate "C" check (
    value in ('running', 'succeeded', 'failed', 'cancelled'));

create table :"cell".workflows (
    id          uuid primary key,
    owner_id    uuid not null references hive.users (id) on delete cascade,
    project_id  uuid references :"cell".projects (id) on delete cascade,
    name        :"cell".title not null,
    description varchar(10000) not null default '',
    on_failure  :"cell".failure_policy not null default 'fail_fast',
    steps       jsonb not null,
    version     :"cell".ordinal not null default 1,
    event_seq   :"cell".ordinal not null default 1,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
) with (fillfactor = 90);
create index workflows_owner_created
    on :"cell".workflows (owner_id, created_at, id);
create index workflows_owner_updated
    on :"cell".workflows (owner_id, updated_at, id);
create index workflows_owner_name on :"cell".workflows (owner_id, name, id);
create index workflows_project on :"cell".workflows (project_id)
    where project_id is not null;
create index workflows_search on :"cell".workflows
    using gin (to_tsvector('simple', name || ' ' || description));

-- One run. Its counters are kept by the statements that end its tasks, so
-- that progress is read, never counted. left_n = 0 exactly when it has ended.
-- Its progress is an event that the row tells, for the offsets from
-- progress_first to event_seq; who appends another event stores it before.
create table :"cell".runs (
    id          uuid primary key,
    owner_id    uuid not null,
    project_id  uuid,
    workflow_id uuid,
    workflow_version bigint,
    name        varchar(200) not null default '',
    on_failure  :"cell".failure_policy not null default 'fail_fast',
    state       :"cell".run_state not null default 'running',
    cancel_requested boolean not null default false,
    input       :"cell".document not null default '{}',
    total_n     :"cell".task_count not null default 0,
    left_n      :"cell".task_count not null default 0,
    succeeded_n :"cell".task_count not null default 0,
    failed_n    :"cell".task_count not null default 0,
    cancelled_n :"cell".task_count not null default 0,
    skipped_n   :"cell".task_count not null default 0,
    version     :"cell".ordinal not null default 1,
    event_seq   :"cell".ordinal not null default 1,
    progress_first bigint,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    finished_at timestamptz
) with (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);
create index runs_owner_created on :"cell".runs (owner_id, created_at, id);
create index runs_owner_state
    on :"cell".runs (owner_id, state, created_at, id);
create index runs_workflow on :"cell".runs (workflow_id, created_at, id)
    where workflow_id is not null;
create index runs_project on :"cell".runs (project_id, created_at, id)
    where project_id is not null;

-- What an event of a run says.
create function :"cell".run_tally(state text, total integer, "left" integer,
    succeeded integer, failed integer, cancelled integer, skipped integer)
returns jsonb language sql stable parallel safe
return jsonb_build_object('state', state, 'total', total, 'left', "left",
    'succeeded', succeeded, 'failed', failed, 'cancelled', cancelled,
    'skipped', skipped);

-- All events of a run: those that are stored, and its progress.
create function :"cell".run_events(run uuid)
returns table ("offset" bigint, first bigint, type text, data jsonb,
    created_at timestamptz)
language sql stable parallel safe
begin atomic
    select e."offset"::bigint, e.first, e.type::text, e.data, e.created_at
    from :"cell".events e
    where e.channel = 'workflow:' || run::text
      and e.created_at >= :"cell".id_time(run) - interval '1 day'
    union all
    select r.event_seq::bigint, r.progress_first, 'run.progress'::text,
           :"cell".run_tally(r.state, r.total_n, r.left_n, r.succeeded_n,
               r.failed_n, r.cancelled_n, r.skipped_n), r.updated_at
    from :"cell".runs r
    where r.id = run and r.progress_first is not null;
end;

-- What recurs: a task or a workflow's run, by a cron expression in a time
-- zone. Whoever locks a due row fires it.
create domain :"cell".catch_up as varchar(10) collate "C" check (
    value in ('skip', 'one', 'all'));
create table :"cell".schedules (
    id          uuid primary key,
    owner_id    uuid not null references hive.users (id) on delete cascade,
    project_id  uuid references :"cell".projects (id) on delete cascade,
    name        :"cell".title not null,
    cron        :"cell".task_word not null,
    time_zone   :"cell".task_word not null default 'UTC',
    jitter_ms   :"cell".task_count not null default 0,
    catch_up    :"cell".catch_up not null default 'one',
    workflow_id uuid references :"cell".workflows (id) on delete cascade,
    task        jsonb,                     -- as POST /tasks takes it
    input       :"cell".document not null default '{}',   -- of the run
    paused      boolean not null default false,
    next_at     timestamptz,               -- the next time it means; NULL:
                                           -- there is none, or it is paused
    fire_at     timestamptz,               -- that, and the jitter
    last_at     timestamptz,
    fired_n     bigint not null default 0,
    error       varchar(1000),             -- why the last firing failed
    version     :"cell".ordinal not null default 1,
    event_seq   :"cell".ordinal not null default 1,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    constraint schedules_one_thing check (
        (workflow_id is null) <> (task is null))
) with (fillfactor = 80);
create index schedules_owner_created
    on :"cell".schedules (owner_id, created_at, id);
create index schedules_owner_name on :"cell".schedules (owner_id, name, id);
create index schedules_project on :"cell".schedules (project_id)
    where project_id is not null;
create index schedules_workflow on :"cell".schedules (workflow_id)
    where workflow_id is not null;
create index schedules_due on :"cell".schedules (fire_at)
    where fire_at is not null;

grant select, insert, update, delete on
    :"cell".workflows, :"cell".runs, :"cell".schedules to hive;

commit;
