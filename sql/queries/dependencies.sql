-- Edges between tasks: a child waits for its parents. Whoever gives an
-- unfinished task an edge, or takes one away, has it locked and counts the
-- change in its `dependents`: see settle.sql.

-- name: dependencies_add
-- Edges from $1 to $2, of ranks $3 and $4. $5: those of the parents that are
-- not finished, once for each edge.
with edge as (
    insert into task_dependencies (parent_id, child_id, parent_rank,
        child_rank)
    select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
)
update tasks t
set dependents = t.dependents + k.n
from (select id, count(*)::integer as n
      from unnest($5::uuid[]) k (id) group by id) k
where t.id = k.id

-- name: dependency_turn
-- Waits until no other transaction changes edges of $1 by hand: what one moves
-- up may be anywhere below what another has locked.
select pg_advisory_xact_lock(hashtextextended($1::uuid::text, 3))

-- name: dependency_lock
-- Locks those of tasks $2 of $1 that are not finished.
select t.id, task_state(t.state, t.worker_id) as state, t.rank,
       t.run_on_failure
from tasks t
where t.id = any($2::uuid[]) and (t.owner_id = $1::uuid) is true
order by t.id
for update

-- name: dependency_exists (read)
-- A row when there is an edge from $1 to $2.
select true as there from task_dependencies d
where d.parent_id = $1::uuid and d.child_id = $2::uuid

-- name: dependency_reach
-- All that waits for task $1, at any distance, itself included, up to $3 of
-- them; the unfinished are locked. `cycle`: task $2 is among them. To be
-- repeated until it says the same twice: what was waited for may have changed.
with recursive down (id) as (
    select $1::uuid
    union
    select d.child_id from down
    join task_dependencies d on d.parent_id = down.id
), reached as materialized (
    select id from down limit $3::bigint
), locked as materialized (
    select t.id from tasks t where t.id in (select id from reached)
    order by t.id for update
)
select (select count(*) from reached) as n, (select count(*) from locked) as m,
       $2::uuid in (select id from reached) as cycle

-- name: dependency_raise
-- Moves task $1 and all that waits for it, which is locked, up by $2 ranks, and
-- with them the copies at their edges.
with recursive down (id) as (
    select $1::uuid
    union
    select d.child_id from down
    join task_dependencies d on d.parent_id = down.id
), live as (
    update tasks t set rank = t.rank + $2::bigint
    where t.id in (select id from down)
), finished as (
    update task_history h set rank = h.rank + $2::bigint
    from down where h.id = down.id
)
update task_dependencies d
set parent_rank = d.parent_rank + case when d.parent_id in (select id from down)
        then $2::bigint else 0 end,
    child_rank = d.child_rank + $2::bigint
where d.child_id in (select id from down)

-- name: dependency_add
-- The edge from $1 to $2, which are locked and have ranks $3 and $4. $5: the
-- parent is not finished, so the child waits for it. $6: whether to append the
-- event.
with edge as (
    insert into task_dependencies (parent_id, child_id, parent_rank,
        child_rank)
    values ($1::uuid, $2::uuid, $3::bigint, $4::bigint)
), parent as (
    update tasks t set dependents = t.dependents + 1
    where t.id = $1::uuid and $5::boolean
), was as materialized (
    select t.id, t.owner_id, t.kind, t.remote, t.turn, t.state, t.limit_key,
           t.limit_slot
    from tasks t where t.id = $2::uuid
), child as (
    update tasks t
    set deps_left = t.deps_left + 1,
        state = case when t.state = 'paused' then 'paused' else 'blocked' end,
        limit_slot = false, version = t.version + 1,
        event_seq = t.event_seq + 1, updated_at = now()
    where t.id = $2::uuid and $5::boolean
    returning t.id, t.state, t.event_seq
), unqueued as (
    delete from task_ready q
    where q.ctid = any (array(
        select q.ctid
        from was w join child c on c.id = w.id
        join task_ready q on q.turn = w.turn and q.id = w.id
            and q.lane = task_lane(w.remote, w.owner_id, w.kind)
        where w.state = 'ready'
        for update of q skip locked))
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq, 'task.updated',
           jsonb_build_object('state', state)
    from child where $6::boolean
    returning channel, "offset", type, data, created_at
)
select case when w.limit_slot and $5::boolean then w.limit_key end
           as freed_limit,
       e.channel as _channel, e."offset" as _offset, e.type as _event,
       e.data as _event_data, e.created_at as _event_time
from was w left join event e on true

-- name: dependency_remove
-- Removes the edge from $1 to $2, of which those that are unfinished are
-- locked; $3: the parent is not finished. $4: the turn of the child should it
-- be free then. $5: whether to append the event. No row: there is no such edge.
with edge as (
    delete from task_dependencies d
    where d.parent_id = $1::uuid and d.child_id = $2::uuid
    returning d.child_id
), parent as (
    update tasks t set dependents = t.dependents + 1
    from edge
    where t.id = $1::uuid and $3::boolean
), child as (
    update tasks t
    set deps_left = t.deps_left - 1,
        state = case when t.deps_left > 1 or t.state <> 'blocked' then t.state
            when t.run_at > now() then 'scheduled' else 'ready' end,
        turn = $4::bigint, version = t.version + 1,
        event_seq = t.event_seq + 1, updated_at = now()
    from edge
    where t.id = edge.child_id and $3::boolean
      and t.state in ('blocked', 'paused')
    returning t.id, t.owner_id, t.state, t.kind, t.limit_key, t.event_seq,
              t.turn, t.remote
), queued as (
    insert into task_ready (lane, turn, id)
    select task_lane(remote, owner_id, kind), turn, id
    from child where state = 'ready' and limit_key is null
    on conflict do nothing
), event as (
    insert into events (channel, "offset", type, data)
    select 'task:' || id::text, event_seq,
           case when state in ('ready', 'scheduled') then 'task.' || state
               else 'task.updated' end,
           jsonb_build_object('state', state)
    from child where $5::boolean
    returning channel, "offset", type, data, created_at
)
select c.state, c.kind, c.limit_key, e.channel as _channel,
       e."offset" as _offset, e.type as _event, e.data as _event_data,
       e.created_at as _event_time
from edge left join child c on true left join event e on true

-- name: dependency_parents (read)
-- Up to $4 tasks that task $2 of $1 waits or waited for, by id from $3 on.
select d.parent_id as task_id, p.kind, p.title, p.state,
       p.state = 'succeeded' as satisfied
from (select d.parent_id from task_dependencies d
      where d.child_id = $2::uuid and d.parent_id > $3::uuid
      order by d.parent_id limit $4::bigint) d
cross join lateral (
    select t.kind, t.title, task_state(t.state, t.worker_id) as state
    from tasks t
    where t.id = d.parent_id and (t.owner_id = $1::uuid) is true
    union all
    select h.kind, h.title, h.state from task_history h
    where h.id = d.parent_id and (h.owner_id = $1::uuid) is true) p
order by d.parent_id

-- name: dependency_children (read)
-- Up to $4 tasks that wait or waited for task $2 of $1, by id from $3 on.
select d.child_id as task_id, c.kind, c.title, c.state
from (select d.child_id from task_dependencies d
      where d.parent_id = $2::uuid and d.child_id > $3::uuid
      order by d.child_id limit $4::bigint) d
cross join lateral (
    select t.kind, t.title, task_state(t.state, t.worker_id) as state
    from tasks t
    where t.id = d.child_id and (t.owner_id = $1::uuid) is true
    union all
    select h.kind, h.title, h.state from task_history h
    where h.id = d.child_id and (h.owner_id = $1::uuid) is true) c
order by d.child_id
