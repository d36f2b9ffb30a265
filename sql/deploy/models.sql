-- Deploy hive:models to pg
-- Whom Hive can ask, what that costs, and what it has cost.

begin;

-- The catalogue: loaded from a file by hive-worker --load-models.
create table hive.models (
    id                text primary key,
    provider          text not null,
    provider_model    text not null,       -- what the provider calls it
    display_name      text not null,
    family            text not null,
    context_tokens    integer not null,
    max_output_tokens integer not null,
    capabilities      text[] not null default '{}',
    status            text not null,
    retires_at        timestamptz,
    replacement       text,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    constraint models_id_check check (
        id ~ '^[a-z0-9][a-z0-9._:/-]*$' and length(id) <= 100),
    constraint models_status_check check (
        status in ('active', 'deprecated', 'retired')),
    constraint models_tokens_check check (
        context_tokens > 0 and max_output_tokens > 0)
);

-- Nano-USD per token, from a moment on, for prompts of more than that many
-- tokens. A price is never changed: a new one has a later moment.
create table hive.model_prices (
    id             uuid primary key default gen_random_uuid(),
    model_id       text not null references hive.models (id) on delete cascade,
    effective_from timestamptz not null,
    above_tokens   integer not null default 0,
    input          bigint not null,
    output         bigint not null,
    cache_read     bigint not null,
    cache_write_5m bigint not null,
    cache_write_1h bigint not null,
    constraint model_prices_key unique (model_id, effective_from, above_tokens),
    constraint model_prices_check check (
        above_tokens >= 0 and input >= 0 and output >= 0 and cache_read >= 0
        and cache_write_5m >= 0 and cache_write_1h >= 0)
);

-- As people see it.
create function hive.model_price(p hive.model_prices) returns jsonb
language sql stable parallel safe
return jsonb_build_object('above_tokens', p.above_tokens,
    'input', p.input, 'output', p.output, 'cache_read', p.cache_read,
    'cache_write_5m', p.cache_write_5m, 'cache_write_1h', p.cache_write_1h,
    'effective_from', to_char(p.effective_from at time zone 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));

-- The ledger: a row for each try at a provider, made before anything is sent.
-- `open` until it is known how it ended. Counts are disjoint, but for
-- reasoning, which is a part of output. `estimated`: the counts are ours, since
-- the provider did not come to say them.
create domain :"cell".usage_state as varchar(10) collate "C" check (value in (
    'open', 'succeeded', 'failed', 'cancelled', 'lost'));

create table :"cell".usage (
    id             uuid primary key,
    owner_id       uuid not null,
    started_at     timestamptz not null default now(),
    finished_at    timestamptz,
    nano_usd       bigint not null default 0,
    input_tokens   bigint not null default 0,
    output_tokens  bigint not null default 0,
    cache_read_tokens     bigint not null default 0,
    cache_write_5m_tokens bigint not null default 0,
    cache_write_1h_tokens bigint not null default 0,
    reasoning_tokens      bigint not null default 0,
    first_ms       integer,                -- until the first piece
    http_status    smallint,
    task_attempt   smallint,
    try            smallint not null,
    estimated      boolean not null default true,
    state          :"cell".usage_state not null default 'open',
    project_id     uuid,
    swarm_id       uuid,
    agent_id       uuid,
    run_id         uuid,
    task_id        uuid,
    worker_id      uuid,                   -- task_workers: who does it
    price_id       uuid,
    model_id       text not null,
    provider       text not null,
    request_id     text,                   -- the provider's
    error_code     text
) with (
    fillfactor = 80,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
);
create index usage_owner on :"cell".usage (owner_id, started_at);
create index usage_project on :"cell".usage (project_id, started_at)
    where project_id is not null;
create index usage_swarm on :"cell".usage (swarm_id, started_at)
    where swarm_id is not null;
create index usage_task on :"cell".usage (task_id) where task_id is not null;
create index usage_run on :"cell".usage (run_id) where run_id is not null;
create index usage_open on :"cell".usage (worker_id) where state = 'open';

-- What a try cost: the price that was in force, of the tier of its prompt.
create function :"cell".usage_price(model text, at timestamptz,
    prompt_tokens bigint)
returns table (id uuid, input bigint, output bigint, cache_read bigint,
    cache_write_5m bigint, cache_write_1h bigint)
language sql stable parallel safe
begin atomic
    select p.id, p.input, p.output, p.cache_read, p.cache_write_5m,
           p.cache_write_1h
    from hive.model_prices p
    where p.model_id = model and p.effective_from <= at
      and p.above_tokens < greatest(prompt_tokens, 1)
    order by p.effective_from desc, p.above_tokens desc
    limit 1;
end;

insert into :"cell".chores (name) values ('usage');

grant select, insert, update on hive.models to hive;
grant select, insert on hive.model_prices to hive;
grant select, insert, update on :"cell".usage to hive;

commit;
