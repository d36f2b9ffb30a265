-- Verify hive:projects on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.projects', :'cell'), replace($$
    column id uuid not null
    column owner_id uuid not null
    column name CELL.title not null
    column description character varying(10000) not null ''::character varying
    column archived_at timestamp with time zone
    column config CELL.document not null '{}'::jsonb
    column version CELL.ordinal not null 1
    column event_seq CELL.ordinal not null 1
    column created_at timestamp with time zone not null now()
    column updated_at timestamp with time zone not null now()
    constraint projects_pkey PRIMARY KEY (id)
    constraint projects_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES hive.users(id) ON DELETE CASCADE
    index unique projects_pkey btree (id)
    index projects_owner_created btree (owner_id, created_at, id)
    index projects_owner_updated btree (owner_id, updated_at, id)
    index projects_owner_name btree (owner_id, name, id)
    index projects_search gin (to_tsvector('simple'::regconfig, (((name)::text || ' '::text) || (description)::text)))
    option fillfactor=90
    option autovacuum_vacuum_scale_factor=0.05
    option autovacuum_analyze_scale_factor=0.05
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));

select pg_temp.expect_domain(:'cell', 'title', 'character varying(200)',
    '((VALUE)::text <> ''''::text)');
select pg_temp.expect_domain(:'cell', 'document', 'jsonb',
    '(jsonb_typeof(VALUE) = ''object''::text)');

rollback;
