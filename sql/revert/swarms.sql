-- Revert hive:swarms from pg

begin;

delete from :"cell".chores where name = 'swarms';
drop function :"cell".swarm_tell(uuid, text, jsonb);
drop view :"cell".swarm_usage;
drop table :"cell".swarm_context;
drop table :"cell".swarm_steps;
drop table :"cell".swarm_runs;
drop table :"cell".swarm_edges;
drop table :"cell".swarm_agents;
drop table :"cell".swarms;
drop domain :"cell".step_state;
drop domain :"cell".step_role;
drop domain :"cell".agent_type;
drop domain :"cell".swarm_state;
drop domain :"cell".swarm_strategy;
drop domain :"cell".swarm_topology;

commit;
