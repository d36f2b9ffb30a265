-- Revert hive:presence from pg

begin;

delete from :"cell".chores where name = 'presence';
drop table :"cell".presence;
drop table :"cell".presence_nodes;

commit;
