-- Verify hive:workflows on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.workflows', :'cell'), replace($$
    column description character varying(10000) not null ''::character varying
    column on_failure CELL.failure_policy not null 'fail_fast'::character varying
    column version CELL.ordinal not null 1
    column event_seq CELL.ordinal not null 1
    column created_at timestamp with time zone not null now()
    column updated_at timestamp with time zone not null now()
    column name CELL.title not null 
    column id uuid not null 
    column project_id uuid 
    column steps jsonb not null 
    column owner_id uuid not null 
    constraint workflows_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES hive.users(id) ON DELETE CASCADE
    constraint workflows_pkey PRIMARY KEY (id)
    constraint workflows_project_id_fkey FOREIGN KEY (project_id) REFERENCES CELL.projects(id) ON DELETE CASCADE
    index unique workflows_pkey btree (id)
    index workflows_owner_created btree (owner_id, created_at, id)
    index workflows_owner_updated btree (owner_id, updated_at, id)
    index workflows_owner_name btree (owner_id, name, id)
    index workflows_project btree (project_id) WHERE (project_id IS NOT NULL)
    index workflows_search gin (to_tsvector('simple'::regconfig, (((name)::text || ' '::text) || (description)::text)))
    option fillfactor=90
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.runs', :'cell'), replace($$
    column name character varying(200) not null ''::character varying
    column on_failure CELL.failure_policy not null 'fail_fast'::character varying
    column state CELL.run_state not null 'running'::character varying
    column cancel_requested boolean not null false
    column input CELL.document not null '{}'::jsonb
    column total_n CELL.task_count not null 0
    column left_n CELL.task_count not null 0
    column succeeded_n CELL.task_count not null 0
    column failed_n CELL.task_count not null 0
    column cancelled_n CELL.task_count not null 0
    column skipped_n CELL.task_count not null 0
    column version CELL.ordinal not null 1
    column event_seq CELL.ordinal not null 1
    column created_at timestamp with time zone not null now()
    column updated_at timestamp with time zone not null now()
    column progress_first bigint
    column workflow_version bigint 
    column owner_id uuid not null 
    column project_id uuid 
    column workflow_id uuid 
    column finished_at timestamp with time zone 
    column id uuid not null 
    constraint runs_pkey PRIMARY KEY (id)
    index unique runs_pkey btree (id)
    index runs_owner_created btree (owner_id, created_at, id)
    index runs_owner_state btree (owner_id, state, created_at, id)
    index runs_workflow btree (workflow_id, created_at, id) WHERE (workflow_id IS NOT NULL)
    index runs_project btree (project_id, created_at, id) WHERE (project_id IS NOT NULL)
    option fillfactor=50
    option autovacuum_vacuum_scale_factor=0
    option autovacuum_vacuum_threshold=2000
    option autovacuum_vacuum_cost_delay=0
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.schedules', :'cell'), replace($$
    column time_zone CELL.task_word not null 'UTC'::character varying
    column jitter_ms CELL.task_count not null 0
    column catch_up CELL.catch_up not null 'one'::character varying
    column input CELL.document not null '{}'::jsonb
    column paused boolean not null false
    column fired_n bigint not null 0
    column version CELL.ordinal not null 1
    column event_seq CELL.ordinal not null 1
    column created_at timestamp with time zone not null now()
    column updated_at timestamp with time zone not null now()
    column fire_at timestamp with time zone 
    column project_id uuid 
    column workflow_id uuid 
    column name CELL.title not null 
    column id uuid not null 
    column error character varying(1000) 
    column owner_id uuid not null 
    column task jsonb 
    column last_at timestamp with time zone 
    column cron CELL.task_word not null 
    column next_at timestamp with time zone 
    constraint schedules_one_thing CHECK (((workflow_id IS NULL) <> (task IS NULL)))
    constraint schedules_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES hive.users(id) ON DELETE CASCADE
    constraint schedules_pkey PRIMARY KEY (id)
    constraint schedules_project_id_fkey FOREIGN KEY (project_id) REFERENCES CELL.projects(id) ON DELETE CASCADE
    constraint schedules_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES CELL.workflows(id) ON DELETE CASCADE
    index unique schedules_pkey btree (id)
    index schedules_owner_created btree (owner_id, created_at, id)
    index schedules_owner_name btree (owner_id, name, id)
    index schedules_project btree (project_id) WHERE (project_id IS NOT NULL)
    index schedules_workflow btree (workflow_id) WHERE (workflow_id IS NOT NULL)
    index schedules_due btree (fire_at) WHERE (fire_at IS NOT NULL)
    option fillfactor=80
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect_domain(:'cell', 'catch_up', 'character varying(10)',
    '((VALUE)::text = ANY ((ARRAY[''skip''::character varying, ''one''::character varying, ''all''::character varying])::text[]))');
select pg_temp.expect_domain(:'cell', 'failure_policy', 'character varying(10)',
    '((VALUE)::text = ANY ((ARRAY[''fail_fast''::character varying, ''continue''::character varying, ''skip''::character varying])::text[]))');
select pg_temp.expect_domain(:'cell', 'run_state', 'character varying(10)',
    '((VALUE)::text = ANY ((ARRAY[''running''::character varying, ''succeeded''::character varying, ''failed''::character varying, ''cancelled''::character varying])::text[]))');

select has_function_privilege('hive', format('%I.%s', :'cell', f), 'execute')
from unnest(array['run_events(uuid)',
    'run_tally(text, integer, integer, integer, integer, integer, integer)']) f;

rollback;
