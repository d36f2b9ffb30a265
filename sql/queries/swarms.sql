-- Swarms, their agents and their runs (workers/swarm/). Locks: the run of
-- tasks first, then the run's row here, its steps, its agents, the swarm.

-- name: swarm_create
-- Swarm $1 of caller $2 in project $3, as JSON $4 has it. No row: the project
-- is not theirs.
with made as (
    insert into swarms (id, owner_id, project_id, name, topology, strategy,
        max_agents, model, models)
    select $1::uuid, $2::uuid, $3::uuid, g.name, g.topology, g.strategy,
           g.max_agents, g.model, g.models
    from jsonb_to_record($4::jsonb) g (name text, topology text,
        strategy text, max_agents smallint, model text, models jsonb)
    where $3::uuid is null or (
        select (p.owner_id = $2::uuid) is true from projects p
        where p.id = $3::uuid)
    returning *
), told as (
    insert into events (channel, "offset", type, data)
    select 'swarm:' || id::text, 1, 'swarm.created',
           jsonb_build_object('version', 1)
    from made
    returning channel, "offset", type, data, created_at
)
select m.id, t.channel as _channel, t."offset" as _offset, t.type as _event,
       t.data as _event_data, t.created_at as _event_time
from made m, told t

-- name: swarm_lock
-- Swarm $2 of caller $1, locked.
select s.id, s.name, s.project_id, s.topology, s.strategy,
       s.max_agents::bigint, s.state, s.epoch::bigint
from swarms s
where s.id = $2::uuid and (s.owner_id = $1::uuid) is true
for update

-- name: swarm_shutdown
-- Swarm $1, which is locked, takes no more work; gone at once when nothing of
-- it runs.
with s as (
    update swarms s
    set state = case when l.n = 0 then 'terminated' else 'draining' end,
        terminated_at = case when l.n = 0 then now() end,
        version = s.version + 1
    from (select count(*) as n from swarm_runs r
          where r.swarm_id = $1::uuid and r.state = 'running') l
    where s.id = $1::uuid and (s.state = 'active') is true
    returning s.id, s.state
)
select t.*
from s
cross join lateral swarm_tell(s.id, 'swarm.' || s.state,
    jsonb_build_object('state', s.state)) t

-- name: swarm_live_runs
-- What of swarm $1 runs.
select r.id from swarm_runs r
where r.swarm_id = $1::uuid and r.state = 'running'
order by r.id

-- ---- agents ----

-- name: swarm_team
-- The agents of swarm $1 that have not retired, with how many steps each has
-- and has not finished, in the order of joining.
select a.id, a.name, a.type, to_jsonb(a.capabilities) as capabilities,
       a.join_seq::bigint as seq,
       coalesce(a.model, s.models->>a.type, s.model) as model,
       a.capacity::bigint, a.succeeded_n::bigint as succeeded,
       a.failed_n::bigint as failed, a.busy_ms, a.nano_usd,
       (select count(*) from swarm_steps t
        where t.agent_id = a.id and t.state in ('waiting', 'running'))
           as active
from swarms s
join swarm_agents a on a.swarm_id = s.id
where s.id = $1::uuid and a.retired_at is null
order by a.join_seq

-- name: agent_spawn
-- Agents of JSON array $2 join swarm $1, which is locked. Its epoch is another
-- then. Who has no name is called by type and number.
with g as (
    select g.*, row_number() over () as place
    from jsonb_to_recordset($2::jsonb) g (id uuid, type text, name text,
        capabilities text[], model text, capacity smallint)
), s as (
    update swarms s set epoch = s.epoch + 1, version = s.version + 1
    where s.id = $1::uuid
    returning s.id, (select coalesce(max(a.join_seq), 0) from swarm_agents a
                     where a.swarm_id = s.id) as before
), made as (
    insert into swarm_agents (id, swarm_id, join_seq, type, name,
        capabilities, model, capacity)
    select g.id, s.id, s.before + g.place, g.type,
           coalesce(g.name, g.type || '-' || (s.before + g.place)),
           g.capabilities, g.model, g.capacity
    from g, s
    returning id, name, type, join_seq
)
select m.id from made m order by m.join_seq

-- name: agent_tell
-- Tells that agent $2 has joined or left (event $3) swarm $1.
select t.*
from swarm_agents a
cross join lateral swarm_tell(a.swarm_id, $3::text, jsonb_build_object(
    'agent_id', a.id, 'name', a.name, 'type', a.type)) t
where a.id = $2::uuid and (a.swarm_id = $1::uuid) is true

-- name: agent_lock
-- Agent $2 of a swarm of caller $1, locked: before its swarm is.
select a.id
from swarm_agents a
join swarms s on s.id = a.swarm_id
where a.id = $2::uuid and (s.owner_id = $1::uuid) is true
for no key update of a

-- name: agent_retire
-- Agent $2 leaves swarm $1, which is locked: what it has is done by others.
with a as (
    update swarm_agents a set retired_at = now()
    where a.id = $2::uuid
      and (a.swarm_id = $1::uuid and a.retired_at is null) is true
    returning a.id, a.swarm_id
), s as (
    update swarms s set epoch = s.epoch + 1, version = s.version + 1
    from a where s.id = a.swarm_id
    returning s.id
)
select a.id from a, s

-- name: swarm_edges_make
-- Edges of swarm $1 as of its epoch: from agents $2 to agents $3, both ways.
insert into swarm_edges (swarm_id, epoch, src, dst)
select s.id, s.epoch, e.src, e.dst
from swarms s
cross join (select src, dst from unnest($2::uuid[], $3::uuid[]) x (src, dst)
            union all
            select dst, src from unnest($2::uuid[], $3::uuid[]) x (src, dst)) e
where s.id = $1::uuid
on conflict do nothing

-- name: agent_list (read)
-- Agents of swarm $2 of caller $1, with load and record; $3: also retired ones.
select a.id, a.name, a.type, a.capabilities,
       coalesce(a.model, s.models->>a.type, s.model) as model,
       a.capacity::bigint, case when a.retired_at is not null then 'retired'
           when l.running > 0 then 'busy' else 'idle' end as state,
       l.waiting, l.running, a.succeeded_n::bigint as succeeded,
       a.failed_n::bigint as failed,
       case when a.succeeded_n > 0 then a.busy_ms / a.succeeded_n end
           as mean_ms,
       a.nano_usd, a.join_seq::bigint, a.created_at, a.retired_at
from swarms s
join swarm_agents a on a.swarm_id = s.id
cross join lateral (
    select count(*) filter (where t.state = 'waiting') as waiting,
           count(*) filter (where t.state = 'running') as running
    from swarm_steps t
    where t.agent_id = a.id and t.state in ('waiting', 'running')) l
where s.id = $2::uuid and (s.owner_id = $1::uuid) is true
  and (a.retired_at is null or $3::boolean) is true
order by a.join_seq

-- name: swarm_status (read)
-- Swarm $2 of caller $1 in figures.
select s.id, s.name, s.state, s.topology, s.strategy, s.epoch::bigint,
       s.event_seq as last_offset,
       (select coalesce(jsonb_object_agg(x.state, x.n), '{}'::jsonb)
        from (select r.state, count(*) as n from swarm_runs r
              where r.swarm_id = s.id group by r.state) x) as runs,
       (select coalesce(jsonb_object_agg(x.state, x.n), '{}'::jsonb)
        from (select t.state, count(*) as n
              from swarm_runs r join swarm_steps t on t.run_id = r.id
              where r.swarm_id = s.id group by t.state) x) as steps,
       (select count(*) from swarm_agents a
        where a.swarm_id = s.id and a.retired_at is null) as agents,
       u.*, s.created_at, s.updated_at, s.terminated_at
from swarms s
cross join lateral (
    select coalesce(sum(u.tries), 0)::bigint as tries,
           coalesce(sum(u.input_tokens), 0)::bigint as input_tokens,
           coalesce(sum(u.output_tokens), 0)::bigint as output_tokens,
           coalesce(sum(u.nano_usd), 0)::bigint as nano_usd
    from swarm_usage u where u.swarm_id = s.id) u
where s.id = $2::uuid and (s.owner_id = $1::uuid) is true

-- name: swarm_graph (read)
-- Agents and edges of swarm $2 of caller $1, as of now.
select s.id, s.topology, s.epoch::bigint,
       (select coalesce(jsonb_agg(jsonb_build_object('id', a.id, 'name',
            a.name, 'type', a.type) order by a.join_seq), '[]'::jsonb)
        from swarm_agents a
        where a.swarm_id = s.id and a.retired_at is null) as nodes,
       (select coalesce(jsonb_agg(jsonb_build_object('src', e.src, 'dst',
            e.dst)), '[]'::jsonb)
        from swarm_edges e
        where e.swarm_id = s.id and e.epoch = s.epoch) as edges
from swarms s
where s.id = $2::uuid and (s.owner_id = $1::uuid) is true

-- ---- runs ----

-- name: swarm_run_create
-- Run $1 of swarm $2 and owner $3, as JSON $4 has it; its steps come with
-- swarm_steps_add.
insert into swarm_runs (id, swarm_id, owner_id, description, requirements,
    topology, strategy, epoch, max_agents, max_tokens, coordinator, priority,
    planned)
select $1::uuid, $2::uuid, $3::uuid, g.description, g.requirements,
       g.topology, g.strategy, g.epoch, g.max_agents, g.max_tokens,
       g.coordinator, g.priority, g.planned
from jsonb_to_record($4::jsonb) g (description text, requirements text,
    topology text, strategy text, epoch integer, max_agents smallint,
    max_tokens integer, coordinator uuid, priority smallint,
    planned boolean)

-- name: swarm_steps_add
-- Steps of JSON array $3 and context of array $4 come to run $1, of swarm $2:
-- event $5.
with st as (
    insert into swarm_steps (run_id, name, place, role, title, brief, kind,
        needs, consumer, agent_id, scores)
    select $1::uuid, g.name, g.place, g.role, g.title, g.brief, g.kind,
           g.needs, g.consumer, g.agent_id, g.scores
    from jsonb_to_recordset($3::jsonb) g (name text, place integer,
        role text, title text, brief text, kind text, needs text[],
        consumer text, agent_id uuid, scores jsonb)
    returning name, title, agent_id, place, role
), cx as (
    insert into swarm_context (run_id, dst, src, via)
    select $1::uuid, g.dst, g.src, g.via
    from jsonb_to_recordset($4::jsonb) g (dst text, src text, via uuid)
)
select t.*
from (select jsonb_agg(jsonb_build_object('name', name, 'title', title,
          'role', role, 'agent_id', agent_id) order by place) as steps
      from st) x
cross join lateral swarm_tell($2::uuid, $5::text,
    jsonb_build_object('run_id', $1::uuid, 'steps', x.steps)) t

-- name: swarm_run_list (read)
-- Runs of swarm $2 of caller $1 before run $3 (null: from the latest on), at
-- most $4.
select r.id, r.state, r.description, r.planned, r.strategy,
       (select count(*) from swarm_steps t where t.run_id = r.id) as steps,
       (select count(*) from swarm_steps t
        where t.run_id = r.id and t.state = 'succeeded') as succeeded,
       (select coalesce(sum(u.nano_usd), 0)::bigint from usage u
        where u.run_id = r.id) as nano_usd,
       r.created_at, r.finished_at
from swarm_runs r
where r.swarm_id = $2::uuid and (r.owner_id = $1::uuid) is true
  and ($3::uuid is null or r.id < $3::uuid)
order by r.id desc
limit $4::bigint

-- name: swarm_run_get (read)
-- Run $3 of swarm $2 of caller $1, with its steps: who did each, why that one,
-- and what it cost.
select r.id, r.swarm_id, r.state, r.description, r.requirements, r.topology,
       r.strategy, r.epoch::bigint, r.priority::bigint, r.planned,
       r.coordinator, r.result, r.error,
       (select coalesce(jsonb_agg(jsonb_build_object('name', t.name,
            'role', t.role, 'title', t.title, 'brief', t.brief,
            'kind', t.kind, 'state', t.state, 'agent_id', t.agent_id,
            'agent', a.name, 'attempt', t.attempt, 'model', t.model,
            'task_id', t.task_id, 'scores', t.scores,
            'tries', coalesce(k.tries, 0),
            'input_tokens', coalesce(k.input_tokens, 0),
            'output_tokens', coalesce(k.output_tokens, 0),
            'nano_usd', coalesce(k.nano_usd, 0),
            'sees', (select coalesce(jsonb_agg(jsonb_build_object('step',
                c.src, 'via', c.via) order by c.src), '[]'::jsonb)
                from swarm_context c
                where c.run_id = t.run_id and c.dst = t.name),
            'error', t.error, 'output', t.output,
            'stop_reason', t.stop_reason,
            'started_at', t.started_at, 'finished_at', t.finished_at)
            order by t.place), '[]'::jsonb)
        from swarm_steps t
        left join swarm_agents a on a.id = t.agent_id
        left join (select w.* from swarm_usage w where w.run_id = $3::uuid) k
            on k.task_id = t.task_id
        where t.run_id = r.id) as steps,
       u.*, s.event_seq as last_offset,
       (select epoch from outbox_epoch) || ':' || s.event_seq as cursor,
       r.created_at, r.finished_at
from swarm_runs r
join swarms s on s.id = r.swarm_id
cross join lateral (
    select coalesce(sum(u.tries), 0)::bigint as tries,
           coalesce(sum(u.input_tokens), 0)::bigint as input_tokens,
           coalesce(sum(u.output_tokens), 0)::bigint as output_tokens,
           coalesce(sum(u.nano_usd), 0)::bigint as nano_usd
    from swarm_usage u where u.run_id = r.id) u
where r.id = $3::uuid
  and (r.swarm_id = $2::uuid and r.owner_id = $1::uuid) is true

-- name: swarm_run_exists (read)
-- A row when run $3 is of swarm $2, and that of caller $1; whether its tasks are
-- still kept.
select (select true from runs x where x.id = r.id) is true as kept
from swarm_runs r
where r.id = $3::uuid
  and (r.swarm_id = $2::uuid and r.owner_id = $1::uuid) is true

-- ---- steps ----

-- name: swarm_step_get (read)
-- Step $2 of run $1, with its run, for task $3.
select t.role, t.title, t.brief, t.kind, to_jsonb(t.needs) as needs,
       t.consumer, t.agent_id, t.scores, to_jsonb(t.tried) as tried,
       t.failures::bigint, t.state, t.attempt::bigint, t.output, t.error,
       t.model,
       r.swarm_id, r.owner_id, r.description, r.requirements, r.topology,
       r.strategy, r.max_agents::bigint, r.max_tokens::bigint,
       r.coordinator, r.priority::bigint, r.state as run_state,
       s.project_id, coalesce((select k.attempt_base from tasks k
                               where k.id = $3::uuid), 0)::bigint
           as attempt_base,
       (select c.agent_id from swarm_steps c
        where c.run_id = t.run_id and c.name = t.consumer) as consumer_agent
from swarm_steps t
join swarm_runs r on r.id = t.run_id
join swarms s on s.id = r.swarm_id
where t.run_id = $1::uuid and t.name = $2::text

-- name: swarm_step_sees (read)
-- What step $2 of run $1 sees, in the order of the steps.
select t.name, t.title, t.role, t.output, t.agent_id, a.name as agent, a.type,
       c.via as via_id
from swarm_context c
join swarm_steps t on t.run_id = c.run_id and t.name = c.src
left join swarm_agents a on a.id = t.agent_id
where c.run_id = $1::uuid and c.dst = $2::text and (t.state = 'succeeded') is true
order by t.place

-- name: swarm_step_start
-- Step $2 of run $1 begins, as attempt $3 of task $4, by agent $5, who has
-- scores $6, with model $7; $8 have failed at it; what it sees comes as JSON $9
-- says. No row: it or its run has ended, or a later attempt has begun.
with t as (
    update swarm_steps t
    set state = 'running', attempt = $3::smallint, task_id = $4::uuid,
        agent_id = $5::uuid, scores = $6::jsonb, model = $7::text,
        tried = $8::uuid[], started_at = now(), error = null
    from swarm_runs r
    where t.run_id = $1::uuid and t.name = $2::text
      and (t.attempt < $3::smallint and t.state in ('waiting', 'running'))
          is true
      and r.id = t.run_id and (r.state = 'running') is true
    returning t.*, r.swarm_id
), cx as (
    update swarm_context c
    set via = x.via
    from t, jsonb_to_recordset($9::jsonb) x (src text, via uuid)
    where c.run_id = t.run_id and c.dst = t.name and c.src = x.src
      and c.via is distinct from x.via
)
select e.*
from t
cross join lateral swarm_tell(t.swarm_id, 'step.started',
    jsonb_build_object('run_id', t.run_id, 'step', t.name, 'role', t.role,
        'title', t.title, 'agent_id', t.agent_id, 'task_id', t.task_id,
        'attempt', t.attempt, 'model', t.model)) e

-- name: swarm_step_done
-- Step $2 of run $1 is done, by attempt $3, with output $4; tokens of input $5
-- and output $6, nano-USD $7; the model stopped for reason $8. No row: that
-- attempt has it no more.
with t as (
    update swarm_steps t
    set state = 'succeeded', output = $4::text, finished_at = now(),
        stop_reason = left($8::text, 50)
    where t.run_id = $1::uuid and t.name = $2::text
      and (t.attempt = $3::smallint and t.state = 'running') is true
    returning t.*
), a as (
    update swarm_agents a
    set succeeded_n = a.succeeded_n + 1, nano_usd = a.nano_usd + $7::bigint,
        busy_ms = a.busy_ms
            + (extract(epoch from now() - t.started_at) * 1000)::bigint
    from t where a.id = t.agent_id
    returning a.id
)
select e.*
from t
join swarm_runs r on r.id = t.run_id
cross join lateral swarm_tell(r.swarm_id, 'step.succeeded',
    jsonb_build_object('run_id', t.run_id, 'step', t.name, 'role', t.role,
        'agent_id', t.agent_id, 'task_id', t.task_id, 'attempt', t.attempt,
        'input_tokens', $5::bigint, 'output_tokens', $6::bigint,
        'nano_usd', $7::bigint)) e
where (select count(*) from a) >= 0

-- name: swarm_step_failed
-- Attempt $3 of step $2 of run $1 failed with error $4, after nano-USD $5. $6:
-- there is no other.
with t as (
    update swarm_steps t
    set state = case when $6::boolean then 'failed' else 'waiting' end,
        error = $4::jsonb, finished_at = case when $6 then now() end,
        tried = t.tried || t.agent_id, failures = t.failures + 1
    where t.run_id = $1::uuid and t.name = $2::text
      and (t.attempt = $3::smallint and t.state = 'running') is true
    returning t.*
), a as (
    update swarm_agents a
    set failed_n = a.failed_n + 1, nano_usd = a.nano_usd + $5::bigint
    from t where a.id = t.agent_id
    returning a.id
)
select e.*
from t
join swarm_runs r on r.id = t.run_id
cross join lateral swarm_tell(r.swarm_id, 'step.failed',
    jsonb_build_object('run_id', t.run_id, 'step', t.name,
        'agent_id', t.agent_id, 'task_id', t.task_id, 'attempt', t.attempt,
        'error', t.error)) e
where (select count(*) from a) >= 0

-- name: swarm_run_done
-- Run $1 has its result.
with r as (
    update swarm_runs r
    set state = 'succeeded', result = $2::text, finished_at = now()
    where r.id = $1::uuid and (r.state = 'running') is true
    returning r.id, r.swarm_id
)
select e.*
from r
cross join lateral swarm_tell(r.swarm_id, 'run.succeeded',
    jsonb_build_object('run_id', r.id)) e

-- name: swarm_run_lock
-- Locks run $1.
select r.id, r.state from swarm_runs r where r.id = $1::uuid for update

-- name: swarm_run_resume
-- Run $1, which is locked and whose tasks are tried again, goes on, with the
-- steps whose tasks those are. $2: only if the run has ended, or that step
-- failed or was cancelled; no step that is under way is touched then (null:
-- none can be). No row: that is not so, or the swarm takes no more work.
with r as (
    update swarm_runs r
    set state = 'running', error = null, finished_at = null
    from swarms s
    where r.id = $1::uuid and (r.state <> 'succeeded') is true
      and s.id = r.swarm_id and (s.state = 'active') is true
      and (select x.state = 'running' from runs x where x.id = r.id) is true
      and ($2::text is null or r.state <> 'running' or (
          select (f.state in ('failed', 'cancelled')) is true
          from swarm_steps f
          where f.run_id = r.id and f.name = $2::text)) is true
    returning r.id, r.swarm_id
), st as (
    update swarm_steps t
    set state = 'waiting', error = null, finished_at = null, tried = '{}',
        failures = 0
    from r
    where t.run_id = r.id
      and (t.state in ('failed', 'cancelled')
           or ($2::text is null and t.state <> 'succeeded')) is true
      and (select true from tasks k
           where k.run_id = r.id and (k.step = t.name) is true
           limit 1) is true
    returning t.run_id
)
select e.*
from r
cross join lateral swarm_tell(r.swarm_id, 'run.retried',
    jsonb_build_object('run_id', r.id)) e
where (select count(*) from st) >= 0

-- name: swarm_run_wanted (read)
-- A row when the swarm of run $1 takes work.
select s.id from swarm_runs r
join swarms s on s.id = r.swarm_id and (s.state = 'active') is true
where r.id = $1::uuid

-- ---- what nobody else says ----

-- name: swarm_runs_ended
-- Runs whose tasks have ended without a result, up to $1: failed or cancelled,
-- and with them the steps that were not done.
with gone as materialized (
    select r.id, r.swarm_id,
           case x.state when 'cancelled' then 'cancelled' else 'failed' end
               as state,
           case when x.state <> 'cancelled' then coalesce(
               (select h.error || jsonb_build_object('step', h.step)
                from task_history h
                where h.run_id = r.id and h.state = 'failed'
                order by h.finished_at limit 1),
               '{"code":"result_missing","message":"the run ended without a result"}'::jsonb)
           end as error
    from swarm_runs r
    join runs x on x.id = r.id and (x.state <> 'running') is true
    where r.state = 'running'
    limit $1::bigint
    for update of r, x skip locked    -- x: it may be tried again just now
), st as (
    update swarm_steps t
    set state = case when g.error->>'step' = t.name then 'failed'
                else 'cancelled' end,
        error = case when g.error->>'step' = t.name then g.error end,
        finished_at = now()
    from gone g
    where t.run_id = g.id and (t.state in ('waiting', 'running')) is true
    returning t.run_id
), r as (
    update swarm_runs r
    set state = g.state, error = g.error, finished_at = now()
    from gone g where r.id = g.id
    returning r.id, r.swarm_id, r.state, r.error
)
select e.*
from (select * from r order by swarm_id, id) r
cross join lateral swarm_tell(r.swarm_id, 'run.' || r.state,
    jsonb_strip_nulls(jsonb_build_object('run_id', r.id, 'error', r.error))) e
where (select count(*) from st) >= 0

-- name: swarms_drained
-- Swarms that take no more work and have none left, up to $1.
with s as (
    update swarms s
    set state = 'terminated', terminated_at = now(), version = s.version + 1
    where s.id = any (array(
        select d.id from swarms d
        where d.state = 'draining'
          and (select true from swarm_runs r
               where r.swarm_id = d.id and r.state = 'running' limit 1) is null
        limit $1::bigint
        for update skip locked))
    returning s.id
)
select e.*
from s
cross join lateral swarm_tell(s.id, 'swarm.terminated',
    jsonb_build_object('state', 'terminated')) e
