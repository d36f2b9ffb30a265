-- Verify hive:retention on pg

begin;

\ir ../include/expect.sql

select pg_temp.expect(format('%I.chores', :'cell'), $$
    column name character varying(50) not null
    column due_at timestamp with time zone not null '-infinity'::timestamp with time zone
    constraint chores_pkey PRIMARY KEY (name)
    grant select
    grant update
$$);
select pg_temp.expect(format('%I.partition_days', :'cell'), $$
    column relation text
    column name text
    column begins timestamp with time zone
    column ends timestamp with time zone
    grant select
$$);

-- Run with the rights of their owner, never with the caller's path, by the
-- workers only.
select set_config('hive.cell', :'cell', true);
do $$
declare
    cell constant text := quote_ident(current_setting('hive.cell'));
    name text;
    f pg_proc;
begin
    foreach name in array array[
        'partitions_prepare(text, integer)',
        'partitions_drop(text, timestamptz, text)',
        'partitions_sweep(text, timestamptz, integer)']
    loop
        select * into strict f from pg_proc
        where oid = (cell || '.' || name)::regprocedure;
        if not f.prosecdef or not exists (
            select from unnest(f.proconfig) o
            where o = format('search_path=%s, pg_temp', cell))
        then
            raise exception 'function %.% is not secure', cell, name;
        end if;
        if not has_function_privilege('hive', f.oid, 'execute')
            or has_function_privilege('public', f.oid, 'execute')
        then
            raise exception 'function %.% is not the workers'' alone',
                cell, name;
        end if;
    end loop;
end
$$;

rollback;
