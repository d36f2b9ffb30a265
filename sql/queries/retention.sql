-- How finished tasks, and events, go when they are old (sql/deploy/retention).
-- What is deleted row by row goes in batches, each a statement of its own.

-- name: chore_take
-- Takes chore $1, when it is due, until $2 milliseconds from now. No row:
-- another process has it, or it is not due.
update chores c
set due_at = now() + $2::integer * interval '1 ms'
where c.name = (
    select d.name from chores d
    where d.name = $1::varchar and d.due_at <= now()
    for update skip locked)
returning c.name

-- name: retention_prepare
-- Makes the partitions of $1 for today and for $2 days more.
select partitions_prepare($1::text, $2::integer) as made

-- name: retention_patience
-- Lets the transaction take as long as a look at a whole partition takes.
select set_config('statement_timeout', $1::text, true)

-- name: retention_drop
-- Drops the partition of $1 after $3, or says why not, when all of it is $2
-- days old. No row: there is none.
select d.partition, d.outcome
from partitions_drop($1::text, now() - $2::integer * interval '1 day',
    $3::text) d

-- name: retention_tasks
-- Deletes up to $2 tasks that are in no day's partition and ended $1 days ago.
select partitions_sweep('task_history',
    now() - $1::integer * interval '1 day', $2::integer) as n

-- name: retention_attempts
-- Deletes up to $2 attempts of tasks older than $1 days that are no more. The
-- bound on both sides keeps the look into the history to what is that old.
with floor as materialized (
    select least(id_floor(now() - $1::integer * interval '1 day'),
        (select id_floor(d.begins) from partition_days d
         where d.relation = 'task_history' order by d.begins limit 1)) as id
), gone as (
    delete from task_attempts a
    where (a.task_id, a.attempt) in (
        select o.task_id, o.attempt from task_attempts o
        where o.task_id < (select id from floor)
          and not exists (
              select from tasks t
              where t.id = o.task_id and t.id < (select id from floor))
          and not exists (
              select from task_history h
              where h.id = o.task_id and h.id < (select id from floor))
        order by o.task_id
        limit $2::integer)
    returning 1
)
select count(*)::integer as n from gone

-- name: retention_dependencies
-- Deletes up to $2 edges from or to tasks older than $1 days that are no more.
with floor as materialized (
    select least(id_floor(now() - $1::integer * interval '1 day'),
        (select id_floor(d.begins) from partition_days d
         where d.relation = 'task_history' order by d.begins limit 1)) as id
), old as materialized (
    (select d.parent_id, d.child_id from task_dependencies d
    where d.parent_id < (select id from floor)
      and not exists (
          select from tasks t
          where t.id = d.parent_id and t.id < (select id from floor))
      and not exists (
          select from task_history h
          where h.id = d.parent_id and h.id < (select id from floor))
    order by d.parent_id
    limit $2::integer)
    union
    (select d.parent_id, d.child_id from task_dependencies d
    where d.child_id < (select id from floor)
      and not exists (
          select from tasks t
          where t.id = d.child_id and t.id < (select id from floor))
      and not exists (
          select from task_history h
          where h.id = d.child_id and h.id < (select id from floor))
    order by d.child_id
    limit $2::integer)
), gone as (
    delete from task_dependencies d
    using old
    where d.parent_id = old.parent_id and d.child_id = old.child_id
    returning 1
)
select count(*)::integer as n from gone

-- name: retention_runs
-- Deletes up to $2 runs that ended $1 days ago and have no task left.
with gone as (
    delete from runs r
    where r.id in (
        select o.id from runs o
        where o.id < id_floor(now() - $1::integer * interval '1 day')
          and o.finished_at < now() - $1::integer * interval '1 day'
          and (select true from tasks t where t.run_id = o.id limit 1) is null
          and (select true from task_history h where h.run_id = o.id limit 1)
              is null
        order by o.id
        limit $2::integer)
    returning 1
)
select count(*)::integer as n from gone

-- name: retention_events
-- Deletes up to $2 events that are in no day's partition, $1 days old.
select partitions_sweep('events', now() - $1::integer * interval '1 day',
    $2::integer) as n

-- name: retention_workers
-- Deletes up to $2 processes that died $1 days ago.
with gone as (
    delete from task_workers w
    where w.id in (
        select o.id from task_workers o
        where o.dead_at < now() - $1::integer * interval '1 day'
        limit $2::integer)
    returning 1
)
select count(*)::integer as n from gone
