-- Revert hive:projects from pg

begin;

drop table :"cell".projects;

commit;
