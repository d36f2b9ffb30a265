-- Revert hive:retention from pg
-- Partitions that were made stay: they hold what finished.

begin;

drop function :"cell".task_history_sweep(timestamptz, integer);
drop function :"cell".task_history_drop(timestamptz, text);
drop function :"cell".task_history_prepare(integer);
drop view :"cell".task_history_days;
drop function :"cell".id_floor(timestamptz);
drop table :"cell".chores;

commit;
