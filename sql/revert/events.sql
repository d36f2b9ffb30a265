-- Revert hive:events from pg

begin;

drop function :"cell".outbox_renew();
drop view :"cell".outbox_epoch;
drop function :"cell".outbox_place();
drop table :"cell".outbox;
drop table :"cell".channels;
drop function :"cell".events_after(text, bigint, bigint, bigint, timestamptz,
    timestamptz);
drop table :"cell".events;
drop function :"cell".id_time(uuid);
drop domain :"cell".ordinal;
drop domain :"cell".identifier;

commit;
