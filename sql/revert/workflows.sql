-- Revert hive:workflows from pg

begin;

drop function :"cell".run_events(uuid);
drop function :"cell".run_tally(text, integer, integer, integer, integer,
    integer, integer);
drop table :"cell".schedules;
drop table :"cell".runs;
drop table :"cell".workflows;
drop domain :"cell".catch_up;
drop domain :"cell".run_state;
drop domain :"cell".failure_policy;

commit;
