-- name: engine_claim
-- Takes up to $2 tasks of kind $1, in order of turns from $3 up, for worker
-- $4; $5: whether to append events. The sub-select is what limits: joined in
-- place it might be run again for each row.
with c as materialized (
    select t.id from tasks t
    where t.kind = $1::varchar and t.turn >= $3::bigint and t.state = 'ready'
      and not t.remote and (t.limit_key is null or t.limit_slot)
    order by t.turn, t.id
    limit $2::integer
    for update skip locked
), u as (
    update tasks t
    set state = 'running', attempt = t.attempt + 1, worker_id = $4::uuid,
        started_at = now(), updated_at = now(), version = t.version + 1,
        event_seq = t.event_seq + 1
    from c
    where t.id = c.id
    returning t.id, t.owner_id, t.attempt, t.dependents, t.turn, t.run_id,
              t.run_at, t.deadline_at, t.timeout_ms, t.templated, t.input,
              t.event_seq
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq, 'task.running',
           jsonb_build_object('state', 'running', 'attempt', attempt)
    from u where $5::boolean
    returning 1
)
select id, owner_id, attempt, dependents, turn, run_id, run_at, deadline_at,
       timeout_ms, templated, input, event_seq
from u
