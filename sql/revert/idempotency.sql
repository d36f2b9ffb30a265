-- Revert hive:idempotency from pg

begin;

drop table :"cell".idempotency_keys;

commit;
