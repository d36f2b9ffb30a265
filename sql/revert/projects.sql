-- Revert hive:projects from pg

begin;

drop table :"cell".projects;
drop domain :"cell".title;
drop domain :"cell".document;

commit;
