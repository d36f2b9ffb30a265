-- Revert hive:users from pg

begin;

drop table hive.tickets;
drop table hive.setup_tokens;
drop table hive.sessions;
drop table hive.credentials;
drop table hive.users;

commit;
