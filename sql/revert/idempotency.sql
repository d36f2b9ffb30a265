-- Revert hive:idempotency from pg

begin;

drop table hive.anonymous_idempotency_keys;
drop table :"cell".idempotency_keys;

commit;
