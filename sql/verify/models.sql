-- Verify hive:models on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect('hive.models', $$
    column id text not null 
    column provider text not null 
    column provider_model text not null 
    column display_name text not null 
    column family text not null 
    column context_tokens integer not null 
    column max_output_tokens integer not null 
    column capabilities text[] not null '{}'::text[]
    column status text not null 
    column retires_at timestamp with time zone 
    column replacement text 
    column created_at timestamp with time zone not null now()
    column updated_at timestamp with time zone not null now()
    constraint models_id_check CHECK (((id ~ '^[a-z0-9][a-z0-9._:/-]*$'::text) AND (length(id) <= 100)))
    constraint models_pkey PRIMARY KEY (id)
    constraint models_status_check CHECK ((status = ANY (ARRAY['active'::text, 'deprecated'::text, 'retired'::text])))
    constraint models_tokens_check CHECK (((context_tokens > 0) AND (max_output_tokens > 0)))
    index unique models_pkey btree (id)
    grant select
    grant insert
    grant update
$$);

select pg_temp.expect('hive.model_prices', $$
    column id uuid not null gen_random_uuid()
    column model_id text not null 
    column effective_from timestamp with time zone not null 
    column above_tokens integer not null 0
    column input bigint not null 
    column output bigint not null 
    column cache_read bigint not null 
    column cache_write_5m bigint not null 
    column cache_write_1h bigint not null 
    constraint model_prices_check CHECK (((above_tokens >= 0) AND (input >= 0) AND (output >= 0) AND (cache_read >= 0) AND (cache_write_5m >= 0) AND (cache_write_1h >= 0)))
    constraint model_prices_key UNIQUE (model_id, effective_from, above_tokens)
    constraint model_prices_model_id_fkey FOREIGN KEY (model_id) REFERENCES hive.models(id) ON DELETE CASCADE
    constraint model_prices_pkey PRIMARY KEY (id)
    index unique model_prices_pkey btree (id)
    index unique model_prices_key btree (model_id, effective_from, above_tokens)
    grant select
    grant insert
$$);

select pg_temp.expect(format('%I.usage', :'cell'), replace($$
    column id uuid not null 
    column owner_id uuid not null 
    column started_at timestamp with time zone not null now()
    column finished_at timestamp with time zone 
    column nano_usd bigint not null 0
    column input_tokens bigint not null 0
    column output_tokens bigint not null 0
    column cache_read_tokens bigint not null 0
    column cache_write_5m_tokens bigint not null 0
    column cache_write_1h_tokens bigint not null 0
    column reasoning_tokens bigint not null 0
    column first_ms integer 
    column http_status smallint 
    column task_attempt smallint 
    column try smallint not null 
    column estimated boolean not null true
    column state CELL.usage_state not null 'open'::character varying
    column project_id uuid 
    column swarm_id uuid 
    column agent_id uuid 
    column run_id uuid 
    column task_id uuid 
    column worker_id uuid 
    column price_id uuid 
    column model_id text not null 
    column provider text not null 
    column request_id text 
    column error_code text 
    constraint usage_pkey PRIMARY KEY (id)
    index unique usage_pkey btree (id)
    index usage_owner btree (owner_id, started_at)
    index usage_project btree (project_id, started_at) WHERE (project_id IS NOT NULL)
    index usage_swarm btree (swarm_id, started_at) WHERE (swarm_id IS NOT NULL)
    index usage_task btree (task_id) WHERE (task_id IS NOT NULL)
    index usage_run btree (run_id) WHERE (run_id IS NOT NULL)
    index usage_open btree (worker_id) WHERE ((state)::text = 'open'::text)
    option fillfactor=80
    option autovacuum_vacuum_insert_scale_factor=0.05
    option autovacuum_analyze_scale_factor=0.05
    grant select
    grant insert
    grant update
$$, 'CELL', :'cell'));
select 1 / count(*) from :"cell".chores where name = 'usage';
select has_function_privilege('hive',
    format('%I.usage_price(text, timestamptz, bigint)', :'cell'), 'execute');

rollback;
