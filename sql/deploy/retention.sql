-- Deploy hive:retention to pg
-- What finished is kept for a while, in one partition of task_history a day,
-- and so are events. The role of the workers owns no table, so what makes and
-- drops partitions are functions of the owner, which decide by themselves
-- which those are.

begin;

-- What one process does for all, now and then: whoever moves due_at on has
-- it until then.
create table :"cell".chores (
    name   varchar(50) primary key,
    due_at timestamptz not null default '-infinity'
);
insert into :"cell".chores (name) values ('days'), ('retention');
grant select, update on :"cell".chores to hive;

-- The lowest id that can have been made at that time.
create function :"cell".id_floor(made_at timestamptz) returns uuid
language sql stable strict parallel safe
return (lpad(to_hex(floor(extract(epoch from made_at) * 1000)::bigint), 12,
    '0') || repeat('0', 20))::uuid;

-- The partitions that are days: named after their table and the day (UTC),
-- from its beginning up to its end.
create view :"cell".partition_days as
    select p.relname::text as relation, c.relname::text as name,
           d.day::timestamp at time zone 'UTC' as begins,
           (d.day + 1)::timestamp at time zone 'UTC' as ends
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    join pg_class p on p.oid = i.inhparent
    cross join lateral (
        select to_date(substring(c.relname
            from '^' || p.relname || '_(\d{8})$'), 'YYYYMMDD') as day
    ) d
    where i.inhparent in (format('%I.task_history', :'cell')::regclass,
                          format('%I.events', :'cell')::regclass)
      and d.day is not null;
grant select on :"cell".partition_days to hive;

-- By which column a table is parted, and where a moment is in it.
create function :"cell".partition_key(relation text) returns text
language sql immutable strict
return case relation when 'task_history' then 'id'
    when 'events' then 'created_at' end;
create function :"cell".partition_bound(relation text, moment timestamptz)
returns text
language sql stable strict
return case relation when 'task_history' then :"cell".id_floor(moment)::text
    when 'events' then moment::text end;

-- Makes the partitions of today (UTC) and of `ahead` days more, and returns
-- how many it made. What had to go to the default partition before its day
-- was there moves; when that is much, it stays, and that day with it. Waits
-- for no lock: a partition that cannot be made now is made at the next call.
create function :"cell".partitions_prepare(relation text, ahead integer)
returns integer
language plpgsql security definer
set search_path = :"cell", pg_temp
set lock_timeout = '200ms'
as $$
declare
    move_max constant integer := 20000;
    today constant date := (now() at time zone 'UTC')::date;
    key constant text := partition_key(relation);
    rest constant text := relation || '_default';
    day timestamptz;
    low text;
    high text;
    partition text;
    many boolean;
    made integer := 0;
begin
    if key is null then
        raise exception '% has no partitions', relation;
    end if;
    for n in 0 .. least(ahead, 30) loop
        day := (today + n)::timestamp at time zone 'UTC';
        partition := relation || '_' || to_char(today + n, 'YYYYMMDD');
        low := partition_bound(relation, day);
        high := partition_bound(relation, day + interval '24 hours');
        continue when to_regclass(partition) is not null;
        execute format('select count(*) > %s from (select from %I '
            || 'where %I >= %L and %I < %L limit %s) m', move_max, rest,
            key, low, key, high, move_max + 1) into many;
        continue when many;
        begin
            execute format('create table %I (like %I '
                || 'including defaults including indexes) with ('
                || 'autovacuum_vacuum_insert_scale_factor = 0.1, '
                || 'autovacuum_vacuum_insert_threshold = 100000, '
                || 'autovacuum_analyze_scale_factor = 0.1, '
                || 'autovacuum_analyze_threshold = 20000, '
                || 'autovacuum_vacuum_cost_delay = 0)', partition, relation);
            perform task_sample_little(partition::regclass);
            -- nobody adds to it between the move and the attaching, nor is
            -- on the way to where a row will not belong any more
            execute format('lock table %I in share row exclusive mode',
                relation);
            execute format('lock table %I in access exclusive mode', rest);
            execute format('with moved as (delete from %I '
                || 'where %I >= %L and %I < %L returning *) '
                || 'insert into %I select * from moved', rest, key, low, key,
                high, partition);
            execute format('alter table %I attach partition %I '
                || 'for values from (%L) to (%L)', relation, partition, low,
                high);
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
create function :"cell".partitions_drop(relation text, before timestamptz,
    after text)
returns table (partition text, outcome text)
language plpgsql security definer
set search_path = :"cell", pg_temp
set lock_timeout = '200ms'
as $$
declare
    day record;
    late boolean := false;
begin
    select d.* into day from partition_days d
    where d.relation = $1 and d.name > after and d.ends <= before
    order by d.name limit 1;
    if not found then
        return;
    end if;
    partition := day.name;
    outcome := 'kept';

    begin
        execute format('lock table %I in share mode', partition);
        if relation = 'task_history' then
            late := exists (select from tasks t
                where t.id >= id_floor(day.begins)
                  and t.id < id_floor(day.ends));
            if not late then
                execute format('select exists (select from %I '
                    || 'where finished_at >= $1)', partition)
                    into late using before;
            end if;
        end if;
        if not late then
            execute format('drop table %I', partition);
            outcome := 'dropped';
        end if;
    exception
        when lock_not_available or deadlock_detected or undefined_table then
            outcome := 'busy';
    end;
    return next;
end
$$;

-- Deletes up to `most` rows that are of before that and in no day's partition;
-- returns how many.
create function :"cell".partitions_sweep(relation text, before timestamptz,
    most integer)
returns integer
language plpgsql security definer
set search_path = :"cell", pg_temp
as $$
declare
    gone integer := 0;
begin
    if relation = 'task_history' then
        delete from task_history_default
        where id in (
            select id from task_history_default
            where id < id_floor(before) and finished_at < before
            order by id limit most);
        get diagnostics gone = row_count;
    elsif relation = 'events' then
        delete from events_default
        where ctid = any (array(
            select ctid from events_default
            where created_at < before limit most));
        get diagnostics gone = row_count;
    end if;
    return gone;
end
$$;

revoke all on function
    :"cell".partitions_prepare(text, integer),
    :"cell".partitions_drop(text, timestamptz, text),
    :"cell".partitions_sweep(text, timestamptz, integer) from public;
grant execute on function
    :"cell".partitions_prepare(text, integer),
    :"cell".partitions_drop(text, timestamptz, text),
    :"cell".partitions_sweep(text, timestamptz, integer) to hive;

commit;
