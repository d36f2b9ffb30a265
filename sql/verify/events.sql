-- Verify hive:events on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.events', :'cell'), replace($$
    column channel CELL.identifier not null
    column offset CELL.ordinal not null
    column first bigint
    column type CELL.identifier not null
    column data jsonb not null
    column created_at timestamp with time zone not null now()
    constraint events_pkey PRIMARY KEY (channel, "offset", created_at)
    grant select
    grant insert
$$, 'CELL', :'cell'));
select 1 / (pg_get_partkeydef(format('%I.events', :'cell')::regclass)
    = 'RANGE (created_at)')::integer;
select 1 / count(*) from pg_inherits
where inhparent = format('%I.events', :'cell')::regclass
  and inhrelid = format('%I.events_default', :'cell')::regclass;
select pg_temp.expect_domain(:'cell', 'ordinal', 'bigint', '(VALUE >= 1)');
select pg_temp.expect_domain(:'cell', 'identifier', 'character varying(200)',
    '(length((VALUE)::text) >= 3)');
select has_function_privilege('hive', format('%I.events_after(text, bigint, '
    'bigint, bigint, timestamptz, timestamptz)', :'cell'), 'execute');

select pg_temp.expect(format('%I.channels', :'cell'), replace($$
    column channel CELL.identifier not null
    column event_seq CELL.ordinal not null 1
    constraint channels_pkey PRIMARY KEY (channel)
    index unique channels_pkey btree (channel)
    option fillfactor=80
    grant select
    grant insert
    grant update
$$, 'CELL', :'cell'));

select pg_temp.expect(format('%I.outbox', :'cell'), $$
    column mark uuid not null gen_random_uuid()
    index unique outbox_single btree ((true))
$$);
select pg_temp.expect(format('%I.outbox_epoch', :'cell'), $$
    column epoch text
    grant select
$$);
-- there is an epoch, and to renew it is for the owner
select 1 / (length(epoch) = 16)::integer
from (select * from :"cell".outbox_epoch) e;
select 1 / (not has_function_privilege('hive',
    format('%I.outbox_renew()', :'cell'), 'execute'))::integer;

rollback;
