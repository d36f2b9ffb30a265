-- Verify hive:swarms on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.swarms', :'cell'), replace($$
    column id uuid not null 
    column owner_id uuid not null 
    column project_id uuid 
    column name CELL.title not null 
    column topology CELL.swarm_topology not null 'star'::character varying
    column strategy CELL.swarm_strategy not null 'parallel'::character varying
    column max_agents smallint not null 8
    column model character varying(100) not null 'echo'::character varying
    column models CELL.document not null '{}'::jsonb
    column state CELL.swarm_state not null 'active'::character varying
    column epoch integer not null 1
    column version CELL.ordinal not null 1
    column event_seq CELL.ordinal not null 1
    column created_at timestamp with time zone not null now()
    column updated_at timestamp with time zone not null now()
    column terminated_at timestamp with time zone 
    constraint swarms_max_agents_check CHECK (((max_agents >= 1) AND (max_agents <= 100)))
    constraint swarms_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES hive.users(id) ON DELETE CASCADE
    constraint swarms_pkey PRIMARY KEY (id)
    constraint swarms_project_id_fkey FOREIGN KEY (project_id) REFERENCES CELL.projects(id) ON DELETE CASCADE
    index unique swarms_pkey btree (id)
    index swarms_owner_created btree (owner_id, created_at, id)
    index swarms_owner_name btree (owner_id, name, id)
    index swarms_project btree (project_id) WHERE (project_id IS NOT NULL)
    index swarms_draining btree (id) WHERE ((state)::text = 'draining'::text)
    option fillfactor=70
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.swarm_agents', :'cell'), replace($$
    column id uuid not null 
    column swarm_id uuid not null 
    column join_seq integer not null 
    column type CELL.agent_type not null 
    column name character varying(100) not null 
    column capabilities text[] not null '{}'::text[]
    column model character varying(100) 
    column capacity smallint not null 1
    column succeeded_n integer not null 0
    column failed_n integer not null 0
    column busy_ms bigint not null 0
    column nano_usd bigint not null 0
    column created_at timestamp with time zone not null now()
    column retired_at timestamp with time zone 
    constraint swarm_agents_capacity_check CHECK (((capacity >= 1) AND (capacity <= 100)))
    constraint swarm_agents_name UNIQUE (swarm_id, name)
    constraint swarm_agents_pkey PRIMARY KEY (id)
    constraint swarm_agents_seq UNIQUE (swarm_id, join_seq)
    constraint swarm_agents_swarm_id_fkey FOREIGN KEY (swarm_id) REFERENCES CELL.swarms(id) ON DELETE CASCADE
    index unique swarm_agents_pkey btree (id)
    index unique swarm_agents_name btree (swarm_id, name)
    index unique swarm_agents_seq btree (swarm_id, join_seq)
    option fillfactor=80
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.swarm_edges', :'cell'), replace($$
    column swarm_id uuid not null 
    column epoch integer not null 
    column src uuid not null 
    column dst uuid not null 
    constraint swarm_edges_pkey PRIMARY KEY (swarm_id, epoch, src, dst)
    constraint swarm_edges_swarm_id_fkey FOREIGN KEY (swarm_id) REFERENCES CELL.swarms(id) ON DELETE CASCADE
    index unique swarm_edges_pkey btree (swarm_id, epoch, src, dst)
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.swarm_runs', :'cell'), replace($$
    column id uuid not null 
    column swarm_id uuid not null 
    column owner_id uuid not null 
    column description character varying(20000) not null 
    column requirements character varying(20000) not null ''::character varying
    column topology CELL.swarm_topology not null 
    column strategy CELL.swarm_strategy not null 
    column epoch integer not null 
    column max_agents smallint not null 
    column max_tokens integer not null 
    column coordinator uuid not null 
    column priority smallint not null 
    column planned boolean not null 
    column state CELL.run_state not null 'running'::character varying
    column result text 
    column error jsonb 
    column created_at timestamp with time zone not null now()
    column finished_at timestamp with time zone 
    constraint swarm_runs_pkey PRIMARY KEY (id)
    constraint swarm_runs_swarm_id_fkey FOREIGN KEY (swarm_id) REFERENCES CELL.swarms(id) ON DELETE CASCADE
    index unique swarm_runs_pkey btree (id)
    index swarm_runs_swarm btree (swarm_id, id)
    index swarm_runs_live btree (id) WHERE ((state)::text = 'running'::text)
    option fillfactor=80
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.swarm_steps', :'cell'), replace($$
    column run_id uuid not null 
    column name character varying(60) not null 
    column place integer not null 
    column role CELL.step_role not null 
    column title character varying(200) not null 
    column brief character varying(20000) not null ''::character varying
    column kind character varying(20) not null 
    column needs text[] not null '{}'::text[]
    column consumer character varying(60) 
    column agent_id uuid 
    column scores jsonb 
    column tried uuid[] not null '{}'::uuid[]
    column state CELL.step_state not null 'waiting'::character varying
    column attempt smallint not null 0
    column failures smallint not null 0
    column task_id uuid 
    column model character varying(100) 
    column output text 
    column stop_reason character varying(50) 
    column error jsonb 
    column started_at timestamp with time zone 
    column finished_at timestamp with time zone 
    constraint swarm_steps_pkey PRIMARY KEY (run_id, name)
    constraint swarm_steps_run_id_fkey FOREIGN KEY (run_id) REFERENCES CELL.swarm_runs(id) ON DELETE CASCADE
    index unique swarm_steps_pkey btree (run_id, name)
    index swarm_steps_agent btree (agent_id) WHERE ((state)::text = ANY ((ARRAY['waiting'::character varying, 'running'::character varying])::text[]))
    option fillfactor=70
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.swarm_context', :'cell'), replace($$
    column run_id uuid not null 
    column dst character varying(60) not null 
    column src character varying(60) not null 
    column via uuid 
    constraint swarm_context_pkey PRIMARY KEY (run_id, dst, src)
    constraint swarm_context_run_id_fkey FOREIGN KEY (run_id) REFERENCES CELL.swarm_runs(id) ON DELETE CASCADE
    index unique swarm_context_pkey btree (run_id, dst, src)
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));
select pg_temp.expect(format('%I.swarm_usage', :'cell'), $$
    column swarm_id uuid 
    column run_id uuid 
    column task_id uuid 
    column tries bigint 
    column input_tokens bigint 
    column output_tokens bigint 
    column nano_usd bigint 
    grant select
$$);
select 1 / count(*) from :"cell".chores where name = 'swarms';
select has_function_privilege('hive',
    format('%I.swarm_tell(uuid, text, jsonb)', :'cell'), 'execute');

rollback;
