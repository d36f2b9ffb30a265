-- Verify hive:projects on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.projects', :'cell'), $$
    column id uuid not null
    column owner_id uuid not null
    column name text not null
    column description text not null ''::text
    column archived_at timestamp with time zone
    column config jsonb not null '{}'::jsonb
    column version bigint not null 1
    column event_seq bigint not null 1
    column created_at timestamp with time zone not null now()
    column updated_at timestamp with time zone not null now()
    column search tsvector not null generated (setweight(to_tsvector('simple'::regconfig, name), 'A'::"char") || setweight(to_tsvector('simple'::regconfig, description), 'B'::"char"))
    constraint projects_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
    constraint projects_description_check CHECK ((length(description) <= 10000))
    constraint projects_config_check CHECK ((jsonb_typeof(config) = 'object'::text))
    constraint projects_version_check CHECK ((version >= 1))
    constraint projects_event_seq_check CHECK ((event_seq >= 1))
    constraint projects_pkey PRIMARY KEY (id)
    constraint projects_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES hive.users(id) ON DELETE CASCADE
    index unique projects_pkey btree (id)
    index projects_owner_created btree (owner_id, created_at, id)
    index projects_owner_updated btree (owner_id, updated_at, id)
    index projects_owner_name btree (owner_id, name, id)
    index projects_search gin (search)
    option fillfactor=90
    option autovacuum_vacuum_scale_factor=0.05
    option autovacuum_analyze_scale_factor=0.05
    grant select
    grant insert
    grant update
    grant delete
$$);

rollback;
