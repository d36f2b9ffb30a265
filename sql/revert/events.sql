-- Revert hive:events from pg

begin;

drop table :"cell".events;

commit;
