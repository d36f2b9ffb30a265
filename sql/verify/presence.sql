-- Verify hive:presence on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.presence_nodes', :'cell'), $$
    column node uuid not null
    column seen_at timestamp with time zone not null
    constraint presence_nodes_pkey PRIMARY KEY (node)
    index unique presence_nodes_pkey btree (node)
    grant select
    grant insert
    grant update
    grant delete
$$);
select pg_temp.expect(format('%I.presence', :'cell'), replace($$
    column channel CELL.identifier not null
    column user_id uuid not null
    column node uuid not null
    column connections integer not null
    constraint presence_pkey PRIMARY KEY (channel, user_id, node)
    index unique presence_pkey btree (channel, user_id, node)
    index presence_node btree (node)
    option autovacuum_vacuum_scale_factor=0.05
    grant select
    grant insert
    grant update
    grant delete
$$, 'CELL', :'cell'));
select 1 / count(*) from :"cell".chores where name = 'presence';
-- neither is logged
select 1 / (count(*) = 2)::integer from pg_class
where relpersistence = 'u' and oid in (
    format('%I.presence', :'cell')::regclass,
    format('%I.presence_nodes', :'cell')::regclass);

rollback;
