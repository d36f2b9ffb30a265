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
select pg_temp.expect(format('%I.task_history_days', :'cell'), $$
    column name text
    column day date
    column low uuid
    column high uuid
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
        'task_history_prepare(integer)',
        'task_history_drop(timestamptz, text)',
        'task_history_sweep(timestamptz, integer)']
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
