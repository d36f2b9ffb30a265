-- Verify hive:events on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.events', :'cell'), replace($$
    column channel CELL.identifier not null
    column offset CELL.ordinal not null
    column type CELL.identifier not null
    column data jsonb not null
    column created_at timestamp with time zone not null now()
    constraint events_pkey PRIMARY KEY (channel, "offset")
    index unique events_pkey btree (channel, "offset")
    index events_created_at brin (created_at) WITH (autosummarize='on')
    option autovacuum_vacuum_insert_scale_factor=0.05
    option autovacuum_analyze_scale_factor=0.05
    grant select
    grant insert
    grant delete
$$, 'CELL', :'cell'));
select pg_temp.expect_domain(:'cell', 'ordinal', 'bigint', '(VALUE >= 1)');
select pg_temp.expect_domain(:'cell', 'identifier', 'character varying(200)',
    '(length((VALUE)::text) >= 3)');

rollback;
