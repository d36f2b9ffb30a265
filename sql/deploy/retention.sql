-- Deploy hive:retention to pg
-- What finished is kept for a while, in one partition of task_history a day.
-- The role of the workers owns no table, so what makes and drops partitions
-- are functions of the owner, which decide by themselves which those are.

begin;

-- What one process does for all, now and then: whoever moves due_at on has
-- it until then.
create table :"cell".chores (
    name   varchar(50) primary key,
    due_at timestamptz not null default '-infinity'
);
insert into :"cell".chores (name) values ('task_history_days'), ('retention');
grant select, update on :"cell".chores to hive;

-- The lowest id that can have been made at that time.
create function :"cell".id_floor(made_at timestamptz) returns uuid
language sql stable strict parallel safe
return (lpad(to_hex(floor(extract(epoch from made_at) * 1000)::bigint), 12,
    '0') || repeat('0', 20))::uuid;

-- The partitions that are days, and their bounds.
create view :"cell".task_history_days as
    select c.relname::text as name, d.day,
           :"cell".id_floor(d.day::timestamp at time zone 'UTC') as low,
           :"cell".id_floor((d.day + 1)::timestamp at time zone 'UTC') as high
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral (
        select to_date(substring(c.relname from '^task_history_(\d{8})$'),
            'YYYYMMDD') as day
    ) d
    where i.inhparent = format('%I.task_history', :'cell')::regclass
      and d.day is not null;
grant select on :"cell".task_history_days to hive;

-- Makes the partitions of today (UTC) and of `ahead` days more, and returns
-- how many it made. What had to go to the default partition before its day
-- was there moves; when that is much, it stays, and that day with it. Waits
-- for no lock: a partition that cannot be made now is made at the next call.
create function :"cell".task_history_prepare(ahead integer) returns integer
language plpgsql security definer
set search_path = :"cell", pg_temp
set lock_timeout = '200ms'
as $$
declare
    move_max constant integer := 20000;
    today constant date := (now() at time zone 'UTC')::date;
    day date;
    low uuid;
    high uuid;
    partition text;
    made integer := 0;
begin
    for n in 0 .. least(ahead, 30) loop
        day := today + n;
        partition := 'task_history_' || to_char(day, 'YYYYMMDD');
        low := id_floor(day::timestamp at time zone 'UTC');
        high := id_floor((day + 1)::timestamp at time zone 'UTC');
        continue when to_regclass(partition) is not null
            or (select count(*) > move_max from (
                select from task_history_default d
                where d.id >= low and d.id < high limit move_max + 1) m);
        begin
            execute format('create table %I (like task_history '
                || 'including defaults including indexes) with ('
                || 'autovacuum_vacuum_insert_scale_factor = 0.1, '
                || 'autovacuum_vacuum_insert_threshold = 100000, '
                || 'autovacuum_analyze_scale_factor = 0.1, '
                || 'autovacuum_analyze_threshold = 20000, '
                || 'autovacuum_vacuum_cost_delay = 0)', partition);
            perform task_sample_little(partition::regclass);
            -- nobody adds to it between the move and the attaching
            lock table task_history_default in access exclusive mode;
            execute format('with moved as (delete from task_history_default '
                || 'where id >= $1 and id < $2 returning *) '
                || 'insert into %I select * from moved', partition)
                using low, high;
            execute format('alter table task_history attach partition %I '
                || 'for values from (%L) to (%L)', partition, low, high);
            made := made + 1;
        exception
            when lock_not_available or deadlock_detected then
                null;
        end;
    end loop;
    return made;
end
$$;

-- Looks at the first day after partition `after` all of whose time has been
-- before `before`. No row: there is none. Else its name and what became of
-- it: `dropped`; `kept`, since a task of that day is unfinished or finished
-- later; or `busy`, when others did not let go of it at once.
create function :"cell".task_history_drop(before timestamptz, after text)
returns table (partition text, outcome text)
language plpgsql security definer
set search_path = :"cell", pg_temp
set lock_timeout = '200ms'
as $$
declare
    found_day record;
    late boolean;
begin
    select * into found_day from task_history_days d
    where d.name > after and (d.day + 1)::timestamp at time zone 'UTC' <= before
    order by d.name limit 1;
    if not found then
        return;
    end if;
    partition := found_day.name;
    outcome := 'kept';

    begin
        execute format('lock table %I in share mode', partition);
        if not exists (select from tasks t
            where t.id >= found_day.low and t.id < found_day.high)
        then
            execute format('select exists (select from %I '
                || 'where finished_at >= $1)', partition)
                into late using before;
            if not late then
                execute format('drop table %I', partition);
                outcome := 'dropped';
            end if;
        end if;
    exception
        when lock_not_available or deadlock_detected or undefined_table then
            outcome := 'busy';
    end;
    return next;
end
$$;

-- Deletes up to `most` tasks that finished before that and are in no day's
-- partition; returns how many.
create function :"cell".task_history_sweep(before timestamptz, most integer)
returns integer
language sql security definer
set search_path = :"cell", pg_temp
as $$
    with gone as (
        delete from task_history_default
        where id in (
            select id from task_history_default
            where id < id_floor(before) and finished_at < before
            order by id limit most)
        returning 1
    )
    select count(*)::integer from gone
$$;

revoke all on function
    :"cell".task_history_prepare(integer),
    :"cell".task_history_drop(timestamptz, text),
    :"cell".task_history_sweep(timestamptz, integer) from public;
grant execute on function
    :"cell".task_history_prepare(integer),
    :"cell".task_history_drop(timestamptz, text),
    :"cell".task_history_sweep(timestamptz, integer) to hive;

commit;
