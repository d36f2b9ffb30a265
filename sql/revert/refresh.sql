-- Revert hive:refresh from pg

begin;

alter table hive.sessions
    drop column refresh_n,
    drop column refreshed_at;

commit;
