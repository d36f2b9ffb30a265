-- Revert hive:tasks from pg

begin;

drop function :"cell".task_events(uuid);
drop function :"cell".task_told(text, timestamptz, bigint, timestamptz,
    smallint, bigint, bigint, timestamptz, real, text, jsonb, bigint, text,
    timestamptz);
drop function :"cell".task_progress(real, text, jsonb);
drop view :"cell".all_tasks;
drop view :"cell".running_tasks;
drop view :"cell".ready_tasks;
drop table :"cell".task_claims;
drop table :"cell".task_ready;
drop table :"cell".task_limits;
drop table :"cell".task_workers;
drop table :"cell".task_attempts;
drop table :"cell".task_dependencies;
drop table :"cell".task_history;
drop table :"cell".tasks;
drop function :"cell".task_sample_little(regclass);
drop function :"cell".task_transition_refused();
drop function :"cell".task_flow(uuid, text);
drop function :"cell".task_state(text, uuid);
drop function :"cell".task_lane(boolean, uuid, text);
drop domain :"cell".task_outcome;
drop domain :"cell".task_count;
drop domain :"cell".task_amount;
drop domain :"cell".task_share;
drop domain :"cell".task_priority;
drop domain :"cell".task_end;
drop domain :"cell".task_live;
drop domain :"cell".task_word;

commit;
