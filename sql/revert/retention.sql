-- Revert hive:retention from pg
-- Partitions that hold something stay.

begin;

select set_config('hive.cell', :'cell', true);
do $$
declare
    cell constant text := current_setting('hive.cell');
    day record;
    used boolean;
begin
    for day in execute format('select name from %I.partition_days', cell) loop
        execute format('select exists (select from %I.%I)', cell, day.name)
            into used;
        if not used then
            execute format('drop table %I.%I', cell, day.name);
        end if;
    end loop;
end
$$;

drop function :"cell".partitions_sweep(text, timestamptz, integer);
drop function :"cell".partitions_drop(text, timestamptz, text);
drop function :"cell".partitions_prepare(text, integer);
drop function :"cell".partition_bound(text, timestamptz);
drop function :"cell".partition_key(text);
drop view :"cell".partition_days;
drop function :"cell".id_floor(timestamptz);
drop table :"cell".chores;

commit;
