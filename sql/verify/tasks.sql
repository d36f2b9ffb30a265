-- Verify hive:tasks on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.tasks', :'cell'), replace($$
    column updated_at timestamp with time zone not null now()
    column version CELL.ordinal not null 1
    column event_seq CELL.ordinal not null 1
    column rank bigint not null 0
    column cost_nano_usd CELL.task_amount not null 0
    column backoff_ms CELL.task_count not null 1000
    column deps_left CELL.task_count not null 0
    column dependents integer not null 0
    column priority CELL.task_priority not null 5
    column attempt smallint not null 0
    column attempt_base smallint not null 0
    column max_attempts smallint not null 5
    column remote boolean not null false
    column limit_slot boolean not null false
    column templated boolean not null false
    column run_on_failure boolean not null false
    column cancel_requested boolean not null false
    column pause_requested boolean not null false
    column title character varying(200) not null ''::character varying
    column description character varying(10000) not null ''::character varying
    column labels text[] not null '{}'::text[]
    column input CELL.document not null '{}'::jsonb
    column unique_key CELL.task_word 
    column limit_key CELL.task_word 
    column counters jsonb 
    column id uuid not null 
    column progress_message character varying(1000) 
    column run_at timestamp with time zone not null 
    column worker_id uuid 
    column started_seq bigint 
    column progress_seq bigint 
    column progress_first bigint 
    column progress_at timestamp with time zone 
    column step CELL.task_word 
    column turn bigint not null 
    column progress CELL.task_share 
    column kind CELL.task_word not null 
    column state CELL.task_live not null 
    column owner_id uuid not null 
    column timeout_ms integer 
    column parent_id uuid 
    column run_id uuid 
    column started_at timestamp with time zone 
    column created_at timestamp with time zone not null 
    column finished_at timestamp with time zone 
    column result jsonb 
    column error jsonb 
    column deadline_at timestamp with time zone 
    column project_id uuid 
    column lease_until timestamp with time zone 
    constraint tasks_pkey PRIMARY KEY (id)
    index unique tasks_pkey btree (id)
    index tasks_owner btree (owner_id, state, id)
    index tasks_kind btree (CELL.task_flow(owner_id, (kind)::text), id)
    index tasks_lease btree (lease_until) WHERE (lease_until IS NOT NULL)
    index tasks_due btree (run_at) WHERE ((state)::text = 'scheduled'::text)
    index tasks_deadline btree (deadline_at) WHERE (deadline_at IS NOT NULL)
    index tasks_limit btree (owner_id, limit_key, turn, id) WHERE ((limit_key IS NOT NULL) AND ((state)::text = 'ready'::text))
    index tasks_asked btree (id) WHERE (cancel_requested OR pause_requested)
    index unique tasks_unique btree (owner_id, kind, unique_key) WHERE (unique_key IS NOT NULL)
    index tasks_run btree (run_id, id) WHERE (run_id IS NOT NULL)
    index tasks_parent btree (parent_id, id) WHERE (parent_id IS NOT NULL)
    index tasks_project btree (project_id, id) WHERE (project_id IS NOT NULL)
    index tasks_labels gin (labels) WHERE (labels <> '{}'::text[])
    index tasks_search gin (to_tsvector('simple'::regconfig, (((title)::text || ' '::text) || (description)::text))) WHERE (((title)::text <> ''::text) OR ((description)::text <> ''::text))
    option fillfactor=50
    option toast_tuple_target=256
    option autovacuum_vacuum_scale_factor=0
    option autovacuum_vacuum_threshold=5000
    option autovacuum_vacuum_insert_scale_factor=0
    option autovacuum_vacuum_insert_threshold=50000
    option autovacuum_vacuum_cost_delay=0
    option autovacuum_analyze_scale_factor=0
    option autovacuum_analyze_threshold=20000
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.task_ready', :'cell'), replace($$
    column turn bigint not null 
    column lane CELL.task_word not null 
    column id uuid not null 
    constraint task_ready_pkey PRIMARY KEY (lane, turn, id)
    index unique task_ready_pkey btree (lane, turn, id)
    option autovacuum_vacuum_scale_factor=0
    option autovacuum_vacuum_threshold=5000
    option autovacuum_vacuum_cost_delay=0
    grant select
    grant insert
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.task_claims', :'cell'), replace($$
    column claimed_at timestamp with time zone not null now()
    column worker_id uuid not null 
    column ids uuid[] not null 
    column id uuid not null 
    constraint task_claims_pkey PRIMARY KEY (worker_id, id)
    index unique task_claims_pkey btree (worker_id, id)
    grant select
    grant insert
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.task_history', :'cell'), replace($$
    column updated_at timestamp with time zone not null now()
    column version CELL.ordinal not null 1
    column event_seq CELL.ordinal not null 1
    column rank bigint not null 0
    column cost_nano_usd CELL.task_amount not null 0
    column backoff_ms CELL.task_count not null 1000
    column deps_left CELL.task_count not null 0
    column dependents integer not null 0
    column priority CELL.task_priority not null 5
    column attempt smallint not null 0
    column attempt_base smallint not null 0
    column max_attempts smallint not null 5
    column remote boolean not null false
    column limit_slot boolean not null false
    column templated boolean not null false
    column run_on_failure boolean not null false
    column cancel_requested boolean not null false
    column pause_requested boolean not null false
    column title character varying(200) not null ''::character varying
    column description character varying(10000) not null ''::character varying
    column labels text[] not null '{}'::text[]
    column input CELL.document not null '{}'::jsonb
    column created_at timestamp with time zone not null 
    column error jsonb 
    column finished_at timestamp with time zone not null 
    column result jsonb 
    column project_id uuid 
    column deadline_at timestamp with time zone 
    column lease_until timestamp with time zone 
    column state CELL.task_end not null 
    column kind CELL.task_word not null 
    column parent_id uuid 
    column timeout_ms integer 
    column owner_id uuid not null 
    column started_at timestamp with time zone 
    column run_id uuid 
    column id uuid not null 
    column counters jsonb 
    column progress_message character varying(1000) 
    column worker_id uuid 
    column run_at timestamp with time zone not null 
    column started_seq bigint 
    column progress_seq bigint 
    column progress_first bigint 
    column progress_at timestamp with time zone 
    column turn bigint not null 
    column progress CELL.task_share 
    column step CELL.task_word 
    column limit_key CELL.task_word 
    column unique_key CELL.task_word 
    constraint task_history_pkey PRIMARY KEY (id)
    index CREATE INDEX task_history_search ON ONLY CELL.task_history USING gin (to_tsvector('simple'::regconfig, (((title)::text || ' '::text) || (description)::text))) WHERE (((title)::text <> ''::text) OR ((description)::text <> ''::text))
    index unique CREATE UNIQUE INDEX task_history_pkey ON ONLY CELL.task_history USING btree (id)
    index CREATE INDEX task_history_owner ON ONLY CELL.task_history USING btree (owner_id, state, id)
    index CREATE INDEX task_history_kind ON ONLY CELL.task_history USING btree (CELL.task_flow(owner_id, (kind)::text), id)
    index CREATE INDEX task_history_run ON ONLY CELL.task_history USING btree (run_id, id) WHERE (run_id IS NOT NULL)
    index CREATE INDEX task_history_parent ON ONLY CELL.task_history USING btree (parent_id, id) WHERE (parent_id IS NOT NULL)
    index CREATE INDEX task_history_project ON ONLY CELL.task_history USING btree (project_id, id) WHERE (project_id IS NOT NULL)
    index CREATE INDEX task_history_labels ON ONLY CELL.task_history USING gin (labels) WHERE (labels <> '{}'::text[])
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.task_dependencies', :'cell'), replace($$
    column child_id uuid not null 
    column parent_id uuid not null 
    column child_rank bigint not null 
    column parent_rank bigint not null 
    constraint task_dependencies_acyclic CHECK ((parent_rank < child_rank))
    constraint task_dependencies_pkey PRIMARY KEY (parent_id, child_id)
    index unique task_dependencies_pkey btree (parent_id, child_id)
    index task_dependencies_child btree (child_id)
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.task_attempts', :'cell'), replace($$
    column finished_at timestamp with time zone not null now()
    column started_at timestamp with time zone 
    column attempt smallint not null 
    column worker_id uuid 
    column task_id uuid not null 
    column outcome CELL.task_outcome not null 
    column error jsonb 
    constraint task_attempts_pkey PRIMARY KEY (task_id, attempt)
    index unique task_attempts_pkey btree (task_id, attempt)
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.task_workers', :'cell'), replace($$
    column started_at timestamp with time zone not null now()
    column seen_at timestamp with time zone not null now()
    column turns jsonb not null '{}'::jsonb
    column pid integer not null 
    column id uuid not null 
    column dead_at timestamp with time zone 
    column host text not null 
    constraint task_workers_pkey PRIMARY KEY (id)
    index unique task_workers_pkey btree (id)
    index task_workers_alive btree (seen_at) WHERE (dead_at IS NULL)
    option fillfactor=50
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.task_limits', :'cell'), replace($$
    column key CELL.task_word not null 
    column owner_id uuid not null 
    column max CELL.task_count not null 
    constraint task_limits_pkey PRIMARY KEY (owner_id, key)
    index unique task_limits_pkey btree (owner_id, key)
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.ready_tasks', :'cell'), replace($$
    column id uuid 
    column templated boolean 
    column counters jsonb 
    column priority CELL.task_priority 
    column worker_id uuid 
    column run_at timestamp with time zone 
    column run_on_failure boolean 
    column progress_message character varying(1000) 
    column started_seq bigint 
    column progress_seq bigint 
    column progress_first bigint 
    column progress_at timestamp with time zone 
    column version CELL.ordinal 
    column progress CELL.task_share 
    column turn bigint 
    column deps_left CELL.task_count 
    column step CELL.task_word 
    column event_seq CELL.ordinal 
    column title character varying(200) 
    column labels text[] 
    column limit_key CELL.task_word 
    column updated_at timestamp with time zone 
    column description character varying(10000) 
    column unique_key CELL.task_word 
    column backoff_ms CELL.task_count 
    column limit_slot boolean 
    column created_at timestamp with time zone 
    column error jsonb 
    column result jsonb 
    column dependents integer 
    column finished_at timestamp with time zone 
    column project_id uuid 
    column cancel_requested boolean 
    column deadline_at timestamp with time zone 
    column max_attempts smallint 
    column lease_until timestamp with time zone 
    column pause_requested boolean 
    column state CELL.task_live 
    column kind CELL.task_word 
    column remote boolean 
    column parent_id uuid 
    column rank bigint 
    column timeout_ms integer 
    column attempt_base smallint 
    column owner_id uuid 
    column cost_nano_usd CELL.task_amount 
    column started_at timestamp with time zone 
    column attempt smallint 
    column run_id uuid 
    column input CELL.document 
    grant select
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.running_tasks', :'cell'), replace($$
    column deps_left CELL.task_count 
    column step CELL.task_word 
    column progress CELL.task_share 
    column turn bigint 
    column version CELL.ordinal 
    column started_seq bigint 
    column progress_seq bigint 
    column progress_first bigint 
    column progress_at timestamp with time zone 
    column run_at timestamp with time zone 
    column worker_id uuid 
    column progress_message character varying(1000) 
    column run_on_failure boolean 
    column priority CELL.task_priority 
    column counters jsonb 
    column id uuid 
    column templated boolean 
    column unique_key CELL.task_word 
    column description character varying(10000) 
    column updated_at timestamp with time zone 
    column limit_key CELL.task_word 
    column labels text[] 
    column title character varying(200) 
    column event_seq CELL.ordinal 
    column lease_until timestamp with time zone 
    column max_attempts smallint 
    column deadline_at timestamp with time zone 
    column project_id uuid 
    column cancel_requested boolean 
    column dependents integer 
    column result jsonb 
    column finished_at timestamp with time zone 
    column error jsonb 
    column created_at timestamp with time zone 
    column limit_slot boolean 
    column backoff_ms CELL.task_count 
    column run_id uuid 
    column attempt smallint 
    column input CELL.document 
    column started_at timestamp with time zone 
    column cost_nano_usd CELL.task_amount 
    column owner_id uuid 
    column attempt_base smallint 
    column rank bigint 
    column timeout_ms integer 
    column parent_id uuid 
    column remote boolean 
    column kind CELL.task_word 
    column state character varying 
    column pause_requested boolean 
    grant select
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.all_tasks', :'cell'), replace($$
    column limit_key CELL.task_word 
    column unique_key CELL.task_word 
    column description character varying(10000) 
    column updated_at timestamp with time zone 
    column event_seq CELL.ordinal 
    column labels text[] 
    column title character varying(200) 
    column started_seq bigint 
    column progress_seq bigint 
    column progress_first bigint 
    column progress_at timestamp with time zone 
    column version CELL.ordinal 
    column progress CELL.task_share 
    column turn bigint 
    column deps_left CELL.task_count 
    column step CELL.task_word 
    column id uuid 
    column templated boolean 
    column counters jsonb 
    column priority CELL.task_priority 
    column run_at timestamp with time zone 
    column worker_id uuid 
    column progress_message character varying(1000) 
    column run_on_failure boolean 
    column attempt_base smallint 
    column rank bigint 
    column timeout_ms integer 
    column parent_id uuid 
    column owner_id uuid 
    column started_at timestamp with time zone 
    column cost_nano_usd CELL.task_amount 
    column run_id uuid 
    column attempt smallint 
    column input CELL.document 
    column state character varying 
    column pause_requested boolean 
    column kind CELL.task_word 
    column remote boolean 
    column project_id uuid 
    column cancel_requested boolean 
    column deadline_at timestamp with time zone 
    column lease_until timestamp with time zone 
    column max_attempts smallint 
    column backoff_ms CELL.task_count 
    column created_at timestamp with time zone 
    column limit_slot boolean 
    column error jsonb 
    column dependents integer 
    column result jsonb 
    column finished_at timestamp with time zone 
    grant select
$$, 'CELL', :'cell'));

select pg_temp.expect_domain(:'cell', 'task_amount', 'bigint',
    '(VALUE >= 0)');
select pg_temp.expect_domain(:'cell', 'task_count', 'integer',
    '(VALUE >= 0)');
select pg_temp.expect_domain(:'cell', 'task_end', 'character varying(10)',
    '((VALUE)::text = ANY ((ARRAY[''succeeded''::character varying, ''failed''::character varying, ''cancelled''::character varying, ''skipped''::character varying])::text[]))');
select pg_temp.expect_domain(:'cell', 'task_live', 'character varying(10)',
    '((VALUE)::text = ANY ((ARRAY[''blocked''::character varying, ''scheduled''::character varying, ''ready''::character varying, ''paused''::character varying])::text[]))');
select pg_temp.expect_domain(:'cell', 'task_outcome', 'character varying(10)',
    '((VALUE)::text = ANY ((ARRAY[''failed''::character varying, ''timed_out''::character varying, ''lost''::character varying, ''cancelled''::character varying, ''paused''::character varying])::text[]))');
select pg_temp.expect_domain(:'cell', 'task_priority', 'smallint',
    '((VALUE >= 0) AND (VALUE <= 9))');
select pg_temp.expect_domain(:'cell', 'task_share', 'real',
    '((VALUE >= (0)::double precision) AND (VALUE <= (1)::double precision))');
select pg_temp.expect_domain(:'cell', 'task_word', 'character varying(200)',
    '((VALUE)::text <> ''''::text)');

select 1 / count(*) from pg_trigger
where tgrelid = format('%I.tasks', :'cell')::regclass
  and tgname = 'tasks_transition' and tgenabled = 'O';
-- small samples, and none of words
select 1 / (not exists (
    select from pg_attribute
    where attrelid = c.oid and attnum > 0 and attstattarget <> 10)
    and exists (
    select from pg_attribute a join pg_index i on i.indexrelid = a.attrelid
    where i.indrelid = c.oid and i.indexprs is not null
      and a.atttypid = 'text'::regtype
      and a.attstattarget = 0))::integer
from unnest(array['tasks', 'task_history', 'task_history_default']) t (name)
join pg_class c on c.oid = format('%I.%I', :'cell', t.name)::regclass;

select has_function_privilege('hive', format('%I.%s', :'cell', f), 'execute')
from unnest(array['task_lane(boolean, uuid, text)', 'task_state(text, uuid)', 'task_flow(uuid, text)',
    'task_events(uuid)', 'task_progress(real, text, jsonb)',
    'task_told(text, timestamptz, bigint, timestamptz, smallint, bigint, bigint, timestamptz, real, text, jsonb, bigint, text, timestamptz)']) f;

rollback;
