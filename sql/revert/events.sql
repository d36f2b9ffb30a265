-- Revert hive:events from pg

begin;

drop table :"cell".events;
drop domain :"cell".ordinal;
drop domain :"cell".identifier;

commit;
