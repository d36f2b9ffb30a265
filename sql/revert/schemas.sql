-- Revert hive:schemas from pg
-- Without cascade: a schema that still holds something stops this.

begin;

revoke select on :"registry".changes, :"registry".tags from hive;
revoke usage on schema :"registry" from hive;
drop schema :"cell";
drop schema hive;

commit;
