-- Deploy hive:swarms to pg
-- Swarms: agents, who may see whose work, and runs, which are runs of tasks
-- (workflows.sql) with more to say about each step.

begin;

create domain :"cell".swarm_topology as varchar(20) collate "C" check (
    value in ('star', 'hierarchical'));
create domain :"cell".swarm_strategy as varchar(20) collate "C" check (
    value in ('parallel', 'sequential'));
create domain :"cell".swarm_state as varchar(10) collate "C" check (
    value in ('active', 'draining', 'terminated'));
create domain :"cell".agent_type as varchar(20) collate "C" check (value in (
    'coordinator', 'researcher', 'coder', 'analyst', 'architect', 'tester',
    'reviewer', 'optimizer', 'documenter', 'monitor', 'specialist',
    'worker'));

create table :"cell".swarms (
    id            uuid primary key,
    owner_id      uuid not null references hive.users (id) on delete cascade,
    project_id    uuid references :"cell".projects (id) on delete cascade,
    name          :"cell".title not null,
    topology      :"cell".swarm_topology not null default 'star',
    strategy      :"cell".swarm_strategy not null default 'parallel',
    max_agents    smallint not null default 8,
    model         varchar(100) not null default 'echo',
    models        :"cell".document not null default '{}',  -- by agent type
    state         :"cell".swarm_state not null default 'active',
    epoch         integer not null default 1,   -- of the edges
    version       :"cell".ordinal not null default 1,
    event_seq     :"cell".ordinal not null default 1,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    terminated_at timestamptz,
    constraint swarms_max_agents_check check (max_agents between 1 and 100)
) with (fillfactor = 70);
create index swarms_owner_created on :"cell".swarms (owner_id, created_at, id);
create index swarms_owner_name on :"cell".swarms (owner_id, name, id);
create index swarms_project on :"cell".swarms (project_id)
    where project_id is not null;
create index swarms_draining on :"cell".swarms (id) where state = 'draining';

-- Members, and how they have done: who retires stays as a row.
create table :"cell".swarm_agents (
    id           uuid primary key,
    swarm_id     uuid not null references :"cell".swarms (id)
                 on delete cascade,
    join_seq     integer not null,
    type         :"cell".agent_type not null,
    name         varchar(100) not null,
    capabilities text[] not null default '{}',
    model        varchar(100),             -- null: the swarm's for its type
    capacity     smallint not null default 1,
    succeeded_n  integer not null default 0,
    failed_n     integer not null default 0,
    busy_ms      bigint not null default 0,     -- of what succeeded
    nano_usd     bigint not null default 0,     -- of what said how it ended
    created_at   timestamptz not null default now(),
    retired_at   timestamptz,
    constraint swarm_agents_name unique (swarm_id, name),
    constraint swarm_agents_seq unique (swarm_id, join_seq),
    constraint swarm_agents_capacity_check check (
        capacity between 1 and 100)
) with (fillfactor = 80);

-- Who is next to whom, in both directions, as of an epoch.
create table :"cell".swarm_edges (
    swarm_id uuid not null references :"cell".swarms (id) on delete cascade,
    epoch    integer not null,
    src      uuid not null,
    dst      uuid not null,
    primary key (swarm_id, epoch, src, dst)
);

-- A piece of work that a swarm was given. Its id is that of the run of tasks
-- it became; which of its tasks is which step, the step's name says.
create table :"cell".swarm_runs (
    id           uuid primary key,
    swarm_id     uuid not null references :"cell".swarms (id)
                 on delete cascade,
    owner_id     uuid not null,
    description  varchar(20000) not null,
    requirements varchar(20000) not null default '',
    topology     :"cell".swarm_topology not null,
    strategy     :"cell".swarm_strategy not null,
    epoch        integer not null,
    max_agents   smallint not null,
    max_tokens   integer not null,
    coordinator  uuid not null,
    priority     smallint not null,
    planned      boolean not null,             -- by the coordinator
    state        :"cell".run_state not null default 'running',
    result       text,
    error        jsonb,
    created_at   timestamptz not null default now(),
    finished_at  timestamptz
) with (fillfactor = 80);
create index swarm_runs_swarm on :"cell".swarm_runs (swarm_id, id);
create index swarm_runs_live on :"cell".swarm_runs (id)
    where state = 'running';

create domain :"cell".step_role as varchar(10) collate "C" check (value in (
    'plan', 'part', 'lead', 'reduce'));
create domain :"cell".step_state as varchar(10) collate "C" check (value in (
    'waiting', 'running', 'succeeded', 'failed', 'cancelled'));

create table :"cell".swarm_steps (
    run_id      uuid not null references :"cell".swarm_runs (id)
                on delete cascade,
    name        varchar(60) collate "C" not null,
    place       integer not null,              -- order of display
    role        :"cell".step_role not null,
    title       varchar(200) not null,
    brief       varchar(20000) not null default '',
    kind        varchar(20) collate "C" not null,  -- of work: assign.h
    needs       text[] not null default '{}',
    consumer    varchar(60) collate "C",       -- the step that reduces it
    agent_id    uuid,
    scores      jsonb,                         -- of this agent, and others
    tried       uuid[] not null default '{}',  -- who failed at it
    state       :"cell".step_state not null default 'waiting',
    attempt     smallint not null default 0,
    failures    smallint not null default 0,   -- attempts that said so
    task_id     uuid,                          -- once it has begun
    model       varchar(100),
    output      text,
    stop_reason varchar(50),                   -- of the model
    error       jsonb,
    started_at  timestamptz,
    finished_at timestamptz,
    primary key (run_id, name)
) with (fillfactor = 70);
create index swarm_steps_agent on :"cell".swarm_steps (agent_id)
    where state in ('waiting', 'running');

-- Whose output is in whose prompt; `via`: by way of that agent, who is next
-- to both.
create table :"cell".swarm_context (
    run_id uuid not null references :"cell".swarm_runs (id)
           on delete cascade,
    dst    varchar(60) collate "C" not null,
    src    varchar(60) collate "C" not null,
    via    uuid,
    primary key (run_id, dst, src)
);

-- What has been asked of models for swarms, by the task of the step, whatever
-- became of it.
create view :"cell".swarm_usage as
    select u.swarm_id, u.run_id, u.task_id, count(*) as tries,
           sum(u.input_tokens + u.cache_read_tokens + u.cache_write_5m_tokens
               + u.cache_write_1h_tokens)::bigint as input_tokens,
           sum(u.output_tokens)::bigint as output_tokens,
           sum(u.nano_usd)::bigint as nano_usd
    from :"cell".usage u
    where u.swarm_id is not null
    group by u.swarm_id, u.run_id, u.task_id;

-- Appends an event to the channel of a swarm, whose row it locks; returned as
-- workers/db/event.h wants it.
create function :"cell".swarm_tell(swarm uuid, what text, about jsonb)
returns table (_channel text, _offset bigint, _event text, _event_data jsonb,
    _event_time timestamptz)
language sql volatile
begin atomic
    with w as (
        update :"cell".swarms w
        set event_seq = w.event_seq + 1, updated_at = now()
        where w.id = swarm
        returning w.id, w.event_seq
    )
    insert into :"cell".events (channel, "offset", type, data)
    select 'swarm:' || w.id::text, w.event_seq, what, about from w
    returning channel::text, "offset"::bigint, type::text, data, created_at;
end;

insert into :"cell".chores (name) values ('swarms');

grant select, insert, update, delete on :"cell".swarms,
    :"cell".swarm_agents, :"cell".swarm_edges, :"cell".swarm_runs,
    :"cell".swarm_steps, :"cell".swarm_context to hive;
grant select on :"cell".swarm_usage to hive;

commit;
