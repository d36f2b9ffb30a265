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
